"""How the best of a search are trained against each other."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import Field, model_validator

from raynas.config import MOST
from raynas.trials.config import TrialsConfig

KIND = "finalists"


class FinalistsConfig(TrialsConfig):
    """Which of a search are trained, and how they are stopped."""

    source: str = Field(description="The folder of the search.")
    space: str | None = Field(None, description="The space of the architectures. Default: the search's.")
    top: int = Field(8, ge=1, le=MOST, description="Number of finalists.")
    compare: Literal["uniform"] | None = Field(
        None,
        description="uniform: train the uniform network of the best one's multiply-adds, too, which is never stopped "
        "early.",
    )

    @model_validator(mode="after")
    def _has_others(self) -> Self:
        if self.top < 2 and self.compare is None:
            raise ValueError("top is 1: finalists are at least two, or one with compare uniform")
        return self
