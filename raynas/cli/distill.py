"""raynas distill."""

from __future__ import annotations

from typing import Annotated

import typer

from raynas.cli.options import AddressOption, GpusOption
from raynas.cli.training_options import (
    AccumulationOption,
    ArchitectureOption,
    AugmentOption,
    BatchSizeOption,
    ClipGradOption,
    ConfigOption,
    DataOption,
    DropPathOption,
    EmaOption,
    EpochsOption,
    ImgSizeOption,
    LabelSmoothingOption,
    LoaderProcessesOption,
    LogOption,
    LrOption,
    MaxImagesOption,
    MaxValImagesOption,
    MinWorkersOption,
    NumClassesOption,
    OptimizerOption,
    OutOption,
    PickOption,
    PrecisionOption,
    ResumeOption,
    RetokenizeOption,
    SeedOption,
    SetOption,
    SourceArgument,
    SpaceOption,
    ThreadsOption,
    ValDataOption,
    WarmupEpochsOption,
    WeightDecayOption,
    WeightsOption,
    WorkersOption,
    training_settings,
)

EXAMPLES = """
Examples:

    raynas distill deit-tiny --teacher runs/a --data folder:train --val-data folder:val --epochs 300

    raynas distill runs/search --teacher timm:resnet50:resnet50.safetensors --data folder:train --logit-weight 0.5

    raynas train resnet56 --data folder:train --optimizer sgd --lr 0.1 --weight-decay 5e-4 --augment light --out runs/a

    raynas distill --resume --out runs/distilled
"""

TeacherOption = Annotated[
    str | None,
    typer.Option(help="A training's folder or checkpoint, timm:NAME:FILE, or random:NAME for one that knows nothing."),
]


def distill(
    source: SourceArgument = None,
    architecture: ArchitectureOption = None,
    pick: PickOption = None,
    teacher: TeacherOption = None,
    guidance_weight: Annotated[
        float | None, typer.Option(help="Of the difference of feature maps; 0: none. Default 2.5.")
    ] = None,
    pairs: Annotated[
        str | None,
        typer.Option(
            help="BLOCK:STAGE,... of student and teacher, from 0, such as 0:0,6:1,11:2. Default: all stages, with "
            "evenly spaced blocks."
        ),
    ] = None,
    logit_weight: Annotated[
        float | None, typer.Option(help="Of the teacher's logits, from 0 (default) to 1; the labels have the rest.")
    ] = None,
    temperature: Annotated[float | None, typer.Option(help="Of the teacher's soft targets. Default 1.")] = None,
    hard: Annotated[
        bool, typer.Option("--hard", help="The teacher's most probable class in place of its probabilities.")
    ] = False,
    space: SpaceOption = None,
    data: DataOption = None,
    val_data: ValDataOption = None,
    max_images: MaxImagesOption = None,
    max_val_images: MaxValImagesOption = None,
    img_size: ImgSizeOption = None,
    num_classes: NumClassesOption = None,
    epochs: EpochsOption = None,
    batch_size: BatchSizeOption = None,
    accumulation: AccumulationOption = None,
    optimizer: OptimizerOption = None,
    lr: LrOption = None,
    weight_decay: WeightDecayOption = None,
    warmup_epochs: WarmupEpochsOption = None,
    clip_grad: ClipGradOption = None,
    label_smoothing: LabelSmoothingOption = None,
    drop_path: DropPathOption = None,
    ema: EmaOption = None,
    precision: PrecisionOption = None,
    augment: AugmentOption = None,
    retokenize: RetokenizeOption = None,
    weights: WeightsOption = None,
    seed: SeedOption = None,
    set_: SetOption = None,
    workers: WorkersOption = None,
    min_workers: MinWorkersOption = None,
    gpus_per_worker: GpusOption = None,
    address: AddressOption = None,
    threads: ThreadsOption = None,
    loader_processes: LoaderProcessesOption = None,
    log: LogOption = None,
    out: OutOption = None,
    resume: ResumeOption = False,
    config: ConfigOption = None,
) -> None:
    """Train an architecture on images and on what a trained network says of them."""
    options = training_settings(locals(), "pairs", "hard")
    options |= {"guidance_pairs": pairs, "logit_targets": "hard" if hard else None}
    from raynas.cli.train_command import distill_command

    distill_command(
        source,
        options,
        set_ or [],
        space=space,
        architecture=architecture,
        pick=pick or [],
        config=config,
        out=out,
        resume=resume,
    )
