"""One Optuna study over the decisions of a search space, behind ask and tell."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution
from optuna.samplers import BaseSampler
from optuna.trial import FrozenTrial, TrialState

from raynas.searchers.base import OpenCandidates, Unseen, oriented_values, relative_violations
from raynas.space.architecture import Architecture
from raynas.space.results import Candidate, Constraint, Evaluation, Objective
from raynas.space.search_space import SearchSpace


class OptunaStudy:
    """Every decision is a categorical parameter of its option numbers; those of absent layers are ignored.

    Args:
        space, objectives, constraints, admits: What every searcher takes; see `SearcherClass`.
        rng: Generator that draws a new architecture where the sampler gives one that was asked before.
        sampler: The sampler of Optuna that decides, with a seed of its own.
    """

    def __init__(
        self,
        space: SearchSpace,
        objectives: Sequence[Objective],
        constraints: Sequence[Constraint],
        admits: Callable[[Architecture], bool] | None,
        rng: np.random.Generator,
        sampler: BaseSampler,
    ) -> None:
        self._objectives = objectives
        self._constraints = constraints
        self._open_candidates = OpenCandidates()
        self._trials: dict[int, optuna.Trial] = {}
        self._sampler = _UnseenSampler(space, admits, rng, sampler)
        with _quiet("optuna.storages._in_memory"):
            self._study = optuna.create_study(
                directions=["maximize" if objective.maximize else "minimize" for objective in objectives],
                sampler=self._sampler,
            )

    def ask(self, n: int) -> list[Candidate]:
        """Up to n candidates that were not asked before; fewer when none are left."""
        candidates: list[Candidate] = []
        while len(candidates) < n and not self._sampler.is_exhausted:
            trial = self._study.ask(self._sampler.distributions)
            _ = trial.relative_params  # drawn when first looked at, which is now if there are no decisions
            if self._sampler.is_exhausted:
                self._study.tell(trial, state=TrialState.FAIL)
            else:
                candidates.append(self._open_candidates.request(self._sampler.architecture))
                self._trials[candidates[-1].id] = trial
        return candidates

    def tell(self, evaluations: Sequence[Evaluation]) -> None:
        """Finish trials: complete with values, pruned where only a violation is known, else failed.

        Raises:
            ValueError: An id was never asked, or was told before.
        """
        self._open_candidates.receive(evaluations)
        for evaluation in evaluations:
            trial = self._trials.pop(evaluation.id)
            amounts = relative_violations(self._constraints, evaluation)
            has_values = oriented_values(self._objectives, evaluation) is not None
            if has_values or any(amounts.values()):
                for name, amount in amounts.items():
                    trial.set_constraint(name, amount)
            if has_values:
                self._study.tell(trial, [float(evaluation.scores[one.name]) for one in self._objectives])
            else:
                self._study.tell(trial, state=TrialState.PRUNED if any(amounts.values()) else TrialState.FAIL)


class _UnseenSampler(BaseSampler):
    """Another sampler whose proposals are new and admitted.

    A proposal that was asked before, or that `admits` refuses, is replaced by one a few mutations away, or, where none
    is found, by a random one. The study holds the replacement as if the other sampler had proposed it.
    """

    _max_tries = 50

    def __init__(
        self,
        space: SearchSpace,
        admits: Callable[[Architecture], bool] | None,
        rng: np.random.Generator,
        sampler: BaseSampler,
    ) -> None:
        self.distributions: dict[str, BaseDistribution] = {
            decision.name: CategoricalDistribution(range(len(decision.options))) for decision in space.decisions
        }
        self.architecture: Architecture  # of the last trial
        self._space = space
        self._rng = rng
        self._unseen = Unseen(space, rng, admits)
        self._sampler = sampler

    @property
    def is_exhausted(self) -> bool:
        return self._unseen.is_exhausted

    def infer_relative_search_space(self, study: optuna.Study, trial: FrozenTrial) -> dict[str, BaseDistribution]:
        return self.distributions

    def sample_relative(
        self, study: optuna.Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        known = self._sampler.infer_relative_search_space(study, trial)
        params = self._sampler.sample_relative(study, trial, known)
        for name, distribution in search_space.items():
            if name not in params:
                params[name] = self._sampler.sample_independent(study, trial, name, distribution)
        proposal = self._space.decode([params[name] for name in search_space])
        self.architecture = self._unseen_near(proposal)
        # Numbers of absent layers stay as proposed.
        numbers = zip(search_space, self._space.encode(self.architecture), strict=True)
        return params | {name: number for name, number in numbers if number >= 0}

    def sample_independent(
        self, study: optuna.Study, trial: FrozenTrial, param_name: str, param_distribution: BaseDistribution
    ) -> Any:
        return self._sampler.sample_independent(study, trial, param_name, param_distribution)

    def before_trial(self, study: optuna.Study, trial: FrozenTrial) -> None:
        self._sampler.before_trial(study, trial)

    def after_trial(
        self, study: optuna.Study, trial: FrozenTrial, state: TrialState, values: Sequence[float] | None
    ) -> None:
        self._sampler.after_trial(study, trial, state, values)

    def _unseen_near(self, proposal: Architecture) -> Architecture:
        near = proposal
        for _ in range(self._max_tries):
            if self._unseen.claim(near):
                return near
            # A walk through what is not admitted leads nowhere.
            near = self._space.mutate(near if near in self._unseen else proposal, self._rng)
        return self._unseen.draw() or proposal


@contextmanager
def _quiet(name: str) -> Iterator[None]:
    """Keep one logger silent below warnings for a while."""
    logger = logging.getLogger(name)
    level = logger.level
    logger.setLevel(max(level, logging.WARNING))
    try:
        yield
    finally:
        logger.setLevel(level)
