"""Settings in which commands differ from a plain training, by what their papers do."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

DISTILLATION_DEFAULTS: Mapping[str, Any] = {"label_smoothing": 0.0, "mixup": 0.0, "cutmix": 0.0}
"""Settings in which locality guidance differs from other trainings (arXiv 2207.10026)."""

_OF_PRETRAINING = {
    "base_lr": 1.5e-4,
    "augment": "light",
    "min_scale": 0.08,
    "drop_path_rate": 0.0,
    "min_lr": 0.0,
    "warmup_prefix": True,
}
_OF_MASKED = {**_OF_PRETRAINING, "betas": (0.9, 0.95)}

PRETRAINING_DEFAULTS: Mapping[str, Mapping[str, Any]] = {
    "mae": _OF_MASKED,
    "d-mae": _OF_MASKED,
    "d2-mae": _OF_MASKED,
    "moco-v3": {**_OF_PRETRAINING, "color_jitter": 0.4, "weight_decay": 0.1},
    "tiny-mim": _OF_PRETRAINING,
    "supernet-mae": _OF_MASKED,
    "supernet-d-mae": _OF_MASKED,
}
"""Settings in which pre-training differs from other trainings, by method (arXiv 2205.14443 and 2104.02057)."""

FINETUNING_DEFAULTS: Mapping[str, Any] = {
    "weights_policy": "encoder-resized",
    "base_lr": 1e-3,
    "layer_decay": 0.85,
    "warmup_prefix": True,
    "auto_augment": "rand-m10-mstd0.5-inc1",
    "color_jitter": 0.3,
    "erasing": 0.0,
    "mixup": 0.2,
    "cutmix": 0.0,
    "label_smoothing": 0.0,
    "drop_path_rate": 0.0,
}
"""Settings in which fine-tuning differs from other trainings (arXiv 2205.14443)."""

TAUGHT_FINETUNING_DEFAULTS: Mapping[str, Any] = {"guidance_weight": 0.0, "logit_weight": 0.5, "logit_targets": "hard"}
"""Settings in which fine-tuning with a teacher differs from other distillation (arXiv 2205.14443)."""

PROBING_DEFAULTS: Mapping[str, Any] = {
    "weights_policy": "encoder-resized",
    "objective": "linear-probe",
    "optimizer": "sgd",
    "base_lr": 0.1,
    "weight_decay": 0.0,
    "min_lr": 0.0,
    "warmup_prefix": True,
    "augment": "light",
    "label_smoothing": 0.0,
    "drop_path_rate": 0.0,
}
"""Settings with which a head alone is trained."""

CONTRAST_LAYER_DECAY = 0.75
"""The layer decay with which networks are fine-tuned that were pre-trained by contrast (arXiv 2205.14443)."""
