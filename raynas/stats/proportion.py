"""How sure one can be of a share that was counted."""

from __future__ import annotations

import numpy as np
from scipy.special import ndtri


def wilson_interval(share: np.ndarray | float, n: int, level: float = 0.95) -> tuple[np.ndarray, np.ndarray]:
    """Wilson's score interval (1927) of the probability behind shares of independent draws.

    Args:
        share: Shares in [0, 1] that were counted, in any shape; NaN stays.
        n: How many draws each share is of, at least 1.
        level: Probability that the interval covers, such as 0.95.

    Returns:
        Lower and upper bounds in the shape of the shares, within [0, 1].
    """
    p = np.asarray(share, float)
    z = float(ndtri((1 + level) / 2))
    centre = (p + z * z / (2 * n)) / (1 + z * z / n)
    half = z / (1 + z * z / n) * np.sqrt(p * (1 - p) / n + z * z / (4 * n * n))
    return np.clip(centre - half, 0.0, 1.0), np.clip(centre + half, 0.0, 1.0)


def paired_interval(first_only: int, second_only: int, n: int, level: float = 0.95) -> tuple[float, float]:
    """Agresti and Min's interval (2005) of the difference between two shares that were counted on the same draws.

    Half a draw is added to each of the four ways in which two answers can be right or wrong, and the usual interval of
    matched pairs is taken of those counts.

    Args:
        first_only: How often the first alone was right.
        second_only: How often the second alone was right.
        n: How many draws there were, at least 1.
        level: Probability that the interval covers, such as 0.95.

    Returns:
        Lower and upper bound of the second share less the first, within [-1, 1].
    """
    z = float(ndtri((1 + level) / 2))
    first, second, total = first_only + 0.5, second_only + 0.5, n + 2
    centre = (second - first) / total
    half = z * np.sqrt(first + second - (second - first) ** 2 / total) / total
    return max(-1.0, float(centre - half)), min(1.0, float(centre + half))
