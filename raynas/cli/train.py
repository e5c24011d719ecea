"""raynas train."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from raynas.cli.options import AddressOption, GpusOption
from raynas.errors import ConfigError

EXAMPLES = """
Examples:

    raynas train as-vit --architecture "8,2,3|4,1,2|4,1,4|4,1,6|32" --data digits --img-size 32 --augment light

    raynas train runs/grown --pick "num_params<=3e6" --data parquet:train.parquet --val-data parquet:test.parquet

    raynas train runs/grown --data folder:train --epochs 300 --batch-size 1024 --retokenize as-vit --workers 8

    raynas train --finalists runs/search --top 8 --epochs 9 --data parquet:train.parquet --gpus-per-worker 0.25

    raynas train --resume --out runs/trained
"""


def train(
    source: Annotated[
        str | None,
        typer.Argument(
            help="A run folder, a space, an architecture (genotype, JSON or published name) or a file of one."
        ),
    ] = None,
    architecture: Annotated[
        str | None, typer.Option("--architecture", "-a", help="Of the space that is SOURCE.")
    ] = None,
    pick: Annotated[
        list[str] | None,
        typer.Option(help='Of the run that is SOURCE, the member with "num_params<=3e6". Repeatable.'),
    ] = None,
    finalists: Annotated[
        Path | None,
        typer.Option(help="In place of SOURCE: train the best of this search against each other, as Ray Tune trials."),
    ] = None,
    top: Annotated[int | None, typer.Option(help="How many finalists. Default 8.")] = None,
    grace: Annotated[int | None, typer.Option(help="Epochs that every finalist gets. Default 1.")] = None,
    reduction: Annotated[
        int | None, typer.Option(help="One of so many goes on after the grace, and after each multiple. Default 2.")
    ] = None,
    space: Annotated[str | None, typer.Option(help="Where several spaces can read SOURCE.")] = None,
    data: Annotated[
        str | None,
        typer.Option(help="Images to train on: digits (default), folder:DIR, parquet:FILE, torchvision:NAME:ROOT."),
    ] = None,
    val_data: Annotated[
        str | None, typer.Option(help="Images to evaluate on. Default: a tenth of the others, left out of training.")
    ] = None,
    max_images: Annotated[int | None, typer.Option(help="Use the first images of the data only.")] = None,
    max_val_images: Annotated[int | None, typer.Option(help="Evaluate on the first images only.")] = None,
    img_size: Annotated[
        int | None, typer.Option(help="Image side in pixels. Default: of the run, or the space's.")
    ] = None,
    num_classes: Annotated[int | None, typer.Option(help="Must be those of the data, the default.")] = None,
    epochs: Annotated[int | None, typer.Option(help="Default 30.")] = None,
    batch_size: Annotated[int | None, typer.Option(help="Images of one step, over all workers. Default 128.")] = None,
    accumulation: Annotated[
        int | None, typer.Option(help="Passes into which a worker divides its part of a step.")
    ] = None,
    optimizer: Annotated[str | None, typer.Option(help="One of timm's. Default adamw.")] = None,
    lr: Annotated[float | None, typer.Option(help="Default 1e-3 * sqrt(batch size / 1024).")] = None,
    weight_decay: Annotated[float | None, typer.Option(help="Default 0.05.")] = None,
    warmup_epochs: Annotated[int | None, typer.Option(help="Default: a fifteenth of the epochs.")] = None,
    clip_grad: Annotated[float | None, typer.Option(help="Largest norm of the gradient. Default: none.")] = None,
    label_smoothing: Annotated[float | None, typer.Option(help="Default 0.1.")] = None,
    drop_path: Annotated[float | None, typer.Option(help="Stochastic depth of the last block. Default 0.1.")] = None,
    ema: Annotated[float | None, typer.Option(help="Decay of a moving average of the weights. Default: none.")] = None,
    precision: Annotated[
        str | None, typer.Option(help="auto (bfloat16 on GPUs, float32 on CPUs), float32, bfloat16 or float16.")
    ] = None,
    augment: Annotated[
        str | None,
        typer.Option(help="strong (default: RandAugment, Mixup, CutMix, erasing), light (crops and mirrors) or none."),
    ] = None,
    retokenize: Annotated[
        str | None,
        typer.Option(
            help="EPOCH:STRIDE[:DILATION],... such as 0:16,8:8,13:4; or as-vit, the published schedule scaled."
        ),
    ] = None,
    weights: Annotated[str | None, typer.Option(help="Start from the weights of this file.")] = None,
    seed: Annotated[int | None, typer.Option(help="Of weights, order and augmentation. Default 0.")] = None,
    set_: Annotated[
        list[str] | None,
        typer.Option("--set", help="KEY=VALUE of any other setting, such as mixup=0.2 or hflip=0. Repeatable."),
    ] = None,
    workers: Annotated[
        int | None,
        typer.Option(help="Data-parallel processes; 0: this process. Default: one per GPU if there are several."),
    ] = None,
    min_workers: Annotated[int | None, typer.Option(help="Go on with as few if some are lost for good.")] = None,
    gpus_per_worker: GpusOption = None,
    address: AddressOption = None,
    threads: Annotated[int | None, typer.Option(help="CPU threads of a worker. Default: an equal share.")] = None,
    loader_processes: Annotated[int | None, typer.Option(help="That prepare images, for each worker.")] = None,
    log: Annotated[list[str] | None, typer.Option(help="tensorboard (default), mlflow or wandb. Repeatable.")] = None,
    out: Annotated[
        Path | None, typer.Option(help="Default: runs/SPACE-training-DATE-TIME.", file_okay=False, show_default=False)
    ] = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="Continue the training in --out; start it if there is none.")
    ] = False,
    config: Annotated[
        Path | None, typer.Option("--config", help="YAML file of settings, as in run.yaml under config.")
    ] = None,
) -> None:
    """Train an architecture on images."""
    options = {
        "data": data,
        "val_data": val_data,
        "max_images": max_images,
        "max_val_images": max_val_images,
        "img_size": img_size,
        "num_classes": num_classes,
        "epochs": epochs,
        "batch_size": batch_size,
        "accumulation": accumulation,
        "optimizer": optimizer,
        "lr": lr,
        "weight_decay": weight_decay,
        "warmup_epochs": warmup_epochs,
        "clip_grad": clip_grad,
        "label_smoothing": label_smoothing,
        "drop_path_rate": drop_path,
        "ema_decay": ema,
        "precision": precision,
        "augment": augment,
        "retokenize": retokenize,
        "weights": weights,
        "seed": seed,
        "workers": workers,
        "min_workers": min_workers,
        "gpus_per_worker": gpus_per_worker,
        "address": address,
        "threads": threads,
        "loader_processes": loader_processes,
        "loggers": log,
    }
    from raynas.commands_train import finalists_command, is_finalists, train_command

    if finalists is not None or is_finalists(out, resume):
        if source is not None or architecture is not None or pick:
            raise ConfigError("--finalists takes the place of SOURCE, --architecture and --pick")
        choice = {"top": top, "grace": grace, "reduction": reduction}
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
