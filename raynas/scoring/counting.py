"""Costs that only a built model tells, counted on a worker before anything else is computed."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from time import perf_counter
from typing import Any

from torch import nn

from raynas.models.process_guard import ProcessGuard
from raynas.scoring.failures import failure
from raynas.space.architecture import Architecture
from raynas.space.build import counted
from raynas.space.results import Constraint, Outcome, Status


def is_own(function: Callable[..., Any]) -> bool:
    """Whether a function or class is the user's own, and none that comes with raynas."""
    module = getattr(function, "__module__", None)
    return not isinstance(module, str) or module.partition(".")[0] not in ("raynas", "searchspaces")


class CostCounter:
    """Counts costs on models that are built for it on the meta device.

    Args:
        builder: Makes a model of the space: (architecture, *, img_size, num_classes) -> nn.Module.
        names: Names of the costs that are counted.
        constraints: The run's bounds, of which those on these costs matter.
        size: Keywords of the builder, img_size and num_classes; nothing where nothing is counted.
    """

    def __init__(
        self,
        builder: Callable[..., nn.Module],
        names: Sequence[str],
        constraints: Sequence[Constraint],
        size: Mapping[str, int],
    ) -> None:
        self._builder, self._names = builder, tuple(names)
        self._constraints = [bound for bound in constraints if bound.name in names]
        self._size = {name: size[name] for name in ("img_size", "num_classes")} if names else {}
        self._guard = ProcessGuard() if is_own(builder) else None

    def outcomes(self, architecture: Architecture) -> dict[str, Outcome]:
        """The costs of an architecture by name; what fails here need not fail where the model is used.

        Raises:
            DeviceLostError: A device error after which this process is of no use.
        """
        found = {}
        for name in self._names:
            started = perf_counter()
            value, status, error = math.nan, Status.OK, None
            try:
                with nullcontext() if self._guard is None else self._guard.watching():
                    make = lambda: self._builder(architecture, **self._size)  # noqa: E731
                    value = float(counted(make, name, self._size["img_size"]))
            except BaseException as failed:  # it is the user's code
                status, error = failure(failed)
            found[name] = Outcome(value if error is None else None, str(status), error, perf_counter() - started)
        return found

    def is_refused(self, costs: Mapping[str, Outcome]) -> bool:
        """Whether one of the costs violates a bound, or is bounded and could not be counted."""
        bounded = [(bound, costs[bound.name].value) for bound in self._constraints if bound.name in costs]
        return any(value is None or bound.violation({bound.name: value}) > 0 for bound, value in bounded)
