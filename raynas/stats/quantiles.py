"""Quantiles of values some of which may be infinite."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np


def quantile(values: Sequence[float] | np.ndarray, q: float) -> float:
    """A quantile, linear between the two values next to it, as NumPy's is, to the last bit.

    Args:
        values: One number or more, none of them NaN.
        q: The share of the values that lie below the quantile, from 0 to 1.

    Returns:
        The quantile; infinite where it lies next to an infinite value.
    """
    ordered = np.sort(np.asarray(values, float))
    place = q * (len(ordered) - 1)
    below = math.floor(place)
    a, b = float(ordered[below]), float(ordered[math.ceil(place)])
    if a == b or math.isinf(a) or math.isinf(b):
        return b if math.isinf(b) else a
    share = place - below
    return a + share * (b - a) if share < 0.5 else b - (1 - share) * (b - a)


def quartiles(values: Sequence[float]) -> dict[str, float | None]:
    """Median and quartiles of some values.

    Args:
        values: Numbers of which some may be infinite; none is NaN. There may be no values.

    Returns:
        `median`, `low` (the first quartile) and `high` (the third); None where it is infinite, or there are no values.
    """
    found = {"median": 0.5, "low": 0.25, "high": 0.75}
    quantiles = {name: quantile(values, q) if len(values) else math.inf for name, q in found.items()}
    return {name: value if math.isfinite(value) else None for name, value in quantiles.items()}
