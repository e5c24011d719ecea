"""Random search without replacement (Bergstra and Bengio 2012, JMLR 13): the baseline of all others.

With several objectives it ends with a choice, as training-free searches by two scores do (TVT, arXiv 2311.14337): the
candidate with the largest weighted sum of the objectives, each normalised over all candidates.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import ClassVar

import numpy as np

from raynas.errors import ConfigError
from raynas.searchers.base import OpenCandidates, Unseen, check_number, oriented_values
from raynas.searchers.registered import searchers
from raynas.space.architecture import Architecture
from raynas.space.results import Candidate, Constraint, Evaluation, Objective
from raynas.space.search_space import SearchSpace
from raynas.stats.combination import METHODS


@searchers.register("random")
class RandomSearch:
    """Draws every decision uniformly and never asks an architecture twice; learns nothing, so needs no objective.

    Args:
        space, objectives, constraints, seed, admits: What every searcher takes; see `SearcherClass`.
        combine: Name of the way in which several objectives become one for the final choice: "min_max", "rank_sum" or
            "log_rank", see `raynas.stats.combination`.
        weights: What the objectives are multiplied by there, in their order; none: all by 1.
    """

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
        combine: str = "min_max",
        weights: tuple[float, ...] = (),
    ) -> None:
        if combine not in METHODS:
            raise ConfigError(f"combine is {combine!r}; it is one of {', '.join(METHODS)}")
        for weight in weights:
            check_number("weights", weight, 0.0, math.inf)
        if weights and (len(weights) != len(objectives) or not any(weights)):
            raise ConfigError(f"weights are {len(objectives)} numbers, one for each objective, not all 0: {weights!r}")
        self._open_candidates = OpenCandidates()
        self._unseen = Unseen(space, np.random.default_rng(seed), admits)
        self._objectives = objectives
        self._combine = combine
        self._weights = weights
        self._pool: list[tuple[int, Architecture, list[float]]] = []

    def ask(self, n: int) -> list[Candidate]:
        """Up to n candidates that were not asked before; fewer when none are left."""
        candidates: list[Candidate] = []
        while len(candidates) < n and (architecture := self._unseen.draw()) is not None:
            candidates.append(self._open_candidates.request(architecture))
        return candidates

    def tell(self, evaluations: Sequence[Evaluation]) -> None:
        """Check the ids; of several objectives, keep the values for the choice.

        Raises:
            ValueError: An id was never asked, or was told before.
        """
        self._open_candidates.receive(evaluations)
        if len(self._objectives) < 2:
            return
        for evaluation in evaluations:
            values = oriented_values(self._objectives, evaluation)
            if values is not None and evaluation.is_feasible:
                self._pool.append((evaluation.id, evaluation.architecture, values))

    @property
    def reason(self) -> str:
        """What the recommendation is."""
        names = " and ".join(objective.name for objective in self._objectives)
        scale = "scaled to the range" if self._combine == "min_max" else "ranked"
        weights = f", with the weights {', '.join(f'{weight:g}' for weight in self._weights)}" if self._weights else ""
        return f"the candidate with the largest sum of {names}, each {scale} over all candidates{weights}"

    def recommendation(self) -> Architecture | None:
        """The candidate with the best combination of the objectives; None unless there are several with values."""
        if not self._pool:
            return None
        pool = sorted(self._pool, key=lambda entry: entry[0])
        columns = list(np.array([values for *_, values in pool]).T)
        best = int(np.argmax(METHODS[self._combine](columns, [True] * len(columns), self._weights or None)))
        return pool[best][1]
