"""How trainings that run as trials are set against each other."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal, Self, TypeAlias

from pydantic import Field, model_validator

from raynas.config import MOST, Config
from raynas.training.config import TrainConfig

Halving: TypeAlias = Literal["asynchronous", "synchronous", "none"]


class TrialsConfig(Config):
    """Which trainings are stopped before their end; what every training is told stands in `training`."""

    grace: int = Field(1, ge=1, le=MOST, description="Epochs that every training gets before some are stopped.")
    reduction: int = Field(
        2, ge=2, le=MOST, description="One in so many trainings goes on after grace, grace * reduction, ... epochs."
    )
    halving: Halving = Field(
        "asynchronous",
        description="asynchronous (ASHA): who comes to a comparison is judged by those that came before, so that none "
        "waits; synchronous: all wait for each other there, and who is stopped depends on the accuracies alone; none: "
        "all are trained to the end.",
    )
    training: dict[str, Any] = Field(default_factory=dict, description="Fields of TrainConfig, for all trainings.")

    @model_validator(mode="after")
    def _are_stopped(self) -> Self:
        fields = type(self).model_fields
        for name in ("grace", "reduction"):
            if self.halving == "none" and getattr(self, name) != fields[name].default:
                raise ValueError(f"{name} says when trainings are stopped, and with halving none all go to their end")
        return self

    @classmethod
    def of_stored(cls, values: Mapping[str, Any]) -> dict[str, Any]:
        """Fields of stored trainings, with what these did where they know nothing of a field."""
        return {**values, "training": TrainConfig.of_stored(values.get("training", {}))}
