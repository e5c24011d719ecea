"""Options of the commands that train, and which fields of a training's configuration they are."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

SourceArgument = Annotated[
    str | None,
    typer.Argument(help="A run folder, a space, an architecture (genotype, JSON or published name) or a file of one."),
]
ArchitectureOption = Annotated[str | None, typer.Option("--architecture", "-a", help="Of the space that is SOURCE.")]
PickOption = Annotated[
    list[str] | None,
    typer.Option(help='Of the run that is SOURCE, the member with "num_params<=3e6". Repeatable.'),
]
SpaceOption = Annotated[str | None, typer.Option(help="Where several spaces can read SOURCE.")]
DataOption = Annotated[
    str | None,
    typer.Option(help="Images to train on: digits (default), folder:DIR, parquet:FILE, torchvision:NAME:ROOT."),
]
ValDataOption = Annotated[
    str | None, typer.Option(help="Images to evaluate on. Default: a tenth of the others, left out of training.")
]
MaxImagesOption = Annotated[int | None, typer.Option(help="Use the first images of the data only.")]
MaxValImagesOption = Annotated[int | None, typer.Option(help="Evaluate on the first images only.")]
ImgSizeOption = Annotated[int | None, typer.Option(help="Image side in pixels. Default: of the run, or the space's.")]
NumClassesOption = Annotated[int | None, typer.Option(help="Must be those of the data, the default.")]
EpochsOption = Annotated[int | None, typer.Option(help="Default 30.")]
BatchSizeOption = Annotated[int | None, typer.Option(help="Images of one step, over all workers. Default 128.")]
AccumulationOption = Annotated[int | None, typer.Option(help="Passes into which a worker divides its part of a step.")]
OptimizerOption = Annotated[str | None, typer.Option(help="One of timm's. Default adamw.")]
LrOption = Annotated[float | None, typer.Option(help="Default 1e-3 * sqrt(batch size / 1024).")]
WeightDecayOption = Annotated[float | None, typer.Option(help="Default 0.05.")]
WarmupEpochsOption = Annotated[int | None, typer.Option(help="Default: a fifteenth of the epochs.")]
ClipGradOption = Annotated[float | None, typer.Option(help="Largest norm of the gradient. Default: none.")]
LabelSmoothingOption = Annotated[float | None, typer.Option(help="Default 0.1; of distill 0.")]
DropPathOption = Annotated[float | None, typer.Option(help="Stochastic depth of the last block. Default 0.1.")]
EmaOption = Annotated[float | None, typer.Option(help="Decay of a moving average of the weights. Default: none.")]
PrecisionOption = Annotated[
    str | None, typer.Option(help="auto (bfloat16 on GPUs, float32 on CPUs), float32, bfloat16 or float16.")
]
AugmentOption = Annotated[
    str | None,
    typer.Option(
        help="strong (default: RandAugment, erasing, and but for distill Mixup and CutMix), light (crops and mirrors) "
        "or none."
    ),
]
RetokenizeOption = Annotated[
    str | None,
    typer.Option(help="EPOCH:STRIDE[:DILATION],... such as 0:16,8:8,13:4; or as-vit, the published schedule scaled."),
]
WeightsOption = Annotated[str | None, typer.Option(help="Start from the weights of this file.")]
SeedOption = Annotated[int | None, typer.Option(help="Of weights, order and augmentation. Default 0.")]
SetOption = Annotated[
    list[str] | None,
    typer.Option("--set", help="KEY=VALUE of any other setting, such as mixup=0.2 or hflip=0. Repeatable."),
]
WorkersOption = Annotated[
    int | None,
    typer.Option(help="Data-parallel processes; 0: this process. Default: one per GPU if there are several."),
]
MinWorkersOption = Annotated[int | None, typer.Option(help="Go on with as few if some are lost for good.")]
ThreadsOption = Annotated[int | None, typer.Option(help="CPU threads of a worker. Default: an equal share.")]
LoaderProcessesOption = Annotated[int | None, typer.Option(help="That prepare images, for each worker.")]
LogOption = Annotated[list[str] | None, typer.Option(help="tensorboard (default), mlflow or wandb. Repeatable.")]
OutOption = Annotated[
    Path | None, typer.Option(help="Default: runs/SPACE-training-DATE-TIME.", file_okay=False, show_default=False)
]
ResumeOption = Annotated[
    bool, typer.Option("--resume", help="Continue the training in --out; start it if there is none.")
]
ConfigOption = Annotated[
    Path | None, typer.Option("--config", help="YAML file of settings, as in run.yaml under config.")
]

_FIELDS = {"drop_path": "drop_path_rate", "ema": "ema_decay", "log": "loggers"}
_NOT_SETTINGS = ("source", "architecture", "pick", "space", "set_", "out", "resume", "config")


def training_settings(arguments: dict[str, Any], *others: str) -> dict[str, Any]:
    """The arguments of a command that are fields of TrainConfig, under their names there.

    Args:
        arguments: By parameter name.
        others: Parameters of the command's own that are no such fields.
    """
    left_out = {*_NOT_SETTINGS, *others}
    return {_FIELDS.get(name, name): value for name, value in arguments.items() if name not in left_out}
