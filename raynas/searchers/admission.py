"""Which architectures the constraints on costs admit, before anything is scored."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence

from raynas.space.architecture import Architecture
from raynas.space.cost import closed_form, costs_of
from raynas.space.results import Constraint
from raynas.space.search_space import SearchSpace


class Admission:
    """Says whether an architecture meets the constraints on costs that are known before scoring, and which it does not.

    Args:
        bounds: Constraints on costs.
        costs: Gives those costs of an architecture, by name.
    """

    def __init__(self, bounds: Sequence[Constraint], costs: Callable[[Architecture], Mapping[str, float]]) -> None:
        self._bounds = tuple(bounds)
        self._costs = costs

    def __call__(self, architecture: Architecture) -> bool:
        """Whether an architecture meets all bounds."""
        costs = self._costs(architecture)
        return not any(bound.violation(costs) for bound in self._bounds)

    def violated(self, architecture: Architecture) -> list[Constraint]:
        """The bounds that an architecture does not meet; they say on which side of a band it is."""
        costs = self._costs(architecture)
        return [bound for bound in self._bounds if bound.violation(costs)]


def admission(
    space: SearchSpace, constraints: Iterable[Constraint], *, img_size: int, num_classes: int
) -> Admission | None:
    """What says whether an architecture meets the constraints on costs that are known before scoring.

    Args:
        space: The space whose architectures it takes.
        constraints: Bounds on costs and scores. Those on scores, and on costs without a closed form, which are counted
            where scores are computed, are not known before scoring, and left aside.
        img_size: Side in pixels of the images that costs are counted for.
        num_classes: Number of outputs of the networks whose costs are counted.

    Returns:
        A callable that takes an architecture; None if there are no constraints on costs with closed forms.
    """
    names = costs_of(space)
    bounds = [bound for bound in constraints if bound.name in names and closed_form(space, bound.name) is not None]
    closed = {
        name: form for name in names if name in {bound.name for bound in bounds} and (form := closed_form(space, name))
    }

    def costs(architecture: Architecture) -> dict[str, float]:
        return {name: form(architecture, img_size, num_classes) for name, form in closed.items()}

    return Admission(bounds, costs) if bounds else None
