"""Models: built from an architecture, and exported as plain code."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from raynas.api.arguments import source_text
from raynas.registry import runs_named_code
from raynas.space.architecture import Architecture
from raynas.space.registered import spaces
from raynas.space.search_space import SearchSpace

if TYPE_CHECKING:
    from torch import nn


def build(space: str | SearchSpace, architecture: Architecture | Mapping[str, Any] | str, **settings: Any) -> nn.Module:
    """The model that an architecture stands for, initialised as for training.

    Args:
        space: A registered name, or a space.
        architecture: The architecture as a value, JSON, the space's text or a published name.
        settings: img_size=224, num_classes=1000, and the model family's own.

    Raises:
        RaynasError: The space is unknown or the architecture cannot be built.
    """
    from raynas.space.build import build as build_model

    found = spaces.get(space) if isinstance(space, str) else space
    return build_model(found, found.read(architecture), **settings)


@runs_named_code
def export(source: str | Path | Mapping[str, Any], out: str | Path | None = None, **settings: Any) -> Path:
    """Write a folder from which a model runs without raynas.

    Args:
        source: A training folder, or one of finalists or variants, whose most accurate is taken; or, for a model with
            fresh weights, whatever `raynas.storage.sources.read_source` reads, or an architecture as a mapping.
        out: The folder; it must not exist, or be empty. Default: runs/<space>-export-<date>-<time>.
        settings: `pick`, `space` and `trust_code` of `raynas.exporting.export.export`, and fields of
            `raynas.exporting.config.ExportConfig`, such as checkpoint="best" or onnx=True; None where nothing is said.

    Returns:
        The folder.

    Raises:
        RaynasError: As `raynas.exporting.export.export`.
    """
    from raynas.storage.sources import read_source

    said = {name: value for name, value in settings.items() if value is not None}
    # What cannot be read is refused before torch is imported.
    read_source(source_text(source), space=said.get("space"), pick=said.get("pick", ()))

    from raynas.exporting.export import export as write

    return write(source, out, **said)
