"""How far two orders agree, and how sure one can be of it: Kendall's tau-b with intervals, and given a third order."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from scipy import stats

from raynas.stats.resampling import Resampler, resampled_weights


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
    return float(partial(kendall_tau(first, second), kendall_tau(first, given), kendall_tau(second, given)))


def partial(tau: Any, with_first: Any, with_second: Any) -> np.ndarray:
    """What is left of a correlation of two once a third is held fixed; NaN where the third is one of the two.

    Args:
        tau: Of the two; a number, or an array like the others.
        with_first, with_second: Of the third with each.
    """
    t, a, b = (np.asarray(one, float) for one in (tau, with_first, with_second))
    rest = (1 - a * a) * (1 - b * b)
    is_known = rest > 1e-12
    return np.where(is_known, (t - a * b) / np.sqrt(np.where(is_known, rest, 1.0)), np.nan)


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
    value = kendall_tau(*columns) if given is None else partial_tau(*columns)
    sampled = Resampler([columns[0], *columns[2:]], columns[1:])
    taus = np.concatenate([sampled.tau(weights) for weights in resampled_weights(len(columns[0]), resamples, seed)])
    drawn = taus[:, 0, 0] if given is None else partial(taus[:, 0, 0], taus[:, 0, 1], taus[:, 1, 0])
    return Tau(value, *interval(drawn if not math.isnan(value) else drawn[:0], level))


def interval(drawn: np.ndarray, level: float) -> tuple[float, float]:
    """Percentile interval of drawn values (R,), of which those that are NaN are left out; NaN if all are."""
    known = drawn[~np.isnan(drawn)]
    if not len(known):
        return math.nan, math.nan
    low, high = np.quantile(known, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


def kendall_taus(columns: Sequence[np.ndarray]) -> np.ndarray:
    """Kendall's tau-b of every two columns (A,) over the rows that have both; NaN where one is constant.

    Takes memory for A^2 / 2 pairs of rows per column: some 1,000 rows are the intended size.
    """
    values = np.array(columns, np.float64)
    upper = np.triu_indices(values.shape[1], k=1)
    differences = values[:, upper[0]] - values[:, upper[1]]
    is_known = np.isfinite(differences).astype(np.float32)
    signs = np.sign(np.nan_to_num(differences)).astype(np.float32)
    untied = np.abs(signs) @ is_known.T  # of the row's column, among pairs known in both
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.asarray((signs @ signs.T) / np.sqrt(untied * untied.T), np.float64)
