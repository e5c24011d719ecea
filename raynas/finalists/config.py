"""How the best of a search are trained against each other."""

from __future__ import annotations

from typing import Any

from pydantic import Field

from raynas.config import Config


class FinalistsConfig(Config):
    """How the best of a search are trained; what every training is told stands in `training`."""

    source: str = Field(description="Folder of the search.")
    space: str | None = Field(None, description="Of the architectures. Default: the search's.")
    top: int = Field(8, ge=2, description="How many finalists.")
    grace: int = Field(1, ge=1, description="Epochs that every finalist gets.")
    reduction: int = Field(
        2, ge=2, description="One of so many finalists goes on after the grace, and after each multiple."
    )
    training: dict[str, Any] = Field(default_factory=dict, description="Fields of TrainConfig, for all trainings.")
