"""Several scores of a pool of candidates made into one, for TVT and wherever scores have scales of their own.

Values are oriented by the caller such that higher is better. Letters: N candidates of the pool.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np
from scipy import stats

SHARES = (0.0, 0.25, 0.5, 0.75, 1.0)
"""Of the first score's weight, in a sweep over the weights of two."""


def combined(columns: Sequence[np.ndarray], *, weights: Sequence[float] = (), how: str = "min_max") -> np.ndarray:
    """Weighted sum of scores, each normalised over the pool; higher is better.

    TVT (arXiv 2311.14337) adds up two scores with weights. Neither these nor the normalisation are told in what could
    be read of it; equal weights and the range of the pool are our choice. The raw values differ by orders of magnitude,
    so that a sum of them would be the larger one alone.

    Args:
        columns: Each (N,), finite.
        weights: Of the columns, not negative; none: all are 1.
        how: "min_max" maps the range of a column to [0, 1], and a constant column to 0; "ranks" takes its ranks, from
            0 to 1, ties by their mean.

    Returns:
        (N,).
    """
    factors = weights or [1.0] * len(columns)
    parts = [factor * NORMALISATIONS[how](np.asarray(c, float)) for factor, c in zip(factors, columns, strict=True)]
    return np.asarray(np.sum(parts, axis=0))


def weight_sweep(
    first: np.ndarray, second: np.ndarray, *, shares: Sequence[float] = SHARES, how: str = "min_max"
) -> dict[float, np.ndarray]:
    """The combination of two scores by the share of the weight that the first one has."""
    return {share: combined([first, second], weights=[share, 1 - share], how=how) for share in shares}


def min_max(values: np.ndarray) -> np.ndarray:
    """(N,) to [0, 1]; zeros where all values are equal."""
    span = np.ptp(values) if len(values) else 0.0
    return (values - values.min()) / span if span > 0 else np.zeros(len(values))


def ranks(values: np.ndarray) -> np.ndarray:
    """(N,) to ranks from 0 to 1, ties by their mean; zeros where all values are equal."""
    return min_max(stats.rankdata(values)) if len(values) else values


NORMALISATIONS: Mapping[str, Callable[[np.ndarray], np.ndarray]] = {"min_max": min_max, "ranks": ranks}
