"""raynas finetune."""

from __future__ import annotations

from typing import Any

from raynas.cli.ending import resumable
from raynas.cli.options import Parameters, option, options
from raynas.cli.train import (
    check_goes_with_trials,
    how_to_train,
    show_and_say,
    show_trials_and_say,
    training_settings,
    variants_parameters,
    varied_settings,
    what_to_train,
)

EXAMPLES = """
Examples:

    raynas finetune runs/pretrained --data folder:train --val-data folder:val --epochs 300 --batch-size 1024

    raynas finetune runs/pretrained --data parquet:train.parquet --vary label_fraction=0.01,0.1,1 --epochs 100

    raynas finetune runs/pretrained --vary data=folder:flowers,folder:pets --vary base_lr=1e-3,3e-3 --epochs 50

    raynas finetune runs/pretrained --method linear --data folder:train --epochs 30

    raynas finetune runs/pretrained --teacher timm:regnety_160:regnety.safetensors --data folder:train --epochs 300

    raynas finetune --resume --out runs/finetuned
"""


def parameters() -> Parameters:
    """The method, and the parameters of a training and of variants, with the defaults of a fine-tuning."""
    from raynas.api.finetunings import METHODS
    from raynas.training.config import TrainConfig
    from raynas.training.defaults import FINETUNING_DEFAULTS, TAUGHT_FINETUNING_DEFAULTS

    return [
        *what_to_train(),
        option("method", str, f"What is trained: {' or '.join(METHODS)}, all layers or the head alone. Default full."),
        *options(
            TrainConfig,
            only=("teacher", "logit_weight", "logit_targets", "temperature"),
            defaults=TAUGHT_FINETUNING_DEFAULTS,
        ),
        *variants_parameters(),
        *how_to_train(
            without=("objective", "token_labels", "retokenize"),
            defaults=FINETUNING_DEFAULTS,
            help={"lr": "Learning rate. Default: by base_lr."},
        ),
    ]


def finetune(
    *,
    source: Any = None,
    grace: Any = None,
    reduction: Any = None,
    halving: Any = None,
    vary: Any = (),
    settings: Any = (),
    **more: Any,
) -> None:
    """Train a network on from the weights of a training, with a fresh head."""
    from raynas import api

    more |= training_settings(settings)
    stopped = {"grace": grace, "reduction": reduction, "halving": halving}
    if vary or api.kind_to_resume(more.get("out"), more.get("resume", False)) == "variants":
        asked = varied_settings(vary)
        show_trials_and_say("finetune", api.finetuned_variants, source, vary=asked, **stopped, **more)
        return
    check_goes_with_trials(stopped)
    with resumable("finetune"):
        show_and_say(api.finetune(source, **more))
