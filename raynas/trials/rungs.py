"""Synchronous successive halving: after how many epochs trainings are compared, and who goes on."""

from __future__ import annotations

from collections.abc import Mapping


def rungs(grace: int, reduction: int, epochs: int) -> list[int]:
    """Epochs after which trainings are compared, in order: grace, grace * reduction, ..., all before the last epoch.

    Args:
        grace: Epochs that every training gets.
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
        top1: The accuracy of each training that is at the rung, in the order of their ranking before, which decides
            between equal ones; None for one that failed before it came there, which counts and does not go on.
        reduction: One in so many goes on, rounded down, and at least one.

    Returns:
        Their names, in the order of their ranking before.
    """
    known = {name: value for name, value in top1.items() if value is not None}
    places = max(1, len(top1) // reduction)
    best = sorted(known, key=lambda name: -known[name])[:places]  # the sort is stable
    return [name for name in known if name in best]
