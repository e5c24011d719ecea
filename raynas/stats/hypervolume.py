"""The hypervolume that points dominate, as points come."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator

import numpy as np

from raynas.stats.pareto import pareto_front


def hypervolume_trace(
    losses: np.ndarray, best: np.ndarray | None = None, worst: np.ndarray | None = None
) -> list[tuple[int, float]]:
    """The hypervolume of all points so far, at every point that none before it dominates.

    The unit is the volume of the box between two corners, which contains all points. A column whose corners are equal
    counts as if its values were the best ones.

    Args:
        losses: (A, M) values of A points in the order in which they came; lower is better in every column.
        best: (M,) the corner with the lowest loss in each column; None: the lowest among the points.
        worst: (M,) the corner with the highest loss in each column; None: the highest among the points.

    Returns:
        Pairs of the point's row and the share of the box that is dominated from there on, from 0 to 1.
    """
    low = losses.min(axis=0, initial=np.inf) if best is None else best
    high = losses.max(axis=0, initial=-np.inf) if worst is None else worst
    scaled = (losses - low) / np.where(high > low, high - low, 1.0)
    return list(_areas(scaled) if scaled.shape[1] == 2 else _volumes(scaled))


def _areas(points: np.ndarray) -> Iterator[tuple[int, float]]:
    """For two columns: the front is kept in order, and its steps are added up."""
    front: list[tuple[float, float]] = []  # ascending in the first, descending in the second column
    for position, (a, b) in enumerate(points.tolist()):
        at = bisect_left(front, (a, b))
        if (at and front[at - 1][1] <= b) or (at < len(front) and front[at] == (a, b)):
            continue
        end = at
        while end < len(front) and front[end][1] >= b:
            end += 1
        front[at:end] = [(a, b)]
        area, ceiling = 0.0, 1.0
        for x, y in front:
            area += (1.0 - x) * (ceiling - y)
            ceiling = y
        yield position, area


def _volumes(points: np.ndarray) -> Iterator[tuple[int, float]]:
    """For any number of columns: each point adds its box, less what the front dominates of it."""
    front, volume = np.empty((0, points.shape[1])), 0.0
    for position, point in enumerate(points):
        if (front <= point).all(axis=1).any():
            continue
        volume += float(np.prod(1 - point)) - _volume(np.maximum(front, point))
        front = np.vstack([front[~(point <= front).all(axis=1)], point])
        yield position, volume


def _volume(points: np.ndarray) -> float:
    """What points (A, M) dominate up to (1, ..., 1): each adds its box, less what later ones dominate of it.

    The exclusive volumes of While, Bradstreet and Barone (2012, "A fast way of calculating exact hypervolumes").
    """
    points = points[pareto_front(points)]
    return sum(float(np.prod(1 - p)) - _volume(np.maximum(points[i + 1 :], p)) for i, p in enumerate(points))
