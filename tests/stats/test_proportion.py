"""Wilson's interval against scipy's."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy.stats import binomtest

from raynas.stats.proportion import wilson_interval


@pytest.mark.parametrize("n", [1, 2, 10, 359, 50_000])
@pytest.mark.parametrize("level", [0.5, 0.95, 0.99])
def test_interval_is_scipys(n: int, level: float) -> None:
    counts = sorted({0, 1, n // 3, n - 1, n})
    low, high = wilson_interval(np.array(counts) / n, n, level)
    for k, count in enumerate(counts):
        expected = binomtest(count, n).proportion_ci(level, method="wilson")
        assert (low[k], high[k]) == pytest.approx((expected.low, expected.high), abs=1e-12)


def test_no_share_has_no_interval() -> None:
    assert all(math.isnan(bound) for bound in wilson_interval(math.nan, 10))
