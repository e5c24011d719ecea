"""Regularized evolution: tournament selection that removes the oldest (Real 2019, arXiv 1802.01548)."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from typing import ClassVar, NamedTuple

import numpy as np

from raynas.config import check_count
from raynas.searchers.base import (
    OpenCandidates,
    Unseen,
    check_number,
    oriented_values,
    relative_violations,
)
from raynas.searchers.registered import check_objectives, searchers
from raynas.space.architecture import Architecture
from raynas.space.results import Candidate, Constraint, Evaluation, Objective
from raynas.space.search_space import SearchSpace


class _Individual(NamedTuple):
    architecture: Architecture
    fitness: tuple[float, float]  # compared in this order: minus the violation of constraints, the objective


@searchers.register("regularized_evolution")
class RegularizedEvolution:
    """Mutates the best of a random sample of the population, which holds the results told last.

    Feasible results are fitter than infeasible ones, those are ordered by their total relative violation, and failed
    ones stay outside the population.

    Differences from the paper: results come in late, so an individual's age counts from when it was told; a child that
    was asked before is mutated again until it is new; crossover is possible.

    Args:
        space, objectives, constraints, seed, admits: What every searcher takes; see `SearcherClass`. There
            is one objective.
        population: Number of individuals that are kept, and of architectures drawn at random before the first mutation.
        sample_size: Number of individuals of a tournament, two at least, as nothing is learnt from tournaments of one.
        crossover_probability: Probability that a child has two parents, before its mutation.

    Raises:
        ConfigError: A setting is out of its range, or there are several objectives.
    """

    default_window = 64
    is_multi_objective = False
    advised_budget: ClassVar[int | None] = None

    _max_tries = 100  # children for one candidate before one is drawn at random

    def __init__(
        self,
        space: SearchSpace,
        objectives: tuple[Objective, ...],
        constraints: tuple[Constraint, ...] = (),
        *,
        seed: int = 0,
        admits: Callable[[Architecture], bool] | None = None,
        population: int = 100,
        sample_size: int = 25,
        crossover_probability: float = 0.0,
    ) -> None:
        check_objectives(objectives, several=False)
        check_count("population", population, 2)
        check_count("sample_size", sample_size, 2)  # the winner of one is anybody, and nothing is learnt
        check_number("crossover_probability", crossover_probability, 0.0, 1.0)
        self._space = space
        self._objectives = objectives
        self._constraints = constraints
        self.num_random = population
        self._sample_size = sample_size
        self._crossover_probability = crossover_probability
        self._rng = np.random.default_rng(seed)
        self._unseen = Unseen(space, self._rng, admits)
        self._open_candidates = OpenCandidates()
        self._population: deque[_Individual] = deque(maxlen=population)

    def ask(self, n: int) -> list[Candidate]:
        """Up to n candidates that were not asked before; fewer when none are left."""
        candidates: list[Candidate] = []
        while len(candidates) < n and (architecture := self._next()) is not None:
            candidates.append(self._open_candidates.request(architecture))
        return candidates

    def tell(self, evaluations: Sequence[Evaluation]) -> None:
        """Add results to the population, in the order given; the oldest leave it.

        Raises:
            ValueError: An id was never asked, or was told before.
        """
        self._open_candidates.receive(evaluations)
        for evaluation in evaluations:
            violation = sum(relative_violations(self._constraints, evaluation).values())
            values = oriented_values(self._objectives, evaluation)
            if values is not None or violation > 0:
                objective = -np.inf if values is None else values[0]
                self._population.append(_Individual(evaluation.architecture, (-violation, objective)))

    def _next(self) -> Architecture | None:
        if self._unseen.is_exhausted or self._open_candidates.num_asked < self.num_random or not self._population:
            return self._unseen.draw()
        child = self._child()
        for _ in range(self._max_tries):
            if self._unseen.claim(child):
                return child
            child = self._space.mutate(child, self._rng) if child in self._unseen else self._child()
        return self._unseen.draw()

    def _child(self) -> Architecture:
        parent = self._winner()
        if self._rng.random() < self._crossover_probability:
            parent = self._space.crossover(parent, self._winner(), self._rng)
        return self._space.mutate(parent, self._rng)

    def _winner(self) -> Architecture:
        size = min(self._sample_size, len(self._population))
        drawn = self._rng.choice(len(self._population), size=size, replace=False)
        return max((self._population[i] for i in drawn.tolist()), key=lambda one: one.fitness).architecture
