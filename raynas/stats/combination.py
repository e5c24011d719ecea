"""Several scores of a pool of candidates made into one, where scores have scales of their own.

Letters: N candidates of the pool. A method takes columns (N,), for each whether higher is better, and weights, all 1
unless given; higher is better in what it returns, (N,).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np
from scipy import stats


def ranks(column: np.ndarray, *, maximize: bool = True) -> np.ndarray:
    """Ranks of the candidates by one score.

    Args:
        column: (N,) values of the score; NaN where it has no value, which ranks as the worst.
        maximize: Whether a higher value is better.

    Returns:
        (N,) ranks from 1, the worst; equal values share the mean of their ranks.
    """
    oriented = np.asarray(column if maximize else -column, float)
    return np.asarray(stats.rankdata(np.where(np.isnan(oriented), -np.inf, oriented)))


def rank_sum(
    columns: Sequence[np.ndarray], maximize: Sequence[bool], weights: Sequence[float] | None = None
) -> np.ndarray:
    """Ranks of several scores added up, so that higher is better: (N,) from columns (N,), ties by their mean rank."""
    return _added([ranks(column, maximize=up) for column, up in zip(columns, maximize, strict=True)], weights)


def log_rank_sum(
    columns: Sequence[np.ndarray], maximize: Sequence[bool], weights: Sequence[float] | None = None
) -> np.ndarray:
    """Logarithms of rank / N added up (AZ-NAS): a score in which a row is poor costs it much."""
    ranked = [ranks(column, maximize=up) for column, up in zip(columns, maximize, strict=True)]
    return _added([np.log(rank / len(rank)) for rank in ranked], weights)


def min_max_sum(
    columns: Sequence[np.ndarray], maximize: Sequence[bool], weights: Sequence[float] | None = None
) -> np.ndarray:
    """Scores on a scale from their worst value, 0, to their best one, 1, added up (TVT).

    0 for what has no value, and for all rows of a score that is constant.
    """
    scaled = []
    for column, up in zip(columns, maximize, strict=True):
        oriented = np.asarray(column if up else -column, float)
        known = oriented[np.isfinite(oriented)]
        low, high = (known.min(), known.max()) if len(known) else (0.0, 0.0)
        scaled.append(np.nan_to_num((oriented - low) / (high - low if high > low else 1.0)))
    return _added(scaled, weights)


def _added(columns: Sequence[np.ndarray], weights: Sequence[float] | None) -> np.ndarray:
    parts = zip(columns, weights or [1.0] * len(columns), strict=True)
    return np.asarray(np.sum([weight * column for column, weight in parts], axis=0))


METHODS: Mapping[str, Callable[..., np.ndarray]] = {
    "log_rank": log_rank_sum,
    "rank_sum": rank_sum,
    "min_max": min_max_sum,
}
"""Ways to make one score of several."""
