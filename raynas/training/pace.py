"""How long steps take, for an estimate of the time left."""

from __future__ import annotations

import math

import numpy as np


class Pace:
    """Seconds of the steps of this session, by the multiply-adds of an image."""

    def __init__(self) -> None:
        self._known: dict[int, tuple[int, float]] = {}  # steps that count, their seconds

    def add(self, macs: int, seconds: float) -> None:
        """A step was done; the first of its kind, which sets much up, counts until there is another."""
        steps, total = self._known.get(macs, (-1, 0.0))
        self._known[macs] = (steps + 1, total + seconds if steps > 0 else seconds)

    def step_s(self, macs: int) -> float:
        """Seconds that a step of so many multiply-adds takes, as measured; else estimated; NaN before the first.

        From several kinds of steps by a straight line; from one, as if half of its time were for what does not grow.
        """
        means = {kind: seconds / max(1, steps) for kind, (steps, seconds) in self._known.items()}
        if not means:
            return math.nan
        if macs in means:
            return means[macs]
        if len(means) == 1:
            ((other, seconds),) = means.items()
            return seconds * (0.5 + 0.5 * macs / other)
        slope, start = np.polyfit(list(means), list(means.values()), 1)
        return max(min(means.values()) / 2, float(start + slope * macs))
