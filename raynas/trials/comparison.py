"""The best of a search, trained, beside the uniform network of its cost, trained alike."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any


def verdict(trials: Sequence[Mapping[str, Any]]) -> str | None:
    """The best finalist beside the uniform network, in words; None unless both were trained to the end.

    Args:
        trials: The trainings of a summary, the most accurate first.
    """
    ended = [trial for trial in trials if trial["status"] == "completed"]
    best = next((trial for trial in ended if not trial["is_compared"]), None)
    uniform = next((trial for trial in ended if trial["is_compared"]), None)
    if best is None or uniform is None:
        return None
    top1, other = best["top1"], uniform["top1"]
    relation = "as accurate as" if top1 == other else "more accurate than" if top1 > other else "less accurate than"
    return (
        f"trained alike, the best finalist is {relation} the uniform network of nearly equal multiply-adds "
        f"({top1:.2%} against {other:.2%})"
    )
