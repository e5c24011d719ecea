"""Pareto fronts and traces of the best value, in numpy; lower is better everywhere."""

from __future__ import annotations

import numpy as np


def pareto_front(losses: np.ndarray) -> np.ndarray:
    """The rows that no other row dominates, that is, equals or betters in all columns and betters in one.

    Args:
        losses: (A, M) values of A points; lower is better in every column.

    Returns:
        Positions of these rows, in the order of the first column; of equal rows the first.
    """
    order = np.lexsort((np.arange(len(losses)), *losses.T[::-1]))
    ordered = losses[order]
    if losses.shape[1] <= 2:
        best = np.minimum.accumulate(ordered[:, -1])
        is_better = np.append(True, best[1:] < best[:-1])[: len(order)]
        return np.asarray(order[is_better])
    kept: list[int] = []
    while len(order):
        kept.append(order[0])
        remains = (ordered < ordered[0]).any(axis=1)
        order, ordered = order[remains], ordered[remains]
    return np.array(kept, np.int64)


def best_so_far(losses: np.ndarray) -> np.ndarray:
    """Positions at which the smallest value so far was found.

    Args:
        losses: (A,) values in the order in which they came.
    """
    best = np.minimum.accumulate(losses)
    return np.flatnonzero(np.append(True, best[1:] < best[:-1])[: len(losses)])
