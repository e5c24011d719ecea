"""NSGA-II for several objectives (Deb 2002, doi 10.1109/4235.996017), by Optuna."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import ClassVar

import numpy as np

from raynas.config import check_count
from raynas.errors import ConfigError
from raynas.searchers.base import check_number
from raynas.searchers.registered import check_objectives, searchers
from raynas.space.architecture import Architecture
from raynas.space.results import Candidate, Constraint, Evaluation, Objective
from raynas.space.search_space import SearchSpace


@searchers.register("nsga2")
class NSGA2:
    """Elitist selection by non-domination and crowding, uniform crossover, mutation of single decisions.

    A generation is complete when as many candidates of it have values; those asked in the meantime belong to it too.
    Constraints come first: a feasible result dominates an infeasible one, and among these the one with the smaller
    total relative violation does. Failed results are left out.

    Args:
        space, objectives, constraints, seed, admits: What every searcher takes; see `SearcherClass`.
        population: Number of individuals of a generation.
        crossover_probability: Probability that a child has two parents.
        mutation_probability: Probability that a decision of a child is drawn anew; None: one in the number of
            decisions.

    Raises:
        ConfigError: A setting is out of its range, or both probabilities are 0, which makes children copies.
    """

    default_window = 64
    is_multi_objective = True
    advised_budget: ClassVar[int | None] = 10_000  # 4 ms per candidate by then

    def __init__(
        self,
        space: SearchSpace,
        objectives: tuple[Objective, ...],
        constraints: tuple[Constraint, ...] = (),
        *,
        seed: int = 0,
        admits: Callable[[Architecture], bool] | None = None,
        population: int = 50,
        crossover_probability: float = 0.9,
        mutation_probability: float | None = None,
    ) -> None:
        # Here, so that what only lists the searchers need not wait for Optuna.
        from optuna.samplers import NSGAIISampler

        from raynas.searchers.optuna_study import OptunaStudy

        check_objectives(objectives, several=True)
        check_count("population", population, 2)
        check_number("crossover_probability", crossover_probability, 0.0, 1.0)
        if mutation_probability is not None:
            # At 1 nothing of a parent is left.
            check_number("mutation_probability", mutation_probability, 0.0, 0.999)
            if mutation_probability == 0 and crossover_probability == 0:
                raise ConfigError("mutation_probability and crossover_probability are both 0: children would be copies")
        self.num_random = population
        rng = np.random.default_rng(seed)
        sampler = NSGAIISampler(
            population_size=population,
            crossover_prob=crossover_probability,
            mutation_prob=mutation_probability,
            seed=int(rng.integers(2**32)),
        )
        self._study = OptunaStudy(space, objectives, constraints, admits, rng, sampler)

    def ask(self, n: int) -> list[Candidate]:
        """Up to n candidates that were not asked before; fewer when none are left."""
        return self._study.ask(n)

    def tell(self, evaluations: Sequence[Evaluation]) -> None:
        """Take in results.

        Raises:
            ValueError: An id was never asked, or was told before.
        """
        self._study.tell(evaluations)
