"""The evolutionary search of ViT-ResNAS within a band of cost (Liao 2021, arXiv 2109.00642)."""

from __future__ import annotations

import heapq
from collections import deque
from collections.abc import Callable, Sequence
from typing import ClassVar

import numpy as np

from raynas.config import check_count
from raynas.errors import ConfigError
from raynas.searchers.base import OpenCandidates, Unseen, check_number, oriented_values
from raynas.searchers.genes import BoundedDraws, Genes
from raynas.searchers.registered import check_objectives, searchers
from raynas.space.architecture import Architecture
from raynas.space.results import Candidate, Constraint, Evaluation, Objective
from raynas.space.search_space import SearchSpace


@searchers.register("evolution")
class Evolution:
    """Generations of mutants and children of the best of all so far, within a band of cost where there is one.

    The first generation is drawn at random (`raynas.searchers.genes.BoundedDraws`). Every later one has mutants, then
    children, whose parents are drawn uniformly from the best of the whole history: feasible results with a value; ties
    go to what was asked first. A mutant or child that constraints on costs do not admit, or that was asked before, is
    made again from the same parents. The defaults are the published numbers, of 20 generations and so of
    500 + 19 * 150 = 3350 evaluations; the run's budget says when the search ends.

    A generation begins when all results of the ones before are told. Until then fewer candidates than wanted are asked,
    so what is asked depends neither on how many are in flight nor on the order in which results come, and workers wait
    for the last results of a generation.

    Differences from the paper's code: genes of absent blocks do not exist, so equal networks are equal and none is
    asked twice; a child that was asked before in 100 tries, or is not new and admitted in 1000, becomes a mutant, and a
    mutant likewise a random draw. The rule that a removable block directly behind a removed one is removed too is left
    out: in the spaces of the paper no two such blocks follow each other, so it never acts.

    Args:
        space, objectives, constraints, seed, admits: What every searcher takes; see `SearcherClass`. There
            is one objective.
        population: Number of architectures drawn at random, the first generation.
        parents: How many of the best of the history have mutants and children.
        mutants, children: How many of them a later generation has.
        mutation_probability: Probability that a gene of a mutant is redrawn, or flipped if it is a block's existence.
        crossover_probability: Probability that a gene of a child is that of its second parent.

    Raises:
        ConfigError: A setting is out of its range, the probabilities leave nothing to learn with, or there are several
            objectives.
    """

    default_window = 150
    is_multi_objective = False
    advised_budget: ClassVar[int | None] = None

    _max_repeats = 100  # mutants or children of the same parents that were asked before
    _max_tries = 1000  # the same, with those that are not admitted
    _max_draws = 200  # random draws for one architecture, before they are uniform

    def __init__(
        self,
        space: SearchSpace,
        objectives: tuple[Objective, ...],
        constraints: tuple[Constraint, ...] = (),
        *,
        seed: int = 0,
        admits: Callable[[Architecture], bool] | None = None,
        population: int = 500,
        parents: int = 75,
        mutants: int = 75,
        children: int = 75,
        mutation_probability: float = 0.3,
        crossover_probability: float = 0.5,
    ) -> None:
        check_objectives(objectives, several=False)
        check_count("population", population, 1)
        check_count("parents", parents, 2)
        check_count("mutants", mutants, 0)
        check_count("children", children, 0)
        if not mutants + children:
            raise ConfigError("a generation needs mutants or children; there are 0 of both")
        check_number("mutation_probability", mutation_probability, 0.0, 1.0)
        check_number("crossover_probability", crossover_probability, 0.0, 1.0)
        if mutation_probability in (0, 1) and (not children or crossover_probability in (0, 1)):
            # Copies become mutants, mutants that are copies random draws, and a wholly mutated one is a random draw.
            raise ConfigError(
                f"mutation_probability is {mutation_probability:g}, and no child has genes of two parents: every "
                "architecture would be a random draw"
            )
        self._objectives = objectives
        self._num_parents = parents
        self._num_mutants, self._num_children = mutants, children
        self._mutation_probability = mutation_probability
        self._crossover_probability = crossover_probability
        self._rng = np.random.default_rng(seed)
        self._unseen = Unseen(space, self._rng, admits)
        self._genes = Genes(space)
        self._draws = BoundedDraws(space, admits)
        self._open_candidates = OpenCandidates()
        self._num_told = 0
        self._history: list[tuple[float, int, Architecture]] = []  # objective and minus the id: higher is better
        self._parents: list[Architecture] = []
        self.num_random = population
        self._generation: deque[Callable[[], Architecture | None]] = deque([self._random] * population)

    def ask(self, n: int) -> list[Candidate]:
        """Up to n candidates that were not asked before; fewer while a generation awaits results or none are left."""
        candidates: list[Candidate] = []
        while len(candidates) < n and (architecture := self._next()) is not None:
            candidates.append(self._open_candidates.request(architecture))
        return candidates

    def tell(self, evaluations: Sequence[Evaluation]) -> None:
        """Add results to the history.

        Raises:
            ValueError: An id was never asked, or was told before.
        """
        self._open_candidates.receive(evaluations)
        self._num_told += len(evaluations)
        for evaluation in evaluations:
            values = oriented_values(self._objectives, evaluation)
            if values is not None and evaluation.is_feasible:
                self._history.append((values[0], -evaluation.id, evaluation.architecture))

    def _next(self) -> Architecture | None:
        if self._unseen.is_exhausted:
            return None
        if not self._generation:
            if self._num_told < self._open_candidates.num_asked:
                return None
            best = heapq.nlargest(self._num_parents, self._history, key=lambda one: one[:2])
            self._parents = [architecture for _, _, architecture in best]
            self._generation.extend([self._mutant] * self._num_mutants + [self._child] * self._num_children)
        return self._generation.popleft()()

    def _random(self) -> Architecture | None:
        for _ in range(self._max_draws):
            architecture = self._draws.draw(self._rng)
            if architecture is not None and self._unseen.claim(architecture):
                return architecture
        return self._unseen.draw()

    def _mutant(self) -> Architecture | None:
        if not self._parents:
            return self._random()
        parent = self._parents[self._rng.integers(len(self._parents))]
        made = self._new(lambda: self._genes.mutated(parent, self._mutation_probability, self._rng))
        return made or self._random()

    def _child(self) -> Architecture | None:
        if len(self._parents) < 2:
            return self._mutant()
        first, second = (self._parents[i] for i in self._rng.choice(len(self._parents), size=2, replace=False))
        made = self._new(lambda: self._genes.crossed(first, second, self._crossover_probability, self._rng))
        return made or self._mutant()

    def _new(self, make: Callable[[], Architecture]) -> Architecture | None:
        """What is made until it is admitted and was not asked before; None if that takes too many tries."""
        repeats = 0
        for _ in range(self._max_tries):
            architecture = make()
            if self._unseen.claim(architecture):
                return architecture
            repeats += architecture in self._unseen
            if repeats == self._max_repeats:
                break
        return None
