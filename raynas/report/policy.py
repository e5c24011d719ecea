"""How a searcher's policy moved: the search is done again with the stored scores in place of workers.

A search is a function of its configuration and its results, so a fresh searcher that is told what was stored, in the
order of asking, goes through the states of the one that ran.
"""

from __future__ import annotations

import json
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from raynas.errors import RaynasError, StoreError
from raynas.hooks import is_offered_by
from raynas.searchers.admission import admission
from raynas.searchers.base import own_settings
from raynas.searchers.protocols import ShowsProbabilities
from raynas.searchers.registered import searchers
from raynas.space.architecture import Architecture
from raynas.space.cost import COSTS
from raynas.space.results import Candidate, Constraint, Evaluation, Objective, Status, evaluated
from raynas.space.search_space import SearchSpace
from raynas.storage.latencies import PREDICTED, read_predictor
from raynas.storage.points import MISSING, Points

MAX_SNAPSHOTS = 200
MAX_REPLAYED = 20_000
"""Evaluations that are told again; a policy has settled long before."""


@dataclass
class PolicyTrace:
    """Probabilities over time.

    Args:
        told: Evaluations told at each snapshot.
        probabilities: Arrays (options,), one for each snapshot, by the names of the decisions.
        note: Why the trace ends before the run did; empty if it does not.
    """

    told: list[int] = field(default_factory=list)
    probabilities: dict[str, list[np.ndarray]] = field(default_factory=dict)
    note: str = ""

    def add(self, told: int, probabilities: Mapping[str, np.ndarray]) -> None:
        """Take a snapshot."""
        self.told.append(told)
        for name, row in probabilities.items():
            self.probabilities.setdefault(name, []).append(row)

    def thin_out(self) -> None:
        """Drop every other snapshot."""
        del self.told[1::2]
        for rows in self.probabilities.values():
            del rows[1::2]


class StoredScores:
    """Evaluations of a run folder, by architecture.

    Args:
        points: The run's architectures with their scores.
        objectives, constraints: What the run searched for, and within which bounds.
    """

    def __init__(self, points: Points, objectives: Sequence[Objective], constraints: Sequence[Constraint]) -> None:
        self._points = points
        self._constraints = tuple(constraints)
        self._needed = [objective.name for objective in objectives] + [constraint.name for constraint in constraints]
        self._numbers = {key: number for number, key in enumerate(points.keys)}
        self._errors = {(failure.point, failure.score): failure.error for failure in points.failures}

    def candidate(self, architecture: Architecture) -> int | None:
        """The number under which an architecture was asked first, -1 if by no searcher; None if it is not stored."""
        number = self._numbers.get(architecture.key)
        return None if number is None else int(self._points.candidates[number])

    def answer(self, candidate: Candidate) -> Evaluation | None:
        """What the searcher was told of a candidate; None if its scores are not in the store."""
        number = self._numbers.get(candidate.architecture.key)
        if number is None:
            return None
        points = self._points
        values = {name: float(column[number]) for name, column in points.values.items()}
        scores = {name: value for name, value in values.items() if value == value}
        failures = {}
        for name in self._needed:
            status = points.statuses[name][number]
            if status != MISSING and points.status_names[status] != Status.OK:
                failures[name] = (Status(points.status_names[status]), self._errors.get((number, name)))
        evaluation = evaluated(candidate, scores, failures, self._needed, self._constraints)
        is_scored = all(points.statuses[name][number] != MISSING for name in self._needed)
        is_refused = any(
            constraint.name in {*COSTS, PREDICTED}
            and (str(constraint) in evaluation.violations or constraint.name in failures)
            for constraint in self._constraints
        )
        return evaluation if is_scored or is_refused else None


def policy_trace(
    space: SearchSpace,
    identity: Mapping[str, Any],
    stored: StoredScores,
    objectives: Sequence[Objective],
    constraints: Sequence[Constraint],
    told_by_run: int | None,
    latency: str | None = None,
) -> PolicyTrace | None:
    """Tell a fresh searcher what is stored and watch its probabilities.

    Args:
        space: The space that was searched.
        identity: The entry `identity` of run.yaml.
        stored: The scores that the run has stored.
        objectives, constraints: What the run searched for, and within which bounds.
        told_by_run: Evaluations that the run's searcher was told; None if that is not known.
        latency: The folder that the run predicted latencies from, as it was named; None: it predicted none.

    Returns:
        None for a searcher that has no probabilities.
    """
    name = identity.get("searcher")
    if not name or name not in searchers or not is_offered_by(searchers.get(name), ShowsProbabilities):
        return None
    if any(constraint.name == PREDICTED for constraint in constraints):
        try:
            space = _with_predictor(space, identity, latency)
        except RaynasError as error:
            return PolicyTrace(
                note="Not shown: which architectures the bound on the predicted latency admits follows from the "
                f"measurements that the run predicted from, and they are not there ({error})."
            )
    try:
        searcher: Any = searchers.get(name)(
            space,
            tuple(objectives),
            tuple(constraints),
            seed=identity["seed"],
            admits=admission(space, constraints, img_size=identity["img_size"], num_classes=identity["num_classes"]),
            **identity.get("searcher_settings", {}),
        )
    except (RaynasError, TypeError) as error:
        return PolicyTrace(note=f"Not shown: the searcher of this version does not take the run's settings ({error}).")
    return _replayed(searcher, stored, int(identity["window"]), told_by_run)


def _with_predictor(space: SearchSpace, identity: Mapping[str, Any], latency: str | None) -> SearchSpace:
    """The space with the predicted latency as a cost, as the run had it.

    Raises:
        RaynasError: The folder of measurements is gone, or holds others than the run predicted from.
    """
    if latency is None:
        raise StoreError("run.yaml names no folder of measurements")
    size = {"img_size": int(identity["img_size"]), "num_classes": int(identity["num_classes"])}
    predictor = read_predictor(latency, space, **size)
    known = json.loads(identity["scores"][PREDICTED]["settings"])["measurements"]
    if predictor.measurements_hash != known:
        raise StoreError(f"{latency} holds other measurements by now")
    return replace(space, more_costs={PREDICTED: predictor})


def _replayed(searcher: Any, stored: StoredScores, window: int, told_by_run: int | None) -> PolicyTrace:
    limit = MAX_REPLAYED if told_by_run is None else min(told_by_run, MAX_REPLAYED)
    trace = PolicyTrace()
    trace.add(0, searcher.probabilities())
    waiting: deque[Candidate] = deque()
    told, step = 0, 1
    while told < limit:
        # As raynas.searching.run asks; a budget would only cut off candidates that are not told here.
        waiting.extend(searcher.ask(window - len(waiting)))
        if not waiting:
            break
        candidate = waiting.popleft()
        first = stored.candidate(candidate.architecture)
        evaluation = stored.answer(candidate)
        if first is not None and first > candidate.id:
            trace.note = (
                f"Only up to evaluation {told:,}: there, the searcher of this version asks for another architecture "
                "than the run did."
            )
            break
        if evaluation is None:
            if told_by_run is not None:
                trace.note = f"Only up to evaluation {told:,}: what the searcher asks for next is not in the store."
            break
        searcher.tell([evaluation])
        told += 1
        if told % step == 0:
            trace.add(told, searcher.probabilities())
            if len(trace.told) > MAX_SNAPSHOTS:
                trace.thin_out()
                step *= 2
    if trace.told[-1] != told:
        if len(trace.told) == MAX_SNAPSHOTS:
            trace.thin_out()
        trace.add(told, searcher.probabilities())
    if not trace.note and told_by_run is not None and told < told_by_run:
        trace.note = f"The first {told:,} of {told_by_run:,} evaluations."
    return trace


def searcher_settings(name: str | None, given: Mapping[str, Any]) -> dict[str, Any]:
    """All settings of a searcher, those given before its defaults; those given where it is not registered."""
    if not name or name not in searchers:
        return dict(given)
    return {**own_settings(searchers.get(name)), **given}
