"""The configuration of an export."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from raynas.config import MOST, MOST_SIDE, Config
from raynas.errors import ConfigError
from raynas.wording import nearest

_LICENSES = ("Apache-2.0", "MIT", "BSD-3-Clause", "GPL-3.0-only", "AGPL-3.0-only", "CC-BY-4.0", "CC-BY-NC-4.0")
"""Licences that a misspelt one may be meant for."""


class ExportConfig(Config):
    """What of a model is written, beside which one and where; None means the default that its source gives."""

    checkpoint: Literal["last", "best"] | None = Field(
        None,
        description="Weights of a training: last or best, of their moving average where there is one. Default last.",
    )
    to: Literal["folder", "hub-folder"] = Field(
        "folder",
        description="What kind of folder: folder, or hub-folder, which model hubs expect and timm loads by local-dir:, "
        "with a model card.",
    )
    license: str | None = Field(
        None,
        description="Licence of the weights, of which the card of a hub-folder tells: an identifier of "
        "SPDX, such as Apache-2.0, or LicenseRef-NAME for one of your own.",
    )
    onnx: bool = Field(
        False,
        description="Write model.onnx too, which takes any number of images, of any side where the network does.",
    )
    torch_export: bool = Field(
        False, description="Write model.pt2 too, a program of torch.export, which takes what model.onnx takes."
    )
    int8: bool = Field(
        False,
        description="Write model_int8.onnx beside model.onnx, with linear layers in 8 bits, and measure the accuracy "
        "of both.",
    )
    data: str | None = Field(
        None,
        description="Labelled images for the accuracy of int8, as `raynas evaluate` takes them. Default: those that "
        "the training evaluated on.",
    )
    max_images: int | None = Field(
        None, ge=1, description="Use no more than this many images for that, spread over the classes."
    )
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


def spdx_license(name: str) -> str:
    """A licence as SPDX's list writes it; names of one's own begin with LicenseRef-.

    Raises:
        ConfigError: The list has no such licence.
    """
    from packaging.licenses import InvalidLicenseExpression, canonicalize_license_expression

    try:
        return str(canonicalize_license_expression(name))
    except InvalidLicenseExpression:
        near = nearest(name, _LICENSES)
        hint = "" if near is None else f". Did you mean {near!r}?"
        text = f"license is {name!r:.80}; it is an SPDX identifier, or LicenseRef-NAME for a licence of your own{hint}"
        raise ConfigError(text) from None
