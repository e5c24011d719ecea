"""Which settings of a training are varied."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import prod
from typing import Any

from pydantic import Field, field_validator, model_validator

from raynas.data.options import DataOptions
from raynas.training.config import WITHOUT_EFFECT, TrainConfig
from raynas.trials.config import Halving, TrialsConfig

KIND = "variants"
MOST_VARIANTS = 256

_MAY_DIFFER = {
    "data",
    "val_data",
    *DataOptions.model_fields,
    "skipped_val_images",
    "weights",
    "teacher",
    "accumulation",
}
FIXED = tuple(name for name in ("space", "architecture", *WITHOUT_EFFECT) if name not in _MAY_DIFFER)
"""Settings that all variants have in common: what is trained, and what changes no result."""


class VariantsConfig(TrialsConfig):
    """What all variants of a training have in common, and what they have not."""

    vary: dict[str, tuple[Any, ...]] = Field(
        description="Values of settings of the training, by name; each combination of them is trained."
    )
    halving: Halving = Field(
        "none", description="Which variants are stopped before their end, as of finalists; none: all go to their end."
    )

    @field_validator("vary", mode="before")
    @classmethod
    def _are_lists(cls, vary: Any) -> Any:
        if isinstance(vary, Mapping):
            for name, values in vary.items():
                if not isinstance(values, Sequence) or isinstance(values, str):
                    raise ValueError(f"{name} has {values!r}, which is no list of values")
        return vary

    @model_validator(mode="after")
    def _are_variants(self) -> VariantsConfig:
        TrainConfig.check_names(self.vary)
        if not self.vary:
            raise ValueError("vary names no setting")
        for name, values in self.vary.items():
            if name in FIXED:
                raise ValueError(f"{name} is the same for all variants")
            if len(values) < 2:
                raise ValueError(f"{name} has fewer than two values, so it is not varied")
        total = prod(map(len, self.vary.values()))
        if total > MOST_VARIANTS:
            raise ValueError(f"the settings have {total:,} combinations; at most {MOST_VARIANTS:,} are trained")
        if "epochs" in self.vary and self.halving != "none":
            raise ValueError("epochs are varied, and trainings of different lengths are not compared on the way")
        return self
