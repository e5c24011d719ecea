"""raynas supernet."""

from __future__ import annotations

from typing import Any

import typer

from raynas.cli.ending import repeated, resumable, say_folder, say_report
from raynas.cli.options import (
    CONFIG,
    OUT,
    RECIPE,
    RESUME,
    REUSE,
    SET,
    TRUST_CODE,
    Parameters,
    add_command,
    argument,
    grouped_settings,
    option,
    options,
)
from raynas.cli.train import (
    check_goes_with_trials,
    how_to_train,
    show_and_say,
    show_trials_and_say,
    training_settings,
    variants_parameters,
    varied_settings,
)
from raynas.storage.session import as_interrupted

TRAIN_EXAMPLES = """
Examples:

    raynas supernet train vit-res-nano --data parquet:train.parquet --img-size 32 --epochs 60 --out runs/supernet

    raynas supernet train --recipe vit-resnas-supernet-tiny --data folder:train --workers 8 --out runs/tiny

    raynas supernet train --init runs/trained-vit --data folder:train --epochs 10 --out runs/elastic

    raynas supernet train --init timm:deit_tiny_patch16_224:deit.pth --weights-policy encoder --data folder:train

    raynas supernet train vit-res-nano --vary subnets=1,2,4 --vary lr=5e-4,1e-3 --data folder:train --img-size 32

    raynas supernet train --resume --out runs/supernet
"""

SEARCH_EXAMPLES = """
Examples:

    raynas supernet search runs/supernet --band macs:34.1e6:35e6 --test-data parquet:test.parquet --out runs/found

    raynas supernet search runs/tiny --recipe vit-resnas-search-tiny --workers 8

    raynas supernet search runs/supernet -o top1 -o num_params --budget 1000 --workers 2

    raynas supernet search runs/trained-vit --holdout parquet:holdout.parquet --band macs:0.9e9:1e9

    raynas supernet search timm:deit_tiny_patch16_224:deit.safetensors --holdout folder:holdout -o top1 -o macs
"""

_SAMPLING = ("sampling", "subnets", "block_images", "choice_warmup_epochs", "shared_choices")
_SEARCH = (
    "objectives",
    "constraints",
    "bands",
    "proxies",
    "searcher",
    "budget",
    "compare",
    "holdout",
    "test_data",
    "window",
    "seed",
)
_WORKERS = (
    *("workers", "gpus_per_worker", "address", "join", "threads", "device_type", "mixed_devices", "worker_memory_gib"),
)

app = typer.Typer(
    help="Train a weight-sharing supernet, and search its members.", no_args_is_help=True, rich_markup_mode="rich"
)


@app.callback()
def _group() -> None:
    """Train a weight-sharing supernet, and search its members."""


def train_parameters() -> Parameters:
    """The space, what says how its members are sampled, and the parameters of a training."""
    from raynas.training.config import TrainConfig

    not_here = ("space", "objective", "weights", "val_data", "max_val_images", "skipped_val_images", "retokenize")
    training = [one for one in how_to_train() if one.name not in not_here]
    return [
        argument("space", str, "The space whose members share weights, see `raynas list spaces`."),
        option(
            "largest", str, "The architecture of which all members are parts. Default: the space's largest choices."
        ),
        option(
            "init",
            str,
            "Trained weights to start from: a training's folder, a file of weights, or timm:NAME:FILE. Of the largest "
            "network, or of a vit, whose parts are then the members.",
        ),
        *options(TrainConfig, only=_SAMPLING),
        *variants_parameters(),
        *training,
    ]


def train(
    *,
    vary: Any = (),
    grace: Any = None,
    reduction: Any = None,
    halving: Any = None,
    settings: Any = (),
    **more: Any,
) -> None:
    """Train the members of a space in shared weights, several of them in each step."""
    from raynas import api

    more |= training_settings(settings)
    stopped = {"grace": grace, "reduction": reduction, "halving": halving}
    if vary or api.kind_to_resume(more.get("out"), more.get("resume", False)) == "variants":
        asked = varied_settings(vary)
        show_trials_and_say("supernet train", api.supernet_variants, vary=asked, **stopped, **more)
        return
    check_goes_with_trials(stopped)
    with resumable("supernet train"):
        show_and_say(api.train_supernet(**more))


def search_parameters() -> Parameters:
    """The supernet, what is searched for, and with what workers."""
    from raynas.api.supernets import SEARCH_DEFAULTS
    from raynas.searching.config import RunConfig

    defaults = {**SEARCH_DEFAULTS, "searcher": None}
    searcher = "Searcher, see `raynas list searchers`. Default: evolution for one objective, nsga2 for several."
    return [
        argument("source", str, "The folder of the training of a supernet, or of a vit; or timm:NAME:FILE."),
        *options(RunConfig, only=(*_SEARCH, *_WORKERS, "time_limit_s"), defaults=defaults, help={"searcher": searcher}),
        *(SET, OUT, RESUME, REUSE, RECIPE, CONFIG, TRUST_CODE),
    ]


def search(*, settings: Any = (), reuse: Any = (), **more: Any) -> None:
    """Search the members of a trained supernet by their accuracy with inherited weights."""
    from raynas import api

    with resumable("supernet search", *repeated("--reuse", reuse)):
        run = api.search_supernet(settings=grouped_settings(settings), reuse=reuse, **more)

        from raynas.console.runs import show_best, show_comparison, show_failures, show_summary  # torch is behind it

        with as_interrupted(run.folder):
            show_summary(run.summary)
            show_best(run)
            show_comparison(run)
            show_failures(run.evaluations)
            say_report(run.folder)
    say_folder(run.folder)


add_command(app, "train", train, train_parameters, TRAIN_EXAMPLES)
add_command(app, "search", search, search_parameters, SEARCH_EXAMPLES)
