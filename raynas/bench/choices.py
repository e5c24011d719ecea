"""What one gets who takes the best architectures by a predictor: overlap with the best there are, and regret.

Ties are not broken: at the last place, all that are tied count by their chance to be taken.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from raynas.stats.rounding import without_rounding


def choices(oriented: np.ndarray, label: np.ndarray, top: int) -> dict[str, Any]:
    """What one gets who takes the best by a predictor, in the mean over the ways to break ties.

    Args:
        oriented: (A,) values of the predictor, higher is better; what has none (NaN) is chosen last.
        label: (A,) what the architectures reached, higher is better; those without a value (NaN) are left out.
        top: How many architectures one takes; all of them where there are fewer.

    Returns:
        The columns top_5pct to regret_top_k_scaled of `raynas.bench.correlations.SCHEMA`; none without any value.
    """
    has_label = np.isfinite(label)
    truth, score = label[has_label], oriented[has_label]
    if not np.isfinite(score).any():
        return {}
    n = len(truth)
    k = min(top, n)
    best, span = truth.max(), truth.max() - truth.min()
    regrets = np.array([best - expected_best(score, truth, count) for count in (1, k)])
    # Where ties are averaged, the best label comes out a little different from itself.
    first, among = without_rounding(regrets, float(np.abs(truth).max())).tolist()
    return {
        "top_5pct": top_overlap(score, truth, math.ceil(0.05 * n)),
        "top_10pct": top_overlap(score, truth, math.ceil(0.1 * n)),
        "top_k": top_overlap(score, truth, k),
        "k": k,
        "regret": first,
        "regret_scaled": first / span,
        "regret_top_k": among,
        "regret_top_k_scaled": among / span,
    }


def top_overlap(first: np.ndarray, second: np.ndarray, k: int) -> float:
    """The share of the k best by one order that are among the k best by another; where ties are cut, what is expected.

    Args:
        first, second: (N,) values of the two orders, higher is better; NaN comes last.
        k: How many are taken, at most N.
    """
    return float(_membership(first, k) @ _membership(second, k) / k)


def expected_best(score: np.ndarray, label: np.ndarray, k: int) -> float:
    """The largest label among the k best by a score; the mean over all ways to break a tie at the last place.

    Args:
        score: (N,) values that one chooses by, higher is better; NaN comes last.
        label: (N,) finite values that the choice is judged by.
        k: How many are taken, at most N.
    """
    sure, tied, places = _cut(score, k)
    floor = label[sure].max(initial=-math.inf)
    candidates = np.sort(label[tied])[::-1]
    count, expected, chance = len(candidates), 0.0, places / len(candidates)
    for i in range(count - places + 1):  # that the i-th best of them is taken and none before it
        expected += chance * max(floor, float(candidates[i]))
        chance *= (count - places - i) / (count - 1 - i) if i < count - 1 else 0.0
    return expected


def _cut(score: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray, int]:
    """Who is among the k best for sure (N,), who is tied for the last places (N,), and how many places these are."""
    filled = np.where(np.isnan(score), -np.inf, score)
    edge = np.partition(filled, len(filled) - k)[len(filled) - k]
    sure = filled > edge
    return sure, filled == edge, k - int(sure.sum())


def _membership(score: np.ndarray, k: int) -> np.ndarray:
    sure, tied, places = _cut(score, k)
    return np.asarray(sure + tied * places / tied.sum())
