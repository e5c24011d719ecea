"""Tree-structured Parzen estimator (Bergstra 2011, NeurIPS 24), by Optuna."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import ClassVar

import numpy as np

from raynas.config import check_count
from raynas.searchers.registered import check_objectives, searchers
from raynas.space.architecture import Architecture
from raynas.space.results import Candidate, Constraint, Evaluation, Objective
from raynas.space.search_space import SearchSpace


@searchers.register("tpe")
class TPE:
    """Models the decisions of good and of other results, and asks what is likeliest among the good ones.

    With several objectives, good is what no other result dominates (Ozaki 2022, doi 10.1613/jair.1.13188), and each
    decision is modelled by itself; with one they are modelled jointly. Infeasible results count as good only while
    feasible ones are too few. Candidates whose results are awaited count as not good, so that others are asked.

    Args:
        space, objectives, constraints, seed, admits: What every searcher takes; see `SearcherClass`.
        num_random: Number of architectures that are drawn at random before the first model.
        num_proposals: Number of draws from the model of good results, of which the likeliest is asked.

    Raises:
        ConfigError: A setting is out of its range.
    """

    default_window = 16  # its budgets are small, and results lag by the window
    is_multi_objective = True
    advised_budget: ClassVar[int | None] = 1_000  # more than 10 ms per candidate by then

    def __init__(
        self,
        space: SearchSpace,
        objectives: tuple[Objective, ...],
        constraints: tuple[Constraint, ...] = (),
        *,
        seed: int = 0,
        admits: Callable[[Architecture], bool] | None = None,
        num_random: int = 10,
        num_proposals: int = 24,
    ) -> None:
        # Here, so that what only lists the searchers need not wait for Optuna.
        from optuna.samplers import TPESampler

        from raynas.searchers.optuna_study import OptunaStudy

        check_objectives(objectives, several=True)
        check_count("num_random", num_random, 1)
        check_count("num_proposals", num_proposals, 1)
        self.num_random = num_random
        rng = np.random.default_rng(seed)
        sampler = TPESampler(n_startup_trials=num_random, n_ei_candidates=num_proposals, seed=int(rng.integers(2**32)))
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
