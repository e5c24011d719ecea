"""Numbers that are nothing but the rounding of larger ones."""

from __future__ import annotations

import numpy as np

_SHARE = 1e-12


def without_rounding(values: np.ndarray | float, scale: float = 1.0) -> np.ndarray:
    """Values with 0 in place of those that the rounding of a calculation leaves where it should come to 0.

    Args:
        values: Differences of numbers, in any shape; NaN stays.
        scale: The size of the numbers that were subtracted, such as 1 for correlations.
    """
    values = np.asarray(values, float)
    return np.where(np.abs(values) <= _SHARE * scale, 0.0, values)
