"""Fewer points for a picture: evenly spaced positions, and random ones around those that must stay."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np


def spread(positions: np.ndarray, limit: int) -> np.ndarray:
    """At most `limit` of the positions, evenly, the first and the last among them."""
    if len(positions) <= limit:
        return positions
    return np.asarray(positions[np.linspace(0, len(positions) - 1, limit).round().astype(int)])


def sampled(required: Sequence[np.ndarray], total: int, limit: int) -> np.ndarray:
    """Positions below `total`, in order: the required ones, filled up to the limit by a fixed random draw."""
    chosen = np.zeros(total, bool)
    for positions in required:
        chosen[positions] = True
    rest = np.flatnonzero(~chosen)
    room = max(0, limit - int(chosen.sum()))
    chosen[np.random.default_rng(0).permutation(rest)[:room]] = True
    return np.flatnonzero(chosen)
