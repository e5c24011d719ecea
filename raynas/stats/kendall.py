"""Kendall's rank correlation tau-b (Kendall 1945, "The treatment of ties in ranking problems").

Of all pairs of rows, those that two columns order alike less those that they order differently, over the geometric mean
of the numbers of pairs that each of them orders at all.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy import stats


def kendall_tau(first: Sequence[float] | np.ndarray, second: Sequence[float] | np.ndarray) -> float:
    """Kendall's tau-b of two columns of finite numbers.

    Args:
        first: (A,) one column.
        second: (A,) the other column, in the same order of rows.

    Returns:
        A number in [-1, 1]; NaN if a column is constant or has fewer than two rows.
    """
    return float(stats.kendalltau(first, second, variant="b").statistic)


def kendall_taus(columns: Sequence[np.ndarray]) -> np.ndarray:
    """`kendall_tau` of every two of some columns, each over the rows where both are finite, to six digits.

    All pairs of rows of all columns are compared at once, in memory for A^2 / 2 numbers a column: so it is made for
    many columns of up to some 1,000 rows.

    Args:
        columns: M columns (A,), in one order of rows.

    Returns:
        (M, M); NaN where a column is constant on those rows.
    """
    values = np.array(columns, np.float64)
    upper = np.triu_indices(values.shape[1], k=1)
    differences = values[:, upper[0]] - values[:, upper[1]]
    is_known = np.isfinite(differences).astype(np.float32)
    signs = np.sign(np.nan_to_num(differences)).astype(np.float32)
    untied = np.abs(signs) @ is_known.T  # of the row's column, among pairs known in both
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.asarray((signs @ signs.T) / np.sqrt(untied * untied.T), np.float64)
