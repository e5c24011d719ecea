"""How the best of a search are trained against each other."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal, Self

from pydantic import Field, model_validator

from raynas.config import MOST, Config
from raynas.training.config import TrainConfig


class FinalistsConfig(Config):
    """How the best of a search are trained; what every training is told stands in `training`."""

    source: str = Field(description="The folder of the search.")
    space: str | None = Field(None, description="The space of the architectures. Default: the search's.")
    top: int = Field(8, ge=1, le=MOST, description="Number of finalists.")
    compare: Literal["uniform"] | None = Field(
        None,
        description="uniform: train the uniform network of the best one's multiply-adds, too, which is never stopped "
        "early.",
    )
    grace: int = Field(1, ge=1, le=MOST, description="Epochs that every finalist gets.")
    reduction: int = Field(
        2, ge=2, le=MOST, description="One in so many finalists goes on after grace, grace * reduction, ... epochs."
    )
    halving: Literal["asynchronous", "synchronous"] = Field(
        "asynchronous",
        description="asynchronous (ASHA): who comes to a comparison is judged by those that came before, so that none "
        "waits; synchronous: all wait for each other there, and who is stopped depends on the accuracies alone.",
    )
    training: dict[str, Any] = Field(default_factory=dict, description="Fields of TrainConfig, for all trainings.")

    @model_validator(mode="after")
    def _has_others(self) -> Self:
        if self.top < 2 and self.compare is None:
            raise ValueError("top is 1: finalists are at least two, or one with compare uniform")
        return self

    @classmethod
    def of_stored(cls, values: Mapping[str, Any]) -> dict[str, Any]:
        """Fields of stored finalists, with what their trainings did where they know nothing of a field."""
        return {**values, "training": TrainConfig.of_stored(values.get("training", {}))}
