"""Numbers that tell the architectures of a space apart, for statistics over them: how much there is to compute, and
what is chosen where.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from functools import cached_property
from typing import Any

import numpy as np

from raynas.space.architecture import Architecture
from raynas.space.cost import COSTS, closed_form
from raynas.space.fields import as_tuple
from raynas.space.search_space import Decision, SearchSpace

_DECISION = re.compile(r"(?P<field>.+?)(?:\[(?P<place>\d+)\])?")
WHOLE, CHOSEN = 0, 1
"""Groups of features: of the whole network, and of single decisions."""


class Features:
    """Takes architectures of a space to vectors.

    Of the whole network there are logarithms of its costs, where they have closed forms, and of sums over its stages,
    where the space tells them: blocks, activations, and products by which layers and attention grow. Of each decision
    there is its value, 0 for a layer that is not there; or where values are no numbers, whether it is each of them.

    Args:
        space: The space.
        img_size: Side in pixels of the images that costs are told for.
        num_classes: Outputs of the head.
    """

    def __init__(self, space: SearchSpace, *, img_size: int, num_classes: int) -> None:
        self._space = space
        self._img_size = img_size
        self._num_classes = num_classes
        self._costs = [form for name in COSTS if (form := closed_form(space, name)) is not None]
        self._decisions = [_Column.of(decision) for decision in space.decisions]

    @cached_property
    def groups(self) -> tuple[int, ...]:
        """The group of each feature, `WHOLE` or `CHOSEN`."""
        chosen = sum(column.width for column in self._decisions)
        whole = len(self._of_whole(self._space.sample(np.random.default_rng(0))))
        found = [*[WHOLE] * whole, *[CHOSEN] * chosen]
        return tuple(found if whole else [0] * chosen)  # groups count from 0

    def __call__(self, architectures: Sequence[Architecture]) -> np.ndarray:
        """The vectors of n architectures, (n, d)."""
        rows = [[*self._of_whole(one), *self._of_decisions(one)] for one in architectures]
        return np.array(rows, float).reshape(len(rows), len(self.groups))

    def _of_whole(self, architecture: Architecture) -> list[float]:
        found = [math.log(max(1, form(architecture, self._img_size, self._num_classes))) for form in self._costs]
        if self._space.stages is not None:
            stages = self._space.stages(architecture, self._img_size)
            sums = [
                sum(one.depth for one in stages),
                sum(one.depth * one.tokens * one.width for one in stages),
                sum(one.depth * one.tokens * one.width**2 for one in stages),
                sum(one.depth * one.tokens**2 * one.width for one in stages),
            ]
            found += [math.log(max(1, total)) for total in sums]
        return found

    def _of_decisions(self, architecture: Architecture) -> list[float]:
        return [number for column in self._decisions for number in column.numbers(architecture)]


class _Column:
    """The features of one decision."""

    def __init__(self, field: str, place: int | None, options: tuple[Any, ...], is_number: bool) -> None:
        self._field = field
        self._place = place
        self._options = options
        self._is_number = is_number
        self._unit = max((abs(one) for one in options), default=1) or 1 if is_number else 1

    @classmethod
    def of(cls, decision: Decision) -> _Column:
        match = _DECISION.fullmatch(decision.name)
        assert match is not None, decision.name
        place = None if match["place"] is None else int(match["place"])
        is_number = all(isinstance(one, int | float) and not isinstance(one, bool) for one in decision.options)
        return cls(match["field"], place, decision.options, is_number)

    @property
    def width(self) -> int:
        """How many features there are."""
        return 1 if self._is_number else len(self._options)

    def numbers(self, architecture: Architecture) -> list[float]:
        """The features of an architecture."""
        value: Any = architecture[self._field]
        if self._place is not None:
            values = as_tuple(value)
            value = values[self._place] if self._place < len(values) else 0
        if self._is_number:
            return [float(value) / self._unit]
        return [float(value == option) for option in self._options]
