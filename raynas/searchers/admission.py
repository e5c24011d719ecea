"""Which architectures the constraints on costs admit, before anything is scored."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from raynas.space.architecture import Architecture
from raynas.space.cost import COSTS, cost
from raynas.space.results import Constraint
from raynas.space.search_space import SearchSpace


def admission(
    space: SearchSpace, constraints: Iterable[Constraint], *, img_size: int, num_classes: int
) -> Callable[[Architecture], bool] | None:
    """A function that says whether an architecture meets the constraints on costs.

    Args:
        space: The space whose architectures it takes.
        constraints: Bounds on costs and scores; those on scores are not known before scoring, and left aside.
        img_size: Side in pixels of the images that costs are counted for.
        num_classes: Number of outputs of the networks whose costs are counted.

    Returns:
        The function; None if there are no constraints on costs.
    """
    bounds = [(constraint.name, constraint) for constraint in constraints if constraint.name in COSTS]

    def admits(architecture: Architecture) -> bool:
        return not any(
            bound.violation({name: cost(space, architecture, name, img_size=img_size, num_classes=num_classes)})
            for name, bound in bounds
        )

    return admits if bounds else None
