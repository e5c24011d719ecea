"""The hypervolume that points dominate, as points come."""

from __future__ import annotations

from bisect import bisect_left

import numpy as np

from raynas.stats.pareto import pareto_front


def hypervolume_so_far(losses: np.ndarray) -> list[tuple[int, float]]:
    """Where the area that points (A, 2) dominate grew, and to what.

    The unit is the rectangle between the best and the worst loss of each column.
    """
    low, high = losses.min(axis=0, initial=np.inf), losses.max(axis=0, initial=-np.inf)
    scaled = (losses - low) / np.where(high > low, high - low, 1.0)
    front: list[tuple[float, float]] = []  # ascending in the first, descending in the second column
    trace: list[tuple[int, float]] = []
    for position, (a, b) in enumerate(scaled.tolist()):
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
        trace.append((position, area))
    return trace


def hypervolume_trace(points: np.ndarray) -> list[tuple[int, float]]:
    """Where the volume that points (A, M) in the unit box dominate grew, and to what; lower is better everywhere."""
    front, volume = np.empty((0, points.shape[1])), 0.0
    trace: list[tuple[int, float]] = []
    for position, point in enumerate(points):
        if (front <= point).all(axis=1).any():
            continue
        volume += float(np.prod(1 - point)) - _volume(np.maximum(front, point))
        front = np.vstack([front[~(point <= front).all(axis=1)], point])
        trace.append((position, volume))
    return trace


def _volume(points: np.ndarray) -> float:
    """What points (A, M) dominate up to (1, ..., 1): each adds its box, less what later ones dominate of it.

    The exclusive volumes of While, Bradstreet and Barone (2012, "A fast way of calculating exact hypervolumes").
    """
    points = points[pareto_front(points)]
    return sum(float(np.prod(1 - p)) - _volume(np.maximum(points[i + 1 :], p)) for i, p in enumerate(points))
