"""The registries of search spaces and of model families."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from raynas.errors import SpaceError
from raynas.registry import Registry
from raynas.space.search_space import SearchSpace

spaces: Registry[SearchSpace] = Registry("space", "spaces", group="raynas.searchspaces")
models: Registry[Callable[..., Any]] = Registry("model", "models", "raynas.models.families")


def space_of_parts(space: SearchSpace, text: str) -> SearchSpace:
    """The space of the parts of a network, which a supernet may be made of.

    Args:
        space: The space of the network, which names the spaces of parts.
        text: The network as its space writes it.

    Raises:
        SpaceError: The space names none.
    """
    if not space.parts:
        raise SpaceError(f"there is no space of the parts of networks of {space.name!r}")
    return spaces.get(f"{space.parts}@{text}")
