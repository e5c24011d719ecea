"""Intervals that hold what is observed next, made of what was off before."""

from __future__ import annotations

import math

import numpy as np
from scipy.stats import t as student


def widening(errors: np.ndarray, level: float) -> float:
    """How many of its deviations an interval reaches to each side, so that it holds a share of what comes.

    It is the mean of two estimates of the same number, which differ by what they assume: the quantile of conformal
    prediction (Vovk 2005), which assumes nothing of how errors are distributed and is rough where there are only tens
    of them; and that of Student's t, which assumes a bell, and has the scale of all errors together.

    Args:
        errors: (n,) what was predicted without the observation minus the observation, over the deviation that was
            stated; n >= 2.
        level: The share, such as 0.9.
    """
    sizes, n = np.sort(np.abs(errors)), len(errors)
    rank = min(n, math.ceil(level * (n + 1)))
    spread = math.sqrt(float((sizes**2).mean()))
    return (float(sizes[rank - 1]) + float(student.ppf((1 + level) / 2, n - 1)) * spread) / 2
