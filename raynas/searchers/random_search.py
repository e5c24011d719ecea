"""Random search without replacement (Bergstra and Bengio 2012, JMLR 13): the baseline of all others."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import ClassVar

import numpy as np

from raynas.registry import searchers
from raynas.results import Candidate, Constraint, Evaluation, Objective
from raynas.searchers.base import Ledger, Unseen
from raynas.space import Architecture, SearchSpace


@searchers.register("random")
class RandomSearch:
    """Draws every decision uniformly and never asks an architecture twice; learns nothing, so needs no objective."""

    default_window = 64
    is_multi_objective = True
    advised_budget: ClassVar[int | None] = None

    def __init__(
        self,
        space: SearchSpace,
        objectives: tuple[Objective, ...],
        constraints: tuple[Constraint, ...] = (),
        *,
        seed: int = 0,
        admits: Callable[[Architecture], bool] | None = None,
    ) -> None:
        self._ledger = Ledger()
        self._unseen = Unseen(space, np.random.default_rng(seed), admits)

    def ask(self, n: int) -> list[Candidate]:
        """Up to n candidates that were not asked before; fewer when none are left."""
        candidates: list[Candidate] = []
        while len(candidates) < n and (architecture := self._unseen.draw()) is not None:
            candidates.append(self._ledger.asked(architecture))
        return candidates

    def tell(self, evaluations: Sequence[Evaluation]) -> None:
        """Check the ids.

        Raises:
            ValueError: An id was never asked, or was told before.
        """
        self._ledger.told(evaluations)
