"""How far a node's clock is from the one here."""

from __future__ import annotations

from collections.abc import Callable
from time import time
from typing import NamedTuple


class ClockDifference(NamedTuple):
    """How far a clock is ahead of the one here, which is known up to half of the time that asking took."""

    seconds: float
    uncertainty_s: float


def clock_difference(ask: Callable[[], float], clock: Callable[[], float] = time, *, tries: int = 5) -> ClockDifference:
    """Ask a clock some times, and believe the quickest answer.

    The answer was given at some moment between question and arrival; it is taken for the middle.

    Args:
        ask: What the other clock says, in seconds.
        clock: The clock here, in seconds since the same moment.
        tries: How often it is asked; at least 1.
    """
    found = []
    for _ in range(tries):
        sent = clock()
        theirs = ask()
        half = (clock() - sent) / 2
        found.append(ClockDifference(theirs - (sent + half), half))
    return min(found, key=lambda one: one.uncertainty_s)
