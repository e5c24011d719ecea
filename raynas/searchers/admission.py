"""Which architectures the constraints on costs admit, before anything is scored."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from raynas.space.architecture import Architecture
from raynas.space.cost import COSTS, closed_form
from raynas.space.results import Constraint
from raynas.space.search_space import SearchSpace


def admission(
    space: SearchSpace, constraints: Iterable[Constraint], *, img_size: int, num_classes: int
) -> Callable[[Architecture], bool] | None:
    """A function that says whether an architecture meets the constraints on costs that are known before scoring.

    Args:
        space: The space whose architectures it takes.
        constraints: Bounds on costs and scores. Those on scores, and on costs without a closed form, which are counted
            where scores are computed, are not known before scoring, and left aside.
        img_size: Side in pixels of the images that costs are counted for.
        num_classes: Number of outputs of the networks whose costs are counted.

    Returns:
        The function; None if there are no constraints on costs with closed forms.
    """
    bounds = [
        (bound, closed)
        for bound in constraints
        if bound.name in COSTS and (closed := closed_form(space, bound.name)) is not None
    ]

    def admits(architecture: Architecture) -> bool:
        return not any(
            bound.violation({bound.name: closed(architecture, img_size, num_classes)}) for bound, closed in bounds
        )

    return admits if bounds else None
