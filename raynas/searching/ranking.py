"""The best architectures so far: a short list for one objective, the Pareto front for several."""

from __future__ import annotations

from bisect import insort
from collections.abc import Sequence

from raynas.space.results import Evaluation, Objective

_SHOWN = 10


class Ranking:
    """Takes evaluations one at a time and keeps the best feasible ones, each architecture once.

    Args:
        objectives: What is optimised. One objective: the ten best are kept, ties in the order of asking. Several: all
            evaluations that no other dominates. None: nothing is kept.
    """

    def __init__(self, objectives: Sequence[Objective]) -> None:
        self.objectives = tuple(objectives)
        self._best: list[tuple[tuple[float, ...], int, Evaluation]] = []

    def add(self, evaluation: Evaluation) -> bool:
        """Consider an evaluation; whether it is now the best one, or on the front."""
        if not evaluation.is_feasible or not self.objectives:
            return False
        losses = tuple(-objective.oriented(evaluation.scores) for objective in self.objectives)
        entry = (losses, evaluation.id, evaluation)
        if len(losses) == 1:
            if len(self._best) == _SHOWN and losses >= self._best[-1][0]:
                return False
            if any(evaluation.architecture == other.architecture for *_, other in self._best):
                return False
            insort(self._best, entry, key=lambda kept: kept[:2])
            del self._best[_SHOWN:]
            return self._best[0] is entry
        if any(_dominates_or_equals(kept, losses) for kept, *_ in self._best):
            return False
        self._best = [kept for kept in self._best if not _dominates_or_equals(losses, kept[0])]
        insort(self._best, entry, key=lambda kept: kept[:2])
        return True

    def best(self) -> list[Evaluation]:
        """Best first; a front in the order of its first objective."""
        return [evaluation for *_, evaluation in self._best]


def _dominates_or_equals(first: tuple[float, ...], second: tuple[float, ...]) -> bool:
    return all(a <= b for a, b in zip(first, second, strict=True))
