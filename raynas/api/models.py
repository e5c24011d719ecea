"""Models: built from an architecture, and exported as plain code."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any

from raynas.api.arguments import source_text
from raynas.registry import runs_named_code
from raynas.space.architecture import Architecture
from raynas.space.registered import spaces
from raynas.space.search_space import SearchSpace

if TYPE_CHECKING:
    from torch import nn

    from raynas.evaluation.images import EvaluatedImages


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
            With int8=True, `listener` receives the progress of the evaluation; default: shown on standard error.

    Returns:
        The folder.

    Raises:
        RaynasError: As `raynas.exporting.export.export`.
    """
    from raynas.storage.sources import read_source

    said = {name: value for name, value in settings.items() if value is not None}
    listener = said.pop("listener", None)
    # What cannot be read is refused before torch is imported.
    read_source(source_text(source), space=said.get("space"), pick=said.get("pick", ()))

    from raynas.exporting.export import export as write

    if not said.get("int8"):
        return write(source, out, **said)
    from raynas.console.evaluation import EvaluationConsole

    with EvaluationConsole("export") if listener is None else nullcontext(listener) as receiver:
        return write(source, out, images=_images_of_int8(source, said), on_progress=receiver.on_progress, **said)


def _images_of_int8(source: str | Path | Mapping[str, Any], said: Mapping[str, Any]) -> Callable[[], EvaluatedImages]:
    """What gives the images on which an export to int8 is compared: those that `raynas evaluate` would take."""

    def chosen() -> EvaluatedImages:
        from raynas.evaluation.config import EvaluateConfig
        from raynas.evaluation.images import choose_images
        from raynas.evaluation.source import read_network

        names = ("data", "max_images", "checkpoint")
        config = EvaluateConfig.make({name: said[name] for name in names if name in said})
        network = read_network(source_text(source), config, space=said.get("space"), pick=said.get("pick", ()))
        return choose_images(config, network)

    return chosen
