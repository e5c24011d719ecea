"""Fewer points for a picture: evenly spaced positions, and random ones around those that must stay."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np


def spread(positions: np.ndarray, limit: int) -> np.ndarray:
    """Some of the positions, evenly spaced, the first and the last among them.

    Args:
        positions: (A,) positions in order.
        limit: The largest number of positions to keep, at least 2.
    """
    if len(positions) <= limit:
        return positions
    return np.asarray(positions[np.linspace(0, len(positions) - 1, limit).round().astype(int)])


def sampled(required: Sequence[np.ndarray], total: int, limit: int) -> np.ndarray:
    """The required positions with others that are drawn at random, always the same ones, in order.

    Args:
        required: Arrays of positions that must stay, however many they are.
        total: Number of all positions; they count from 0.
        limit: How many positions are wanted in all.
    """
    chosen = np.zeros(total, bool)
    for positions in required:
        chosen[positions] = True
    rest = np.flatnonzero(~chosen)
    room = max(0, limit - int(chosen.sum()))
    chosen[np.random.default_rng(0).permutation(rest)[:room]] = True
    return np.flatnonzero(chosen)
