"""What makes a training the one it is: listed field by field, so that a stored training outlives new settings.

An identity has a format number and sections of fields. A field that came later than its format is left out where it
holds the default that it came with: the identity of a training that does without it, and the text that its
checkpoints hold, stay what they were. A setting that changes what all trainings come to raises the format number.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from raynas.errors import ConfigError
from raynas.seeds import seed_from
from raynas.training.config import AUGMENTATIONS, PRETRAINING, WITHOUT_EFFECT, TrainConfig

FORMAT = 1

SECTIONS: Mapping[str, tuple[str, ...]] = {
    "model": ("space", "img_size", "num_classes", "drop_path_rate", "pool"),
    "data": ("val_fraction", "max_images", "max_val_images", "label_fraction", "image_choice", "eval_crop"),
    "augmentation": tuple(AUGMENTATIONS["strong"]),
    "optimisation": (
        "seed",
        "epochs",
        "batch_size",
        "optimizer",
        "betas",
        "lr",
        "min_lr",
        "layer_decay",
        "warmup_epochs",
        "warmup_prefix",
        "weight_decay",
        "clip_grad",
        "ema_decay",
        "precision",
    ),
    "start": ("weights_policy", "kept_blocks"),
}
"""Fields of TrainConfig by section. Further ones are resolved: architecture, model_version and retokenize of the model,
images of the data, weights of the start, and what the objective says, with its name, of itself."""

OF_OBJECTIVES = (
    "objective",
    "label_smoothing",
    "teacher",
    "guidance_weight",
    "guidance_pairs",
    "logit_weight",
    "temperature",
    "logit_targets",
    "token_labels",
    "sampling",
    "subnets",
    "block_images",
    "choice_warmup_epochs",
    "shared_choices",
    *PRETRAINING,
)
"""Fields of TrainConfig that are of objectives: in the identity is what an objective returns of them as such when it is
prepared, so that one that it forgets may change when a training is resumed."""

LATER: Mapping[str, Mapping[str, Any]] = {
    "model": {"pool": None},
    "data": {"image_choice": "first", "eval_crop": 1.0, "label_fraction": 1.0},
    "optimisation": {"betas": None, "warmup_prefix": False, "layer_decay": 1.0},
    "start": {"weights_policy": "exact", "kept_blocks": None},
}
"""Fields that came after the first training of the format was stored, with what was done before, by section."""

_RESOLVED = ("architecture", "augment", "retokenize", "base_lr")
_LISTED = {*WITHOUT_EFFECT, *OF_OBJECTIVES, *_RESOLVED, *(name for names in SECTIONS.values() for name in names)}
assert TrainConfig.model_fields.keys() == _LISTED, "each setting is in the identity, or is known to have no effect"


def training_identity(
    config: TrainConfig,
    *,
    architecture: str,
    model_version: int,
    phases: Sequence[Sequence[int | None]],
    images: str,
    weights: str | None,
    objective: Mapping[str, Any],
) -> dict[str, Any]:
    """What a resumed training must share with the stored one.

    Args:
        config: The resolved configuration.
        architecture: The architecture as JSON.
        model_version: The version of the family of models, raised when the same weights give other outputs.
        phases: First epoch, stride and dilation of each phase of a re-tokenized training.
        images: A hash of the data.
        weights: A hash of the file of weights to start from.
        objective: The objective's name, and what the objective says of itself.
    """
    values = {**config.model_dump(mode="json"), **config.augmentation()}
    found = {section: {name: values[name] for name in names} for section, names in SECTIONS.items()}
    found["model"] |= {
        "architecture": architecture,
        "model_version": model_version,
        "retokenize": [list(phase) for phase in phases],
    }
    found["data"]["images"] = images
    found["start"]["weights"] = weights
    found["objective"] = dict(objective)
    listed = {
        section: {name: value for name, value in fields.items() if not _is_later_default(section, name, value)}
        for section, fields in found.items()
    }
    return {"format": FORMAT, **listed}


def completed(identity: Mapping[str, Any]) -> dict[str, Any]:
    """An identity with the fields that it has left out.

    Raises:
        ConfigError: It is of another format than this version of raynas writes.
    """
    stored = identity.get("format")
    if stored is None:
        raise ConfigError(
            "the identity of the training has no format number: an earlier version of raynas wrote it, with settings "
            "listed in another way. Its weights can still be exported, or be started from"
        )
    if stored != FORMAT:
        raise ConfigError(
            f"the identity of the training is of format {stored!r:.80}, and this version of raynas has {FORMAT}"
        )
    sections = {
        section: {**LATER.get(section, {}), **fields} for section, fields in identity.items() if section != "format"
    }
    return {"format": stored, **sections}


def identity_text(identity: Mapping[str, Any]) -> str:
    """16 hexadecimal digits that change with any field."""
    return f"{seed_from(json.dumps(identity, sort_keys=True)):016x}"


def _is_later_default(section: str, name: str, value: Any) -> bool:
    later = LATER.get(section, {})
    return name in later and later[name] == value
