"""Small variants of a training, for tests of several files."""

from __future__ import annotations

from typing import Any

from toy_finalists import TRAINING
from toy_trainings import SMALL

from raynas.variants.config import VariantsConfig

SHARED = {
    **{name: value for name, value in TRAINING.items() if name != "lr"},
    "space": "as-vit",
    "architecture": SMALL,
    "img_size": 32,
}


def variants_config(vary: dict[str, Any], *, halving: str = "none", **settings: Any) -> VariantsConfig:
    return VariantsConfig.make({"vary": vary, "halving": halving, "training": {**SHARED, **settings}})
