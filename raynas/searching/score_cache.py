"""Which scores are known, which are being computed, and which are on disk."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import pyarrow as pa
import pyarrow.compute as pc

from raynas.errors import StoreError
from raynas.scoring.pool import EvaluatorPool, Job, Result
from raynas.searching.plan import Plan
from raynas.space.architecture import Architecture
from raynas.space.cost import costs_of
from raynas.space.results import Candidate, Evaluation, Outcome, Platform, Status, evaluated
from raynas.storage.result_store import REUSABLE, ResultStore, rows_of

UNASKED = -1
"""Candidate number of an architecture that the searcher did not ask for."""


class _Failure(NamedTuple):
    """What is remembered of a score without a value."""

    status: Status
    error: str | None


class _Entry:
    """What is known of one architecture; a value for each score, None while it is missing."""

    __slots__ = ("candidate", "is_asked", "seconds", "values")

    def __init__(self, candidate: int, num_scores: int) -> None:
        self.candidate = candidate  # that asked for it first
        self.is_asked = False  # in this session
        self.seconds = 0.0
        self.values: list[float | _Failure | None] = [None] * num_scores


class ScoreCache:
    """Answers candidates from what is known, has the rest computed, and sees to it that answers are on disk first.

    Args:
        plan: The plan of the run, which says what is scored.
        store: The store of the run, whose rows are known from the start.
    """

    def __init__(self, plan: Plan, store: ResultStore) -> None:
        self._plan = plan
        self._store = store
        self._numbers = {score.name: i for i, score in enumerate(plan.scores)}
        self._outputs = [
            [i for i, score in enumerate(plan.scores) if score.group == number]
            for number in sorted({score.group for score in plan.scores if score.group is not None})
        ]
        self._costs = [i for i, score in enumerate(plan.scores) if score.group is None]
        self._needed = [objective.name for objective in plan.objectives]
        self._needed += [constraint.name for constraint in plan.constraints]
        if not plan.objectives:
            self._needed = list(self._numbers)  # whoever only scores wants all of it that there can be
        bounded = {constraint.name for constraint in plan.constraints}
        self._optional = set() if plan.objectives else self._numbers.keys() - bounded  # these need not apply
        costs = costs_of(plan.space)
        self._bounded_costs = [(self._numbers[bound.name], bound) for bound in plan.constraints if bound.name in costs]
        self._entries: dict[str, _Entry] = {}
        self._stored_ids: dict[int, str] = {}
        self._in_memory: set[str] = set()  # architectures with rows that are not on disk
        self._jobs: dict[str, Job] = {}
        self._reused: dict[str, dict[int, Outcome]] = {}
        self.num_reused = 0
        self._load(store.take_loaded())
        self.num_stored = 1 + max(self._stored_ids, default=-1)  # candidates that the stored run asked for

    def compute_with(self, platform: Platform) -> None:
        """Say what scores are computed with, which is part of their keys."""
        self._store.platforms = tuple(score.platform(platform) for score in self._plan.scores)

    def reuse(self, table: pa.Table) -> int:
        """Take rows of another run from now on, where they are asked for.

        Rows with the same key are taken whose status does not depend on the machine.

        Returns:
            How many scores are not taken because they were computed with another platform.
        """
        reusable = table.filter(pc.is_in(table["status"].cast(pa.string()), pa.array([str(one) for one in REUSABLE])))
        num_elsewhere = 0
        for i, score in enumerate(self._plan.scores):
            if score.group is None:
                continue  # computing a cost is cheaper than looking it up
            same = rows_of(reusable, score.identity)
            rows = rows_of(same, self._store.platforms[i])
            num_elsewhere += len(same) - len(rows)
            names = ("architecture_key", "value", "status", "error", "seconds", "build_seconds")
            for key, *outcome in zip(*(rows[name].to_pylist() for name in names), strict=True):
                self._reused.setdefault(key, {})[i] = Outcome(*outcome)
        return num_elsewhere

    def request(self, candidate: Candidate, pool: EvaluatorPool) -> None:
        """See to it that the candidate can be answered: from what is known, or by a job for the pool.

        Raises:
            StoreError: The stored run asked for another architecture at this number.
        """
        architecture, key = candidate.architecture, candidate.architecture.key
        entry = self._entries.get(key)
        self._check_same_candidate(candidate, entry)
        if entry is None:
            entry = self._entries[key] = _Entry(candidate.id, len(self._numbers))
        if entry.is_asked:
            return
        entry.is_asked = True
        self._add_costs(architecture, entry)
        self._add_reused(architecture, entry)
        if self._is_refused(entry):
            return
        job = self._job(architecture, entry)
        if job is not None:
            self._jobs[key] = job
            pool.submit(job)

    def receive(self, results: Sequence[Result]) -> None:
        """Take in what the pool has finished."""
        for job, outcomes in results:
            key = job.architecture.key
            del self._jobs[key]
            entry = self._entries[key]
            found = zip(self._numbers_of(job), outcomes, strict=True)
            # A group is computed as a whole, also where some of it was taken from another run.
            new = {i: outcome for i, outcome in found if outcome is not None and entry.values[i] is None}
            self._add(job.architecture, entry, new)

    def answer(self, candidate: Candidate) -> Evaluation | None:
        """The candidate's evaluation, on disk by then; None while it is being computed, or may wait for others.

        It may where each write takes its time, as in an object store, and enough is under way to keep workers busy.

        Raises:
            StoreError: The results cannot be written.
        """
        key = candidate.architecture.key
        if key in self._jobs:
            return None
        if key in self._in_memory:
            if self._store.was_flushed_just_now and len(self._jobs) > 2 * len(self._in_memory):
                return None
            self.flush()
        return self._evaluation(candidate, self._entries[key])

    def missing(self, architecture: Architecture) -> Job | None:
        """What would have to be computed for an architecture that is not asked; None if all is known."""
        entry = self._entries.get(architecture.key, _Entry(UNASKED, len(self._numbers)))
        return self._job(architecture, entry)

    def evaluation_aside(self, architecture: Architecture, outcomes: Sequence[Outcome | None]) -> Evaluation:
        """The evaluation of an architecture that is not asked, from its missing outcomes; nothing of it is stored."""
        known = self._entries.get(architecture.key, _Entry(UNASKED, len(self._numbers)))
        entry = _Entry(UNASKED, len(self._numbers))
        entry.values = list(known.values)
        job = self._job(architecture, known)
        for i, outcome in zip(self._numbers_of(job) if job else [], outcomes, strict=True):
            if outcome is not None:
                self._note(entry, i, outcome.value, outcome.status, outcome.error)
        costs = self._plan.costs(architecture)
        for i in self._costs:
            entry.values[i] = costs[self._plan.scores[i].name]
        return self._evaluation(Candidate(UNASKED, architecture), entry)

    def flush(self) -> None:
        """Put everything on disk.

        Raises:
            StoreError: The results cannot be written.
        """
        self._store.flush()
        self._in_memory.clear()

    def vanished(self) -> list[str]:
        """Names of files of results that are not there any more."""
        return self._store.vanished()

    def _job(self, architecture: Architecture, entry: _Entry) -> Job | None:
        wanted = tuple(
            number for number, outputs in enumerate(self._outputs) if any(entry.values[i] is None for i in outputs)
        )
        return Job(architecture, wanted, sum(len(self._outputs[number]) for number in wanted)) if wanted else None

    def _numbers_of(self, job: Job) -> list[int]:
        return [i for number in job.wanted for i in self._outputs[number]]

    def _evaluation(self, candidate: Candidate, entry: _Entry) -> Evaluation:
        scores = {name: value for name, i in self._numbers.items() if isinstance(value := entry.values[i], float)}
        failures = {name: value for name in self._needed if (value := self._failure(entry, name))}
        for name in self._optional & failures.keys():
            if failures[name].status == Status.NOT_APPLICABLE:
                del failures[name]
        return evaluated(candidate, scores, failures, self._needed, self._plan.constraints, entry.seconds)

    def _failure(self, entry: _Entry, name: str) -> _Failure | None:
        value = entry.values[self._numbers[name]]
        return value if isinstance(value, _Failure) else None

    def _is_refused(self, entry: _Entry) -> bool:
        """A constraint on a cost is violated, or the cost could not be counted, so that nothing is to be scored."""
        return any(
            isinstance(value, _Failure) or (value is not None and bound.violation({bound.name: value}) > 0)
            for i, bound in self._bounded_costs
            for value in [entry.values[i]]
        )

    def _check_same_candidate(self, candidate: Candidate, entry: _Entry | None) -> None:
        stored = self._stored_ids.pop(candidate.id, candidate.architecture.key)
        is_late = entry is not None and not entry.is_asked and entry.candidate != candidate.id
        if stored != candidate.architecture.key or is_late:
            raise StoreError(
                f"candidate {candidate.id} is {candidate.architecture.to_json()}, but the stored run asked for another "
                "one at this number: the folder was changed, or written by another version of the searcher"
            )

    def _add_costs(self, architecture: Architecture, entry: _Entry) -> None:
        missing = [i for i in self._costs if entry.values[i] is None]
        if missing:
            costs = self._plan.costs(architecture)
            self._add(
                architecture,
                entry,
                {i: Outcome(costs[self._plan.scores[i].name], Status.OK) for i in missing},
            )

    def _add_reused(self, architecture: Architecture, entry: _Entry) -> None:
        found = self._reused.get(architecture.key, {})
        taken = {i: outcome for i, outcome in found.items() if entry.values[i] is None}
        if taken:
            self.num_reused += 1
            self._add(architecture, entry, taken, reused=True)

    def _add(
        self, architecture: Architecture, entry: _Entry, outcomes: dict[int, Outcome], *, reused: bool = False
    ) -> None:
        for i, outcome in outcomes.items():
            self._note(entry, i, outcome.value, outcome.status, outcome.error)
            entry.seconds += outcome.seconds
        self._store.append(entry.candidate, architecture, outcomes, reused=reused)
        self._in_memory.add(architecture.key)

    @staticmethod
    def _note(entry: _Entry, i: int, value: float | None, status: str, error: str | None) -> None:
        entry.values[i] = value if value is not None else _Failure(Status(status), error)

    def _load(self, table: pa.Table) -> None:
        numbers = pc.index_in(table["proxy"].cast(pa.string()), pa.array(list(self._numbers), pa.string())).to_pylist()
        statuses = table["status"].cast(pa.string()).to_pylist()  # faster than item by item of a dictionary
        names = ("candidate", "architecture_key", "value", "error", "seconds", "reused")
        columns = [table[name].to_pylist() for name in names]
        taken: set[str] = set()
        for i, status, candidate, key, value, error, seconds, reused in zip(numbers, statuses, *columns, strict=True):
            entry = self._entries.get(key)
            if entry is None:
                entry = self._entries[key] = _Entry(candidate, len(self._numbers))
                self._stored_ids[candidate] = key
            self._note(entry, i, value, status, error)
            entry.seconds += seconds
            if reused:
                taken.add(key)
        self.num_reused = len(taken)
