"""One Optuna study over the decisions of a search space, behind ask and tell."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

import numpy as np

from raynas.results import Candidate, Constraint, Evaluation, Objective
from raynas.searchers.base import Ledger, Unseen, oriented_values, relative_violations
from raynas.space import Architecture, SearchSpace

if TYPE_CHECKING:
    from optuna import Trial
    from optuna.distributions import BaseDistribution
    from optuna.samplers import BaseSampler


class OptunaStudy:
    """Every decision is a categorical parameter of its option numbers; those of absent layers are ignored.

    A proposal that was asked before, or that `admits` refuses, is replaced by one a few mutations away; the study then
    holds the replacement as if the sampler had proposed it.

    Args:
        space, objectives, constraints, admits: As for every searcher.
        rng: Source of replacements.
        sampler: Optuna's, with a seed of its own.
    """

    _max_tries = 50  # mutations of a proposal before one is drawn at random

    def __init__(
        self,
        space: SearchSpace,
        objectives: Sequence[Objective],
        constraints: Sequence[Constraint],
        admits: Callable[[Architecture], bool] | None,
        rng: np.random.Generator,
        sampler: BaseSampler,
    ) -> None:
        import optuna

        self._space = space
        self._objectives = objectives
        self._constraints = constraints
        self._rng = rng
        self._unseen = Unseen(space, rng, admits)
        self._ledger = Ledger()
        self._trials: dict[int, Trial] = {}
        self._distributions: dict[str, BaseDistribution] = {
            decision.name: optuna.distributions.CategoricalDistribution(range(len(decision.options)))
            for decision in space.decisions
        }
        with _quiet("optuna.storages._in_memory"):
            self._study = optuna.create_study(
                directions=["maximize" if objective.maximize else "minimize" for objective in objectives],
                sampler=sampler,
            )

    def ask(self, n: int) -> list[Candidate]:
        """Up to n candidates that were not asked before; fewer when none are left."""
        candidates: list[Candidate] = []
        while len(candidates) < n and (asked := self._next()) is not None:
            trial, architecture = asked
            candidates.append(self._ledger.asked(architecture))
            self._trials[candidates[-1].id] = trial
        return candidates

    def tell(self, evaluations: Sequence[Evaluation]) -> None:
        """Finish trials: complete with values, pruned where only a violation is known, else failed.

        Raises:
            ValueError: An id was never asked, or was told before.
        """
        from optuna.trial import TrialState

        self._ledger.told(evaluations)
        for evaluation in evaluations:
            trial = self._trials.pop(evaluation.id)
            amounts = relative_violations(self._constraints, evaluation)
            if oriented_values(self._objectives, evaluation) is not None:
                self._constrain(trial, amounts)
                self._study.tell(trial, [float(evaluation.scores[one.name]) for one in self._objectives])
            elif any(amounts.values()):
                self._constrain(trial, amounts)
                self._study.tell(trial, state=TrialState.PRUNED)
            else:
                self._study.tell(trial, state=TrialState.FAIL)

    def _next(self) -> tuple[Trial, Architecture] | None:
        from optuna.trial import TrialState

        if self._unseen.is_exhausted:
            return None
        trial = self._study.ask(self._distributions)
        proposal = self._decoded(trial)
        if self._unseen.claim(proposal):
            return trial, proposal
        if proposal in self._unseen:
            self._study.tell(trial, state=TrialState.FAIL)
        else:
            self._constrain(trial, {"admitted": 1.0})
            self._study.tell(trial, state=TrialState.PRUNED)  # so that TPE learns where not to go
        architecture = self._replacement(proposal)
        return None if architecture is None else (self._placed(architecture), architecture)

    def _replacement(self, proposal: Architecture) -> Architecture | None:
        near = proposal
        for _ in range(self._max_tries):
            near = self._space.mutate(near, self._rng)
            if self._unseen.claim(near):
                return near
            if near not in self._unseen:
                near = proposal  # a walk through what is not admitted leads nowhere
        return self._unseen.draw()

    def _placed(self, architecture: Architecture) -> Trial:
        """A trial with these parameters."""
        numbers = self._space.encode(architecture)
        names = self._distributions
        self._study.enqueue_trial({name: max(number, 0) for name, number in zip(names, numbers, strict=True)})
        trial = self._study.ask(names)
        # Given parameters leave the sampler out, but NSGA-II assigns the generation when it is asked for a proposal.
        _ = trial.relative_params
        return trial

    def _decoded(self, trial: Trial) -> Architecture:
        return self._space.decode([trial.params[name] for name in self._distributions])

    def _constrain(self, trial: Trial, amounts: dict[str, float]) -> None:
        for name, amount in amounts.items():
            trial.set_constraint(name, amount)


@contextmanager
def _quiet(name: str) -> Iterator[None]:
    """Keep one logger below warnings silent for a while."""
    logger = logging.getLogger(name)
    level = logger.level
    logger.setLevel(max(level, logging.WARNING))
    try:
        yield
    finally:
        logger.setLevel(level)
