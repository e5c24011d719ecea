"""Moments at which tests kill processes."""

from __future__ import annotations

import random


def random_moments(kills: int, *, most: int, seed: int = 0) -> tuple[int, ...]:
    """Moments at which to kill what is resumed each time, in order.

    Args:
        kills: How many.
        most: The last moment that may be drawn, in what a test counts, such as scores or epochs.
        seed: Of the draw.
    """
    return tuple(sorted(random.Random(seed).sample(range(1, most + 1), kills)))
