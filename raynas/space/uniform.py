"""The uniform architecture of a given cost, which a search is set beside: blocks all alike, widths in proportion."""

from __future__ import annotations

from raynas.errors import SpaceError
from raynas.space.architecture import Architecture
from raynas.space.cost import cost
from raynas.space.fields import Choice
from raynas.space.search_space import SearchSpace


def uniform_architectures(space: SearchSpace) -> tuple[Architecture, ...]:
    """All uniform architectures that can be drawn from a space, in the order of its fields.

    Raises:
        SpaceError: The space has none.
    """
    if space.uniform is None:
        raise SpaceError(f"space {space.name!r} does not say which of its architectures are uniform")
    return tuple(space.uniform(space.fields))


def has_uneven(space: SearchSpace) -> bool:
    """Whether some architecture of a space may have blocks that differ.

    None has where each field has one value for the whole network, as in `vit`: whatever a search finds there has blocks
    all alike, and stands beside no uniform network.
    """
    return not all(
        isinstance(field, Choice) and not any(isinstance(option, tuple | list) for option in field.options)
        for field in space.fields.values()
    )


def uniform_of_cost(space: SearchSpace, name: str, target: float, *, img_size: int, num_classes: int) -> Architecture:
    """The uniform architecture whose cost is nearest to a target; of several, the first in the order of the fields.

    A target beyond all of them gives the largest or the smallest, so compare its own cost with what you asked for.

    Args:
        space: The space whose uniform architectures are compared.
        name: The cost that counts, "num_params" or "macs".
        target: The cost to come near to, such as that of an architecture that a search has found.
        img_size: Image side in pixels.
        num_classes: Outputs of the head.

    Raises:
        SpaceError: The space has no uniform architectures.
    """

    def distance(architecture: Architecture) -> float:
        return abs(cost(space, architecture, name, img_size=img_size, num_classes=num_classes) - target)

    return min(uniform_architectures(space), key=distance)
