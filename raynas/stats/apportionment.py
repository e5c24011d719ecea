"""A number of seats shared out among groups by their sizes."""

from __future__ import annotations

import numpy as np


def apportioned(sizes: np.ndarray, number: int, *, leaves_one: bool = False) -> np.ndarray:
    """How many of a number each group gets, in proportion to its size, by largest remainders (Hamilton's method).

    Each group gets one at least, where the number suffices, and none more than it has. Where remainders are equal, the
    earlier group is served first. All is computed in integers, so that it is the same on every machine.

    Args:
        sizes: (G,) how many members each group has, at least 1.
        number: How many are shared out, from 0 to the sum of the sizes.
        leaves_one: Whether each group keeps a member back, as far as the members of others suffice.

    Returns:
        How many each group gets, int64 (G,); their sum is the number.
    """
    sizes = np.asarray(sizes, dtype=np.int64)
    total = int(sizes.sum())
    most = sizes - 1 if leaves_one and total - len(sizes) >= number else sizes
    least = np.minimum(1, most)
    least = least if least.sum() <= number else np.zeros_like(sizes)
    found: np.ndarray = np.clip(number * sizes // total, least, most)
    while (missing := number - int(found.sum())) != 0:
        step = 1 if missing > 0 else -1
        may = np.flatnonzero(found < most if step > 0 else found > least)
        # Those that are furthest from their share first; each once in a round.
        away = step * (number * sizes - found * total)[may]
        found[may[np.argsort(-away, kind="stable")[: abs(missing)]]] += step
    return found
