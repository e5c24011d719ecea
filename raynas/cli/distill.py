"""raynas distill."""

from __future__ import annotations

from typing import Any

from raynas.cli.ending import resumable
from raynas.cli.options import Parameters, option, options
from raynas.cli.train import how_to_train, show_and_say, training_settings, what_to_train

EXAMPLES = """
Examples:

    raynas distill deit-tiny --teacher runs/a --data folder:train --val-data folder:val --epochs 300

    raynas distill runs/search --teacher timm:resnet50:resnet50.safetensors --data folder:train --logit-weight 0.5

    raynas train resnet56 --data folder:train --optimizer sgd --lr 0.1 --weight-decay 5e-4 --augment light --out runs/a

    raynas distill --resume --out runs/distilled
"""


def parameters() -> Parameters:
    """The parameters of a training, with the defaults of a distillation, and those of its teacher."""
    from raynas.training.config import DISTILLATION, TrainConfig
    from raynas.training.defaults import DISTILLATION_DEFAULTS

    numbers = [name for name in DISTILLATION if name != "logit_targets"]
    return [
        *what_to_train(),
        *options(TrainConfig, only=("teacher", *numbers)),
        option("hard", bool, "The teacher's most probable class in place of its probabilities.", "--hard"),
        *how_to_train(defaults=DISTILLATION_DEFAULTS),
    ]


def distill(*, hard: bool = False, settings: Any = (), **more: Any) -> None:
    """Train an architecture on images and on what a trained network says of them."""
    from raynas import api

    if hard:
        more["logit_targets"] = "hard"
    with resumable("distill"):
        show_and_say(api.distill(**{**more, **training_settings(settings)}))
