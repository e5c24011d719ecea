"""The network that is measured: of an export, a training, an architecture, or of timm by its name."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import nn

from raynas.errors import ConfigError, RaynasError, SpaceError, error_line
from raynas.exporting.folder import check_img_size, holds_export, load_export
from raynas.latency.config import LatencyConfig
from raynas.registry import named_code
from raynas.space.architecture import Architecture
from raynas.space.build import builder, built
from raynas.space.reading import published
from raynas.space.registered import spaces
from raynas.space.search_space import SearchSpace
from raynas.storage.run_folder import reading
from raynas.storage.sources import existing_path, read_source
from raynas.training.folder import load_training


class MeasuredNetwork(NamedTuple):
    """A network, in eval mode, on the CPU.

    Args:
        model: The network; values of its weights do not matter.
        name: What it is, for people.
        img_size: Side in pixels of the images that it takes.
    """

    model: nn.Module
    name: str
    img_size: int


def read_measured(
    source: str,
    config: LatencyConfig,
    *,
    architecture: str | None = None,
    space: str | SearchSpace | None = None,
    pick: Sequence[str] = (),
) -> MeasuredNetwork:
    """Read or build a network, and see that it takes images of its side.

    Args:
        source: The folder of an export or of a run, an architecture, or timm:NAME; with `architecture`, a space.
        config: What was asked for.
        architecture: An architecture of the space that the source names.
        space: The space of an architecture that several can read, or one that is not registered.
        pick: Constraints that choose among the architectures of a run.

    Raises:
        RaynasError: There is no such network, or it takes no images of the side that is asked for.
    """
    if architecture is not None:
        if source not in spaces and not isinstance(space, SearchSpace):
            raise ConfigError(f"an architecture goes with the space that it is from, and {source!r} is none")
        of = space if isinstance(space, SearchSpace) else spaces.get(source)
        found = _built(of, of.read(architecture), config)
    else:
        found = _read(source, config, space, pick)
    _try(found)
    return found


def _read(source: str, config: LatencyConfig, space: str | SearchSpace | None, pick: Sequence[str]) -> MeasuredNetwork:
    path = existing_path(source)
    if path is not None and holds_export(path):
        if pick or config.num_classes is not None:
            raise ConfigError(
                f"{path} is an export, which holds one network as it is: --pick and --num-classes do not go"
            )
        of = spaces.get(space) if isinstance(space, str) else space
        model, about = load_export(path, space=of, img_size=config.img_size)
        with reading(path):
            return MeasuredNetwork(model, str(about["name"]), config.img_size or int(about["img_size"]))
    try:
        taken = read_source(source, space=space, pick=pick)
    except SpaceError:
        meant = published(source, [*spaces, *(name for one in spaces for name in spaces.get(one).named)])
        if path is None and meant is not None and meant in spaces:
            raise SpaceError(f"{source!r} is no network and no space; did you mean the space {meant!r}?") from None
        raise
    if taken.kind != "training" or taken.folder is None:
        return _built(taken.space, taken.architecture, config, img_size=taken.img_size, num_classes=taken.num_classes)
    if config.num_classes is not None:
        raise ConfigError(f"num_classes is {config.num_classes}, but the trained network in {taken.folder} has its own")
    training = load_training(taken.folder)
    if config.img_size is not None:
        check_img_size(taken.space, config.img_size)
    with named_code():
        model, _, _ = training.loaded(config.checkpoint, space=taken.space, img_size=config.img_size)
    with reading(taken.folder):
        about = training.description["model"]
        return MeasuredNetwork(model, str(about["text"]), config.img_size or int(about["img_size"]))


def _built(
    space: SearchSpace,
    architecture: Architecture,
    config: LatencyConfig,
    *,
    img_size: int | None = None,
    num_classes: int | None = None,
) -> MeasuredNetwork:
    """A network with weights that are drawn, as it is trained."""
    side = config.img_size or img_size or space.search_img_size
    check_img_size(space, side)
    classes = config.num_classes or num_classes or 10
    model = built(builder(space), architecture, img_size=side, num_classes=classes, **space.training)
    return MeasuredNetwork(model.eval(), f"{space.name} {space.text(architecture)}", side)


def _try(found: MeasuredNetwork) -> None:
    """Refuse a network that takes no image of its side."""
    try:
        with torch.no_grad():
            found.model(torch.zeros(1, 3, found.img_size, found.img_size))
    except RaynasError:
        raise
    except Exception as error:  # torch's, or that of code of the user's own
        raise ConfigError(
            f"{found.name} takes no images of {found.img_size} x {found.img_size} pixels: {error_line(error)}"
        ) from None
