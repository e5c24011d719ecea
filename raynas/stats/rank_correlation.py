"""How far two orders agree, and how sure one can be of it: Kendall's tau-b with intervals, and given a third order."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from raynas.stats.kendall import kendall_tau
from raynas.stats.quantiles import quantile
from raynas.stats.resampling import Resampler, resampled_weights


class Tau(NamedTuple):
    """A rank correlation with its bootstrap interval; all are NaN where an order is constant."""

    value: float
    low: float  # lower bound of the interval
    high: float  # upper bound of the interval


def partial_tau(
    first: Sequence[float] | np.ndarray, second: Sequence[float] | np.ndarray, given: Sequence[float] | np.ndarray
) -> float:
    """Kendall's partial tau: the agreement of two orders that a third one does not explain.

    It is small, though not 0, where the two agree only through the third.

    Args:
        first: (N,) one of the two columns.
        second: (N,) the other of the two columns.
        given: (N,) the third column, which is held fixed.

    Returns:
        A number in [-1, 1]; NaN where the third order is one of the two, or a column is constant.
    """
    return float(partial(kendall_tau(first, second), kendall_tau(first, given), kendall_tau(second, given)))


def partial(tau: Any, with_first: Any, with_second: Any) -> np.ndarray:
    """What is left of the correlation of two columns once a third is held fixed.

    Args:
        tau: The correlation of the two; a number, or an array of any shape, as are the others.
        with_first: The correlation of the third column with the first.
        with_second: The correlation of the third column with the second.

    Returns:
        The partial correlation in the shape of the arguments; NaN where the third column orders as one of the two does.
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
    """Tau-b, or the partial tau given a third column, with a percentile interval over resampled rows.

    Args:
        first: (N,) one of the two columns.
        second: (N,) the other of the two columns.
        given: (N,) the column that a partial tau holds fixed; None: tau-b of the two is taken.
        resamples: How often N rows are drawn with replacement.
        level: Share of the resampled values that lie within the interval.
        seed: Seed that all draws of rows follow from.
    """
    columns = [np.asarray(column, float) for column in (first, second, *([] if given is None else [given]))]
    value = kendall_tau(*columns) if given is None else partial_tau(*columns)
    sampled = Resampler([columns[0], *columns[2:]], columns[1:])
    taus = np.concatenate([sampled.tau(weights) for weights in resampled_weights(len(columns[0]), resamples, seed)])
    drawn = taus[:, 0, 0] if given is None else partial(taus[:, 0, 0], taus[:, 0, 1], taus[:, 1, 0])
    return Tau(value, *interval(drawn if not math.isnan(value) else drawn[:0], level))


def interval(drawn: np.ndarray, level: float) -> tuple[float, float]:
    """The interval that holds the middle of some drawn values.

    Args:
        drawn: (R,) values of a statistic on R resamples; those that are NaN are left out.
        level: Share of the values within the interval, such as 0.95; equal shares lie below and above it.

    Returns:
        The lower and the upper bound; both NaN where all values are.
    """
    known = drawn[~np.isnan(drawn)]
    if not len(known):
        return math.nan, math.nan
    return quantile(known, (1 - level) / 2), quantile(known, (1 + level) / 2)
