"""Samples that keep what they must."""

from __future__ import annotations

import numpy as np

from raynas.stats.thinning import sampled


def test_sample_keeps_what_is_required() -> None:
    required = np.array([5, 99])
    chosen = sampled([required], 100, 10)
    assert len(chosen) == 10
    assert set(required) <= set(chosen)
    assert list(chosen) == list(sampled([required], 100, 10))
    assert len(sampled([np.arange(50)], 100, 10)) == 50
