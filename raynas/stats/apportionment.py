"""A number of seats shared out among groups by their sizes."""

from __future__ import annotations

import numpy as np


def apportioned(sizes: np.ndarray, number: int, *, leaves_one: bool = False) -> np.ndarray:
    """How many of a number each group gets, in proportion to its size, by largest remainders (Hamilton's method).

    Each group gets one at least, where the number suffices, and none more than it has. Where remainders are equal, the
    earlier group is served first.

    Args:
        sizes: (G,) how many members each group has, at least 1.
        number: How many are shared out, from 0 to the sum of the sizes.
        leaves_one: Whether each group keeps a member back, as far as the members of others suffice.

    Returns:
        How many each group gets, int64 (G,); their sum is the number.
    """
    sizes = np.asarray(sizes, dtype=np.int64)
    caps = np.maximum(sizes - 1, 0) if leaves_one else sizes
    if caps.sum() < number:
        caps = sizes
    least = np.minimum(1, caps) if np.minimum(1, caps).sum() <= number else np.zeros_like(sizes)
    found: np.ndarray
    ideal = number * sizes / sizes.sum()
    found = np.clip(np.floor(ideal).astype(np.int64), least, caps)
    while (missing := number - int(found.sum())) != 0:
        step = 1 if missing > 0 else -1
        may = found < caps if step > 0 else found > least
        # Those that lack most of their ideal first; each once in a round.
        order = np.argsort(-step * (ideal - found)[may], kind="stable")
        found[np.flatnonzero(may)[order[: abs(missing)]]] += step
    return found
