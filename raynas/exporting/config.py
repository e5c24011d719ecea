"""The configuration of an export."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from raynas.config import MOST, MOST_SIDE, Config


class ExportConfig(Config):
    """What of a model is written, beside which one and where; None means the default that its source gives."""

    checkpoint: Literal["last", "best"] | None = Field(
        None,
        description="Weights of a training: last or best, of their moving average where there is one. Default last.",
    )
    onnx: bool = Field(False, description="Write model.onnx too, which takes any number of images.")
    untrained: bool = Field(False, description="Export fresh weights, which were never trained.")
    img_size: int | None = Field(
        None,
        ge=1,
        le=MOST_SIDE,
        description="Image side in pixels for fresh weights. Default: that of the run, else 224.",
    )
    num_classes: int | None = Field(
        None, ge=1, le=MOST, description="Outputs of the head for fresh weights. Default: those of the run, else 1000."
    )
    seed: int = Field(0, ge=0, description="Seed of fresh weights.")
