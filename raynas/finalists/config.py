"""How the best of a search are trained against each other."""

from __future__ import annotations

from typing import Any

from pydantic import Field

from raynas.config import Config


class FinalistsConfig(Config):
    """How the best of a search are trained; what every training is told stands in `training`."""

    source: str = Field(description="folder of the search")
    space: str | None = Field(None, description="of the architectures; default: the search's")
    top: int = Field(8, ge=2, description="architectures to train")
    grace: int = Field(1, ge=1, description="epochs that every one of them gets")
    reduction: int = Field(2, ge=2, description="one of so many goes on after the grace, and again after each multiple")
    training: dict[str, Any] = Field(default_factory=dict, description="fields of TrainConfig")
