"""raynas pretrain."""

from __future__ import annotations

from typing import Any

from raynas.cli.ending import resumable
from raynas.cli.options import Parameters, option, options
from raynas.cli.train import how_to_train, show_and_say, training_settings, what_to_train

EXAMPLES = """
Examples:

    raynas pretrain vit -a mae-lite-tiny --method mae --data folder:images --epochs 400 --batch-size 4096

    raynas pretrain runs/search --pick "num_params<=6e6" --method moco-v3 --data parquet:train.parquet --epochs 400

    raynas pretrain runs/search --method d-mae --teacher runs/mae-base --data folder:images --epochs 400

    raynas pretrain vit -a deit-tiny --method tiny-mim --teacher timm:vit_base_patch16_224.mae:mae.safetensors

    raynas pretrain autoformer-tiny-plain --method supernet-mae --data folder:images --epochs 100 --out runs/warm

    raynas pretrain --resume --out runs/pretrained
"""


def parameters() -> Parameters:
    """The method and its settings, and the parameters of a training, with the defaults of mae."""
    from raynas.training.config import PRETRAINING, SUPERNET, TrainConfig
    from raynas.training.defaults import PRETRAINING_DEFAULTS

    methods = ", ".join(PRETRAINING_DEFAULTS)
    return [
        *what_to_train(),
        option("method", str, f"How to pre-train: {methods}."),
        *options(TrainConfig, only=("teacher", *PRETRAINING, *SUPERNET)),
        *how_to_train(
            defaults=PRETRAINING_DEFAULTS["mae"],
            help={"lr": "Learning rate. Default: 1.5e-4 for each 256 images of a step."},
            without=("objective", "num_classes", "label_smoothing", "token_labels", "retokenize"),
        ),
    ]


def pretrain(*, settings: Any = (), **more: Any) -> None:
    """Train an architecture on images without a look at their labels."""
    from raynas import api

    with resumable("pretrain"):
        show_and_say(api.pretrain(**{**more, **training_settings(settings)}))
