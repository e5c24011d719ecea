"""Synchronous successive halving: after how many epochs finalists are compared, and who goes on."""

from __future__ import annotations

from collections.abc import Mapping


def rungs(grace: int, reduction: int, epochs: int) -> list[int]:
    """Epochs after which finalists are compared, in order: grace, grace * reduction, ..., all before the last epoch.

    Args:
        grace: Epochs that every finalist gets.
        reduction: One in so many goes on.
        epochs: Epochs of a whole training.
    """
    found = []
    while grace < epochs:
        found.append(grace)
        grace *= reduction
    return found


def promoted(top1: Mapping[str, float | None], reduction: int) -> list[str]:
    """Who goes on from a rung, which depends on nothing but the accuracies there.

    Args:
        top1: The accuracy of each finalist that is at the rung, in the order of the search's ranking, which decides
            between equal ones; None for one that failed before it came there, which counts and does not go on.
        reduction: One in so many goes on, rounded down, and at least one.

    Returns:
        Their names, in the order of the search's ranking.
    """
    known = {name: value for name, value in top1.items() if value is not None}
    places = max(1, len(top1) // reduction)
    best = sorted(known, key=lambda name: -known[name])[:places]  # the sort is stable
    return [name for name in known if name in best]
