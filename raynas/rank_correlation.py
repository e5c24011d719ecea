"""How far two orders agree, and how sure one can be of it: Kendall's tau-b with intervals, and given a third order."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from scipy import stats


class Tau(NamedTuple):
    """A rank correlation with its bootstrap interval; NaN where an order is constant."""

    value: float
    low: float
    high: float


def kendall_tau(first: Sequence[float] | np.ndarray, second: Sequence[float] | np.ndarray) -> float:
    """Kendall's tau-b of two lists of numbers (N,), in [-1, 1]; NaN if one is constant or has fewer than two."""
    return float(stats.kendalltau(first, second, variant="b").statistic)


def partial_tau(
    first: Sequence[float] | np.ndarray, second: Sequence[float] | np.ndarray, given: Sequence[float] | np.ndarray
) -> float:
    """Kendall's partial tau: the agreement of two orders that a third one does not explain.

    It is small, though not 0, where the two agree only through the third. NaN where the third order is one of the two,
    or a list is constant.
    """
    t, a, b = kendall_tau(first, second), kendall_tau(first, given), kendall_tau(second, given)
    rest = (1 - a * a) * (1 - b * b)
    return (t - a * b) / math.sqrt(rest) if rest > 1e-12 else math.nan


def bootstrapped(
    first: Sequence[float] | np.ndarray,
    second: Sequence[float] | np.ndarray,
    *,
    given: Sequence[float] | np.ndarray | None = None,
    resamples: int = 1000,
    level: float = 0.95,
    seed: int = 0,
) -> Tau:
    """Tau-b, or the partial tau given a third list, with a percentile interval over resampled rows.

    Args:
        first, second: (N,).
        given: (N,), or None.
        resamples: Of the rows, with replacement.
        level: Of the interval.
        seed: Of the resampling.
    """
    columns = [np.asarray(column, float) for column in (first, second, *([] if given is None else [given]))]
    measure = kendall_tau if given is None else partial_tau
    rng = np.random.default_rng(seed)
    n = len(columns[0])
    drawn = []
    for _ in range(resamples):
        rows = rng.integers(0, n, n)
        drawn.append(measure(*(column[rows] for column in columns)))
    known = [value for value in drawn if not math.isnan(value)]
    value = measure(*columns)
    if not known or math.isnan(value):
        return Tau(value, math.nan, math.nan)
    low, high = np.quantile(known, [(1 - level) / 2, (1 + level) / 2])
    return Tau(value, float(low), float(high))


def rank_sum(columns: Sequence[np.ndarray], maximize: Sequence[bool]) -> np.ndarray:
    """Ranks of several scores added up, so that higher is better: (N,) from columns (N,), ties by their mean rank."""
    ranked = [stats.rankdata(column if up else -column) for column, up in zip(columns, maximize, strict=True)]
    return np.asarray(np.sum(ranked, axis=0))
