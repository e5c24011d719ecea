"""Architectures in the page: columns of numbers, with stages and field values stored once each."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from raynas.errors import SpaceError, UnknownNameError
from raynas.space.architecture import Architecture
from raynas.space.registered import spaces
from raynas.space.search_space import SearchSpace
from raynas.storage.points import Points


def registered_space(name: str) -> SearchSpace | None:
    """The space of a name; None if it is not registered, of a wheel that is there in part, or no variant of one."""
    try:
        return spaces.get(name) if name in spaces else None
    except (ImportError, SpaceError, UnknownNameError):
        return None


def embedded_points(
    points: Points,
    states: np.ndarray,
    chosen: np.ndarray,
    group_of_point: Mapping[int, int],
    space: SearchSpace | None,
    img_size: int,
) -> dict[str, Any]:
    """Columns of the architectures that the page holds.

    Args:
        points: All architectures of the run, with their scores.
        states: (A,) what became of each architecture, numbers of `raynas.storage.points.State`.
        chosen: Positions of the architectures that the page holds.
        group_of_point: Numbers of the groups of failures, by the positions of the architectures that failed.
        space: The space that gives pictures and texts; None: the page shows the fields.
        img_size: Side of the run's images in pixels.
    """
    architectures = [Architecture.from_json(points.texts[number]) for number in chosen]
    stages, fields = _Interned(), _Interned()
    rows = [_stages(space, architecture, img_size) for architecture in architectures]
    is_drawn = bool(rows) and all(row is not None for row in rows)
    has_text = space is not None and space.format is not None
    seconds = sum(points.seconds.values(), np.zeros(len(points)))
    return {
        "candidate": points.candidates[chosen].tolist(),
        "state": states[chosen].tolist(),
        "seconds": [short_number(value) for value in seconds[chosen]],
        "values": {name: [short_number(v) for v in column[chosen]] for name, column in points.values.items()},
        "failure": [group_of_point.get(int(number), -1) for number in chosen],
        "text": [space.text(one) for one in architectures] if space is not None and has_text else None,
        "fields": [[fields.number([name, value]) for name, value in one.items()] for one in architectures],
        "field_table": fields.table,
        "stages": [[stages.number(stage) for stage in row or ()] for row in rows] if is_drawn else None,
        "stage_table": stages.table,
    }


def _stages(space: SearchSpace | None, architecture: Architecture, img_size: int) -> list[dict[str, Any]] | None:
    """What pictures show; None where the space has no pictures, or none of this architecture."""
    if space is None or space.stages is None:
        return None
    try:
        return [{**stage._asdict(), "details": dict(stage.details)} for stage in space.stages(architecture, img_size)]
    except (ArithmeticError, LookupError, TypeError, ValueError):
        return None


class _Interned:
    """Numbers for JSON values, equal ones sharing one."""

    def __init__(self) -> None:
        self.table: list[Any] = []
        self._numbers: dict[str, int] = {}

    def number(self, value: Any) -> int:
        text = json.dumps(value)
        if text not in self._numbers:
            self._numbers[text] = len(self.table)
            self.table.append(value)
        return self._numbers[text]


def short_number(value: float) -> float | int | None:
    """A value with nine digits, which no picture resolves; whole numbers in full."""
    if not math.isfinite(value):
        return None
    return int(value) if float(value).is_integer() and abs(value) < 2**53 else float(f"{value:.9g}")


def finite(value: Any) -> Any:
    """A JSON value without what JSON has no numbers for."""
    if isinstance(value, Mapping):
        return {str(name): finite(item) for name, item in value.items()}
    if isinstance(value, Sequence) and not isinstance(value, str):
        return [finite(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
