"""raynas train."""

from __future__ import annotations

from pathlib import Path
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
from raynas.errors import ConfigError

EXAMPLES = """
Examples:

    raynas train as-vit --architecture "8,2,3|4,1,2|4,1,4|4,1,6|32" --data digits --img-size 32 --augment light

    raynas train runs/grown --pick "num_params<=3e6" --data parquet:train.parquet --val-data parquet:test.parquet

    raynas train runs/grown --data folder:train --epochs 300 --batch-size 1024 --retokenize as-vit --workers 8

    raynas train resnet56 --data folder:train --optimizer sgd --lr 0.1 --weight-decay 5e-4 --augment light

    raynas train --finalists runs/search --top 8 --epochs 9 --data parquet:train.parquet --gpus-per-worker 0.25

    raynas train runs/finalists --pick "num_params<=3e6" --data parquet:train.parquet --epochs 300

    raynas train --resume --out runs/trained
"""


def train(
    source: SourceArgument = None,
    architecture: ArchitectureOption = None,
    pick: PickOption = None,
    finalists: Annotated[
        Path | None,
        typer.Option(
            help="In place of SOURCE: train the best of this search against each other, as Ray Tune trials on this "
            "node. Each takes one of its GPUs unless --gpus-per-worker says otherwise."
        ),
    ] = None,
    top: Annotated[int | None, typer.Option(help="How many finalists. Default 8.")] = None,
    grace: Annotated[int | None, typer.Option(help="Epochs that every finalist gets. Default 1.")] = None,
    reduction: Annotated[
        int | None, typer.Option(help="One of so many goes on after the grace, and after each multiple. Default 2.")
    ] = None,
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
    """Train an architecture on images."""
    options = training_settings(locals(), "finalists", "top", "grace", "reduction")
    from raynas.cli.train_command import finalists_command, is_finalists, train_command

    if finalists is not None or is_finalists(out, resume):
        if source is not None or architecture is not None or pick:
            raise ConfigError("--finalists takes the place of SOURCE, --architecture and --pick")
        choice = {"space": space, "top": top, "grace": grace, "reduction": reduction}
        finalists_command(finalists, options, set_ or [], choice, config=config, out=out, resume=resume)
        return
    if top or grace or reduction:
        raise ConfigError("--top, --grace and --reduction go with --finalists")
    train_command(
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
