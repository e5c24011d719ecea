"""Quantiles of values some of which may be infinite."""

from __future__ import annotations

import math
from collections.abc import Sequence


# -- many searches -------------------------------------------------------------------------------------------------
def quantile(values: Sequence[float], q: float) -> float:
    """The q-quantile with linear interpolation; infinite where it lies next to an infinite value."""
    ordered = sorted(values)
    place = q * (len(ordered) - 1)
    below = math.floor(place)
    a, b = ordered[below], ordered[math.ceil(place)]
    if a == b or math.isinf(a) or math.isinf(b):
        return b if math.isinf(b) else a
    return a + (place - below) * (b - a)


def quartiles(values: Sequence[float]) -> dict[str, float | None]:
    """Median and quartiles: `median`, `low`, `high`; None where infinite."""
    found = {"median": 0.5, "low": 0.25, "high": 0.75}
    quantiles = {name: quantile(values, q) if values else math.inf for name, q in found.items()}
    return {name: value if math.isfinite(value) else None for name, value in quantiles.items()}
