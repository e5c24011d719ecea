"""The registries of search spaces and of model families."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from raynas.errors import SpaceError
from raynas.registry import Registry, normalised
from raynas.space.search_space import SearchSpace


class _Spaces(Registry[SearchSpace]):
    """Search spaces. Whoever names an architecture of one, as trainings take it, is told which space it is of."""

    def _hint(self, name: str) -> str:
        of = next((one for one in self if normalised(name) in map(normalised, self.get(one).named)), None)
        return super()._hint(name) if of is None else f" It is an architecture of the space {of!r}."


spaces: Registry[SearchSpace] = _Spaces("space", "spaces", group="raynas.searchspaces")
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
