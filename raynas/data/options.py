"""How images are read: settings that searches and trainings share. Nothing heavier than pydantic is imported here."""

from __future__ import annotations

import math
from typing import Annotated, Any

from pydantic import BeforeValidator, Field, field_validator

from raynas.config import Config, Flags


def _low_and_high(given: Any) -> Any:
    """The two numbers of a text, as the command line gives them; pydantic refuses those that are not finite."""
    if not isinstance(given, str):
        return given
    try:
        low, high = map(float, given.split(","))
    except ValueError:
        raise ValueError("expected LOW,HIGH, such as 0,4095") from None
    return low, high


class DataOptions(Config):
    """What is said of images beside the text of `--data`; it holds for the images to evaluate on, too."""

    image_column: str | None = Field(
        None, description="Column of a Parquet table that has the images. Default: the column image."
    )
    label_column: str | None = Field(
        None,
        description="Column of a Parquet table, or field of key.json in shards of a webdataset, that has the "
        "labels. Default: label.",
    )
    pixel_range: Annotated[tuple[float, float] | None, BeforeValidator(_low_and_high)] = Field(
        None,
        description="LOW,HIGH: the values that are black and white in images of more than 8 bits, such as 0,4095 for "
        "12-bit data; values beyond are cut to them. Default: what the file declares, 0,65535 for 16 bits that are "
        "used to the full, 0,1 for float numbers; everything else is refused.",
    )
    renumber_labels: bool = Field(
        False, description="Number the classes that have images from 0 on, and leave out those that have none."
    )
    keep_empty_classes: bool = Field(
        False, description="Let the head have outputs for classes that no image to train on belongs to."
    )
    skip_unreadable: bool = Field(
        False, description="Decode all images at the start, and go on without those that cannot be read."
    )
    skipped_images: Annotated[tuple[str, ...], Flags(("--skip-image",))] = Field(
        (), description="Image to leave out, by its name in what `raynas data` says; skip_unreadable adds to them."
    )

    @field_validator("pixel_range")
    @classmethod
    def _ascends(cls, given: tuple[float, float] | None) -> tuple[float, float] | None:
        if given is not None and not 0 < given[1] - given[0] < math.inf:
            raise ValueError("LOW must be below HIGH, by a number that is finite")
        return given


AS_THEY_ARE = DataOptions.make({})
"""Nothing said."""
