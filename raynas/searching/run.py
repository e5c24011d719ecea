"""A run: ask, score, store, tell, from its first candidate or from where a killed run stopped."""

from __future__ import annotations

import signal
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from time import perf_counter
from typing import Any

import pyarrow as pa

from raynas.data.inspection import Inspection
from raynas.errors import StoreError
from raynas.hooks import offered
from raynas.scoring.pool import EvaluatorPool, Waiting
from raynas.searchers.admission import admission
from raynas.searchers.base import SearchProgress
from raynas.searchers.protocols import GrowsFamily, Recommends, ShowsProgress, is_complete, random_line, reason_of
from raynas.searching.comparison import comparison, peers_of, uniform_peers
from raynas.searching.config import KIND
from raynas.searching.flight import Flight
from raynas.searching.own_files import IF_VALUES_CHANGE, changed_files, kept_hashes, stored_files
from raynas.searching.plan import Plan, search_description
from raynas.searching.platforms import platform_of, stored_platform, wanted_device_type
from raynas.searching.pools import start_pool
from raynas.searching.ranking import Ranking
from raynas.searching.score_cache import ScoreCache
from raynas.searching.windows import AS_ASKED, stored_window
from raynas.space.architecture import Architecture
from raynas.space.cost import COSTS, closed_form
from raynas.space.results import Evaluation, Outcome, Platform
from raynas.space.uniform import has_uneven
from raynas.storage.learned import is_learned
from raynas.storage.locks import told_before_locking
from raynas.storage.result_store import ResultStore, read_evaluations
from raynas.storage.run_folder import check_folder
from raynas.storage.session import End, Session
from raynas.wording import plural

_POLL_S = 0.5
_SUMMARY_EVERY_S = 5.0


class SearchListener:
    """Receives a run's progress; the base class ignores it."""

    def on_start(self, folder: Path, budget: int) -> None:
        """The run starts, or resumes."""

    def on_images(self, inspection: Inspection) -> None:
        """What is in the data set, where it consists of files; before the run starts."""

    def on_tell(self, evaluation: Evaluation, told: int, ranking: Ranking) -> None:
        """An evaluation was told."""

    def on_progress(self, progress: SearchProgress) -> None:
        """How far the search has come, before each `on_tell`, from a searcher that knows it better than the budget."""

    def on_waiting(self, waiting: Waiting | None) -> None:
        """What workers are awaited, now and then; None once all are there."""

    def on_log(self, line: str) -> None:
        """Something that a person wants to know."""


@dataclass
class _Clock:
    """Where the driver's time goes, in seconds."""

    seconds: dict[str, float] = field(default_factory=dict)

    def add(self, name: str, started: float) -> float:
        """Book the time since `started`; returns now."""
        now = perf_counter()
        self.seconds[name] = self.seconds.get(name, 0.0) + now - started
        return now


def execute(
    plan: Plan,
    folder: Path,
    *,
    resume: bool = False,
    reuse: Sequence[Path] = (),
    listener: SearchListener | None = None,
) -> dict[str, Any]:
    """Carry out a plan in a run folder.

    Args:
        plan: The plan to carry out.
        folder: The run folder, which is created unless it exists.
        resume: Continue the run that the folder holds; without one, start.
        reuse: Folders of other runs whose scores are taken where their keys are equal.
        listener: Receives what happens in the run.

    Returns:
        The summary, as in summary.json.

    Raises:
        StoreError: The folder holds another run, is in use, or cannot be written.
        PoolError: Workers cannot be started.
        Interrupted: SIGINT or SIGTERM; what was done is stored.
    """
    listener = listener or SearchListener()
    if told := told_before_locking(folder):
        listener.on_log(told)
    begun = stored_window(folder) if resume else None
    if begun is not None and (plan.window_origin != AS_ASKED or plan.config.window == begun.size):
        plan = plan.with_window(begun)
    session = Session(folder, partial(check_folder, folder, plan.identity(), resume=resume, kind=KIND))
    stored, device_type = stored_platform(folder), wanted_device_type(plan.config, folder)
    tables = {path: read_evaluations(path) for path in reuse}
    if plan.inspection is not None:
        listener.on_images(plan.inspection)
    for line in plan.notes:
        listener.on_log(line)
    with session:
        identities = [score.identity for score in plan.scores]
        store = ResultStore(folder, identities, session.check, platform=stored)  # holds the folder
        session.stack.callback(store.close)
        for name in store.set_aside:
            listener.on_log(f"set aside {name}; what it held is scored again")
        for name in store.missing:
            listener.on_log(f"{name} is missing; what it held is scored again")
        cache = ScoreCache(plan, store)
        if cache.num_stored > plan.config.budget:
            raise StoreError(
                f"{folder} holds {cache.num_stored} candidates; a budget may grow, not shrink to {plan.config.budget}"
            )
        own, began = plan.own_files, stored_files(folder)
        for file in changed_files(own, began):
            listener.on_log(f"{file} has changed since the run began; scores of before are kept: {IF_VALUES_CHANGE}")
        for path in reuse:
            for file in changed_files(own, stored_files(path)):
                listener.on_log(
                    f"{file} has changed since the run in {path} began; scores of there are taken where their versions "
                    f"are equal: {IF_VALUES_CHANGE}"
                )
        own_files = kept_hashes(own, began)
        plan, pool, workers = start_pool(plan, session.stack, listener.on_log, device_type, folder)
        session.collect_signals()
        session.describe(search_description(plan, stored, own_files))
        return _Run(plan, session, cache, tables, pool, workers, listener, own_files).carry_out()


class _Run:
    """The state of one session of a run."""

    def __init__(
        self,
        plan: Plan,
        session: Session,
        cache: ScoreCache,
        tables: Mapping[Path, pa.Table],
        pool: EvaluatorPool,
        workers: int | None,
        listener: SearchListener,
        own_files: Mapping[str, str],
    ) -> None:
        self.plan = plan
        self.session = session
        self.cache = cache
        self.tables = tables
        self.pool = pool
        self.workers = workers
        self.own_files = own_files
        self.listener = listener
        self.clock = _Clock()
        self.ranking = Ranking(plan.objectives)
        self.told = 0
        self.failed = 0
        self.infeasible = 0  # of those that have not failed
        self.recommended: dict[str, Any] | None = None
        self.uniform: list[dict[str, Any]] = []
        self.comparison: dict[str, Any] | None = None
        self.searcher = plan.searcher()
        self._summary_written = 0.0

    @property
    def stop(self) -> list[int]:
        """Signals that were received."""
        return self.session.stop

    def carry_out(self) -> dict[str, Any]:
        """Search, keeping summary.json up to date, also when it ends badly."""
        self.listener.on_start(self.session.folder, self.plan.config.budget)
        self.listener.on_log(f"up to {self.plan.window} candidates at a time: {self.plan.window_origin}")
        if line := random_line(self.searcher, str(self.plan.config.searcher), self.plan.config.budget):
            self.listener.on_log(line)
        return self.session.carry_out(self._work, self._write_summary)

    def _work(self) -> End:
        device_type = self.pool.device_type(lambda: bool(self.stop))
        if device_type is None:
            return End("interrupted")
        self._compute_with(platform_of(self.plan.config, device_type))
        if stored := self.cache.num_stored:
            self.listener.on_log(f"goes on: {stored:,} of {self.plan.config.budget:,} candidates are stored")
        status = self._search()
        if status != "interrupted":
            self._evaluate_recommendation()
            self._set_beside_uniform()
            self._compare()
        self.cache.flush()
        if vanished := self.cache.vanished():
            raise StoreError(
                f"{', '.join(vanished)} in {self.session.folder} vanished while the run went on: what was in there is "
                "scored again when it is resumed"
            )
        if status == "interrupted":
            self.listener.on_log(f"{signal.Signals(self.stop[0]).name}: what is done is stored")
        return End(status)

    def _compute_with(self, platform: Platform) -> None:
        """Store what scores are computed with, and take those of other runs that were computed so."""
        self.session.describe(search_description(self.plan, platform, self.own_files))
        self.cache.compute_with(platform)
        for path, table in self.tables.items():
            if num_elsewhere := self.cache.reuse(table):
                not_taken = plural(
                    num_elsewhere,
                    f"score of {path} is not taken: it was computed",
                    f"scores of {path} are not taken: they were computed",
                )
                self.listener.on_log(
                    f"{not_taken} on another device type, with other versions of libraries or other threads than "
                    f"{platform.in_words}, or that is not told"
                )
        self.tables = {}

    def _search(self) -> str:
        """Ask, have scored, tell, in the order of `Flight`; returns the status with which it ended."""
        budget, searcher = self.plan.config.budget, self.searcher
        progress = offered(searcher, ShowsProgress)
        flight = Flight(searcher, budget, self.plan.window)
        now = perf_counter()
        while self.told < budget:
            asked = flight.ask()
            now = self.clock.add("ask", now)
            for candidate in asked:
                self.cache.request(candidate, self.pool)
            now = self.clock.add("dispatch", now)
            if (first := flight.first) is None:
                return "completed" if is_complete(searcher) else "exhausted"
            while (evaluation := self.cache.answer(first)) is None:
                now = self.clock.add("store", now)
                results = self.pool.poll(_POLL_S)
                now = self.clock.add("wait", now)
                self.cache.receive(results)
                self.listener.on_waiting(self.pool.waiting())
                if now - self._summary_written > _SUMMARY_EVERY_S:
                    self._write_summary("running")
                if self.stop:
                    self.cache.flush()
                    return "interrupted"
            now = self.clock.add("store", now)
            flight.tell(evaluation)
            self.told = flight.told
            self.failed += not evaluation.is_ok
            self.infeasible += evaluation.is_ok and not evaluation.is_feasible
            self.ranking.add(evaluation)
            now = self.clock.add("tell", now)
            if progress is not None:
                self.listener.on_progress(progress.progress())
            self.listener.on_tell(evaluation, self.told, self.ranking)
            if now - self._summary_written > _SUMMARY_EVERY_S:
                self._write_summary("running")
            now = self.clock.add("report", now)
            if self.stop:
                self.cache.flush()
                return "interrupted"
        return "completed"

    def _evaluate_recommendation(self) -> None:
        """Score what the searcher would choose, which it need not have asked for; told in the summary alone."""
        recommends = offered(self.searcher, Recommends)
        architecture = recommends.recommendation() if recommends is not None and self.told else None
        if architecture is not None and (found := self._evaluated_aside([architecture])):
            self.recommended = {**self._summary_of(found[0]), "reason": reason_of(self.searcher)}

    def _set_beside_uniform(self) -> None:
        """Score the uniform networks that cost as much as what was found; told in the summary alone."""
        plan = self.plan
        found = [evaluation.architecture for evaluation in self.ranking.best()]
        is_search = not plan.config.architectures and offered(self.searcher, GrowsFamily) is None
        is_search = is_search and not is_learned(plan.identity())  # whose pages show how well it predicts
        if (
            not is_search
            or not found
            or plan.space.uniform is None
            or not has_uneven(plan.space)
            or "macs" not in plan.costs(found[0])
        ):
            return
        beside = uniform_peers(found, plan.space, lambda one: plan.costs(one)["macs"])
        if self.recommended is not None:
            chosen = Architecture(self.recommended["architecture"])
            beside |= uniform_peers([chosen], plan.space, lambda one: plan.costs(one)["macs"])
        scored = {one.architecture: one for one in self._evaluated_aside(list(dict.fromkeys(beside.values())))}
        self.uniform = [
            {"beside": dict(one), **self._summary_of(scored[uniform])}
            for one, uniform in beside.items()
            if uniform in scored
        ]

    def _compare(self) -> None:
        """Score what the winner is set beside; told in the summary alone."""
        best, plan = self.ranking.best(), self.plan
        if not plan.config.compare or len(plan.objectives) != 1 or not best:
            return
        size = {"img_size": plan.config.img_size, "num_classes": plan.config.num_classes}
        peers = peers_of(
            best[0].architecture,
            plan.space,
            None if closed_form(plan.space, "macs") is None else lambda one: plan.costs(one)["macs"],
            admission(plan.space, plan.constraints, **size),
            number=plan.config.compare,
            seed=plan.config.seed,
        )
        uniform = [] if peers.uniform is None else [peers.uniform]
        found = self._evaluated_aside([*uniform, *peers.random])
        if found:
            summaries = [self._summary_of(evaluation) for evaluation in found]
            self.comparison = comparison(
                plan.objectives[0],
                self._summary_of(best[0]),
                summaries[0] if uniform else None,
                summaries[len(uniform) :],
            )

    def _evaluated_aside(self, architectures: Sequence[Architecture]) -> list[Evaluation]:
        """Evaluations of architectures that are not asked, of which nothing is stored; none if the run is stopped."""
        jobs = [self.cache.missing(architecture) for architecture in architectures]
        awaited = {id(job) for job in jobs if job is not None}
        for job in jobs:
            if job is not None:
                self.pool.submit(job)
        outcomes: dict[int, Sequence[Outcome | None]] = {}
        while awaited - outcomes.keys():
            if self.stop:
                return []
            outcomes |= {id(done): found for done, found in self.pool.poll(_POLL_S)}
        return [
            self.cache.evaluation_aside(architecture, outcomes.get(id(job), []))
            for architecture, job in zip(architectures, jobs, strict=True)
        ]

    def _summary_of(self, evaluation: Evaluation) -> dict[str, Any]:
        known = evaluation.scores  # a cost that is counted on the model may have failed
        costs = {name: int(known[name]) if name in known else None for name in COSTS}
        scores = {name: value for name, value in evaluation.scores.items() if name not in costs}
        return {
            "architecture": dict(evaluation.architecture),
            "scores": scores,
            **costs,
            "candidate": evaluation.id,
            "status": evaluation.status,
            "is_feasible": evaluation.is_feasible,
            "text": self.plan.space.text(evaluation.architecture),
        }

    def _family(self) -> list[dict[str, Any]] | None:
        """The states that the searcher went through, if it keeps them."""
        grows = offered(self.searcher, GrowsFamily)
        if grows is None:
            return None
        return [
            {"step": state.step, "change": state.change, "asked": state.asked, **self._summary_of(state.evaluation)}
            for state in grows.family()
        ]

    def _write_summary(self, status: str, error: str | None = None) -> dict[str, Any]:
        seconds, waiting = self.session.seconds, self.pool.waiting() if status == "running" else None
        summary = {
            "status": status,
            "evaluations": self.told,
            "failed": self.failed,
            "infeasible": self.infeasible,
            "reused": self.cache.num_reused,
            "workers": self.workers,
            "seconds": seconds,
            "evaluations_per_s": self.told / seconds,
            "best": [self._summary_of(evaluation) for evaluation in self.ranking.best()],
            "recommended": self.recommended,
            "uniform": self.uniform,
            "comparison": self.comparison,
            "family": self._family(),
            "driver_seconds": dict(self.clock.seconds),
            "worker_seconds": self.pool.worker_seconds(),
            "nodes": [{**use._asdict(), "node": use.node[:8]} for use in self.pool.nodes()],
            "waiting": None if waiting is None else waiting._asdict(),
            "error": error,
        }
        self._summary_written = perf_counter()
        return self.session.write_summary(summary)
