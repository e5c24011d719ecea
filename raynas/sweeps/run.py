"""A sweep carried out: its searches as Ray Tune trials on all nodes that see its folder, from the driver's side."""

from __future__ import annotations

import math
import signal
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import replace
from functools import partial
from pathlib import Path
from time import monotonic, sleep
from typing import TYPE_CHECKING, Any

from raynas.cluster.joining import connect
from raynas.cluster.ray_log import RayLog
from raynas.cluster.resources import default_workers, memory_share, placed_groups
from raynas.cluster.waiting import why_waiting
from raynas.data.inspection import Inspection
from raynas.errors import PoolError, StoreError
from raynas.searchers.registered import searchers
from raynas.storage.files import is_folder, names_in, opened, read_bytes, remove_folder
from raynas.storage.local_files import temporary_folder
from raynas.storage.locks import is_in_use, told_before_locking
from raynas.storage.paths import ObjectPath
from raynas.storage.run_folder import (
    check_folder,
    holds_run,
    ray_log_keeper,
    ray_log_place,
    read_description,
    reading,
    run_description,
)
from raynas.storage.session import End, Session
from raynas.sweeps.config import KIND, LOGS, ResolvedSweep
from raynas.sweeps.folder import compared, entries, is_finished
from raynas.sweeps.plan import SweepPlan
from raynas.trials.mark import Mark
from raynas.wording import plural

if TYPE_CHECKING:
    from raynas.cluster.tune import Loss, Places

_LOOK_S, _LOOK_FAR_S = 1.0, 5.0
_POLL_S = 0.2
_SUMMARY_EVERY_S = 5.0
_GRACE_S = 20.0  # for searches to store what is done
_WAITING_SAID_AFTER_S = 10.0
_WAITING_SAID_EVERY_S = 30.0


class SweepListener:
    """Receives a sweep's progress; the base class ignores it."""

    def on_images(self, inspection: Inspection) -> None:
        """What was found in the data set that all searches take; not called where there are no files."""

    def on_start(self, folder: Path, searches: int, budget: int) -> None:
        """The sweep starts, or resumes: so many searches of so many calls each."""

    def on_progress(self, searches: Sequence[Mapping[str, Any]]) -> None:
        """How far each search is, as `raynas.sweeps.folder.entries` has it."""

    def on_end(self, search: Mapping[str, Any]) -> None:
        """A search has ended, well or not."""

    def on_log(self, line: str) -> None:
        """Something that a person wants to know."""


def execute_sweep(
    plan: SweepPlan,
    folder: Path,
    *,
    resume: bool = False,
    reuse: Sequence[Path] = (),
    listener: SweepListener | None = None,
) -> dict[str, Any]:
    """Carry out a sweep in a folder, as many searches at once as the cluster has room for.

    A search that fails does not keep the others from their end.

    Args:
        plan: The plan to carry out.
        folder: The folder of the sweep, which is created unless it exists; each search has a run folder of its own in
            it.
        resume: Continue the sweep that the folder holds: searches that have ended are kept, the others go on, and those
            that failed are tried again. Budget and repeat may grow.
        reuse: Folders of other runs whose scores are taken where their keys are equal.
        listener: Receives progress.

    Returns:
        The summary, as in summary.json: kind, status (completed, failed), `searches`, seconds, error, and what
        `raynas.sweeps.folder.compared` returns of those that have ended, less the curves.

    Raises:
        StoreError: The folder holds something else, is in use, or cannot be written.
        PoolError: Ray cannot be started or joined.
        Interrupted: SIGINT or SIGTERM; what was done is stored.
    """
    listener = listener or SweepListener()
    if resume and holds_run(folder):
        plan = plan.as_begun(read_description(folder)["identity"])
    if told := told_before_locking(folder):
        listener.on_log(told)
    inspection = next(iter(plan.plans.values())).inspection
    with Session(folder, partial(check_sweep_folder, folder, plan, resume=resume)) as session:
        if inspection is not None:
            listener.on_images(inspection)
        session.hold()
        if _unfinished(plan.config, folder):
            _connect(plan.config, RayLog(ray_log_place(folder), listener.on_log, ray_log_keeper(folder)), session.stack)
            session.collect_signals()
        return _Sweeping(plan, session, reuse, listener).carry_out()


def _unfinished(config: ResolvedSweep, folder: Path) -> list[str]:
    return [str(name) for name in config.names if not is_finished(folder / str(name), config.budget)]


def _connect(config: ResolvedSweep, log: RayLog, stack: ExitStack) -> None:
    workers = max(1, config.workers)
    min_gpus = workers * (config.gpus_per_worker or 0.0)
    undo = connect(
        config.address, min_cpus=workers * config.threads, min_gpus=min_gpus, makes_node=config.join, log=log
    )
    stack.callback(undo)


def check_sweep_folder(folder: Path, plan: SweepPlan, *, resume: bool) -> None:
    """Refuse a folder that holds something else than this sweep, or more of it; writes nothing.

    Raises:
        StoreError: The folder is refused; the message says what it holds.
    """
    check_folder(folder, plan.identity(), resume=resume, kind=KIND)
    if not holds_run(folder):
        return
    stored = read_description(folder)["config"]
    for name in ("budget", "repeat"):
        with reading(folder):
            is_less = getattr(plan.config, name) < stored[name]
        if is_less:
            raise StoreError(
                f"{folder} holds a sweep with {name} {stored[name]}, which may grow, not shrink to "
                f"{getattr(plan.config, name)}"
            )


class _Sweeping:
    """The work of a session, and the listener over its trials."""

    def __init__(self, plan: SweepPlan, session: Session, reuse: Sequence[Path], listener: SweepListener) -> None:
        self.plan = plan
        self.session = session
        self.folder = session.folder
        self.listener = listener
        self.names = plan.config.names
        self.errors: dict[str, str] = {}
        self._reuse = tuple(path.resolve() for path in reuse)
        self._mark: Mark | None = None  # of the trials, while there are some
        self._look_s = _LOOK_FAR_S if isinstance(self.folder, ObjectPath) else _LOOK_S
        self._logs = _Logs(self.folder / LOGS)
        self._looked = self._summary_written = -math.inf
        self._waits_since = monotonic()
        self._waiting_said = -math.inf

    @property
    def stop(self) -> list[int]:
        """Signals that were received."""
        return self.session.stop

    def carry_out(self) -> dict[str, Any]:
        """Search, keeping summary.json up to date, also when it ends badly."""
        config = self.plan.config
        scores = next(iter(self.plan.plans.values())).scores
        directions = {score.name: "max" if score.higher_is_better else "min" for score in scores}
        self.session.describe(run_description(KIND, config.model_dump(), self.plan.identity(), directions=directions))
        self.listener.on_start(self.folder, len(self.names), config.budget)
        return self.session.carry_out(self._work, self._write_summary)

    def _work(self) -> End:
        self._search()
        return End("interrupted" if self.stop else "failed" if self.errors else "completed", self._failures())

    def _search(self) -> None:
        """Run the searches that have not ended as trials."""
        unfinished = _unfinished(self.plan.config, self.folder)
        if not unfinished:
            return
        from raynas.cluster.tune import fit  # Ray is imported by now, under the settings of `connect`

        remove_folder(self.folder / "tune")  # pickles of Tune's, which sessions of earlier versions kept there
        self._mark = Mark.put(self.folder)
        try:
            with temporary_folder() as state:
                fit(self._trainable(self._mark, len(unfinished)), unfinished, state, self, reuse_actors=True)
        except PoolError:
            if not self.stop:
                raise
        finally:
            self._mark.take_away()

    def _trainable(self, mark: Mark, searches: int) -> type:
        """The trial with what all searches need, shipped once, and with its resources."""
        import ray
        from ray import tune

        from raynas.cluster.own_code import own_code_by_value
        from raynas.cluster.tune import trial_resources
        from raynas.sweeps.trial import SearchJob, SearchTrial

        config = self.plan.config
        workers = config.workers
        own: dict[str, float] = {}
        each: dict[str, float] = {"CPU": config.threads}
        settings: dict[str, Any] = {"workers": workers}
        if workers:
            _, each["GPU"] = default_workers(config.gpus_per_worker)
            memory = config.worker_memory_gib or memory_share(searches * workers, each) / 2**30
            settings |= {"gpus_per_worker": each["GPU"], "worker_memory_gib": memory}
        else:
            own = {**each, "GPU": min(1.0, ray.cluster_resources().get("GPU", 0.0))}
        plans = {
            str(name): replace(plan, config=plan.config.resolved(**settings)) for name, plan in self.plan.plans.items()
        }
        made = {name: searchers.get(name) for name in config.searchers}
        job = SearchJob(mark, plans, made, self._reuse)
        task = next(iter(plans.values())).task("cpu")
        with own_code_by_value(*task.own_code, *made.values()):
            given = tune.with_parameters(SearchTrial, job=job)
        places = self._places(mark, own or each)
        trainable: type = tune.with_resources(given, trial_resources(own, workers, each, places))
        return trainable

    def _places(self, mark: Mark, needs: Mapping[str, float]) -> Places:
        """Where searches may be: of those with workers, the process that searches, which is beside the first."""
        from raynas.trials.reach import named_paths, reach_of

        paths = named_paths(self.plan.config.supernet, *(str(path) for path in self._reuse))
        return reach_of(
            mark,
            needs,
            paths,
            what="searches",
            log=self.listener.on_log,
            is_stopped=lambda: bool(self.stop),
        ).places

    # -- following the trials ------------------------------------------------------------------------------------

    def on_step(self, running: Sequence[str]) -> bool:
        """See `raynas.cluster.tune.TuneListener`."""
        if self.stop:
            self._await_rest(running)
            return True
        now = monotonic()
        if now - self._looked > self._look_s:
            self._looked = now
            self._look(running, now)
        return False

    def _await_rest(self, running: Sequence[str]) -> None:
        """Have the searches store what is done; without Ray, which the signal may have reached too."""
        self.listener.on_log(f"{signal.Signals(self.stop[0]).name}: the searches store what is done")
        if self._mark is not None:
            self._mark.take_away()
        deadline = monotonic() + _GRACE_S
        while any(is_in_use(self.folder / name) for name in running) and monotonic() < deadline:
            sleep(_POLL_S)

    def on_result(self, name: str, result: Mapping[str, Any]) -> None:
        """See `raynas.cluster.tune.TuneListener`."""
        if result["status"] == "interrupted":
            return  # by a signal to its process alone: Tune has it go on
        if result["status"] == "failed":
            self.errors[name] = str(result["error"])
        self._tell_end(name)

    def on_lost(self, name: str, loss: Loss) -> None:
        """See `raynas.cluster.tune.TuneListener`."""
        if not loss.is_final:
            self.listener.on_log(f"{name}: {loss.what}; the search goes on in a new process from what is stored")
            return
        self.errors[name] = "its process was lost again and again"
        self._tell_end(name)

    def _tell_end(self, name: str) -> None:
        self._tell_logs()
        self.listener.on_end(next(one for one in self._entries() if one["name"] == name))

    def _look(self, running: Sequence[str], now: float) -> None:
        self._tell_logs()
        self.listener.on_progress(self._entries())
        if now - self._summary_written > _SUMMARY_EVERY_S:
            self._write_summary("running")
        if running:
            self._waits_since = now
        elif now - self._waits_since > _WAITING_SAID_AFTER_S and now - self._waiting_said > _WAITING_SAID_EVERY_S:
            self._waiting_said = now
            self.listener.on_log(_why_waiting(self.plan.config))

    def _tell_logs(self) -> None:
        for name, line in self._logs.new_lines():
            self.listener.on_log(f"{name}: {line}")

    # -- what it comes to ----------------------------------------------------------------------------------------

    def _entries(self) -> list[dict[str, Any]]:
        return entries(self.folder, self.names, self.errors)

    def _failures(self) -> str | None:
        if not self.errors:
            return None
        told = "; ".join(f"{name}: {error}" for name, error in self.errors.items())
        return f"{len(self.errors)} of {len(self.names)} searches failed: {told}"

    def _write_summary(self, status: str, error: str | None = None) -> dict[str, Any]:
        searches = self._entries()
        summary: dict[str, Any] = {
            "kind": KIND,
            "status": status,
            "seconds": self.session.seconds,
            "error": error,
        }
        if status != "running":
            for one in searches:
                if one["status"] == "running":
                    one["status"] = "interrupted"
            found = compared(self.folder, self.plan.config, searches)
            best = found.pop("best")
            del found["curves"]
            searches = [{**one, "best": best.get(one["name"])} for one in searches]
            summary |= found
        summary = {**summary, "searches": searches}
        self._summary_written = monotonic()
        return self.session.write_summary(summary)


class _Logs:
    """Reads what searches append to their logs, from the end that the logs have now."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._read = {path: len(read_bytes(path)) for path in self._files()}

    def new_lines(self) -> list[tuple[str, str]]:
        """Names of searches, and the whole lines that they have written since the last call."""
        found = []
        for path in self._files():
            with opened(path) as file:
                file.seek(self._read.get(path, 0))
                new = file.read()
            whole = new[: new.rfind(b"\n") + 1]
            self._read[path] = self._read.get(path, 0) + len(whole)
            found += [(path.stem, line) for line in whole.decode().splitlines()]
        return found

    def _files(self) -> list[Path]:
        if not is_folder(self._folder):
            return []
        return [self._folder / name for name in names_in(self._folder) if name.endswith(".log")]


def _why_waiting(config: ResolvedSweep) -> str:
    """Why no search runs yet."""
    if placed_groups():
        return "waiting for the processes of the first searches"
    n = max(1, config.workers)
    share = {"CPU": config.threads, "GPU": config.gpus_per_worker or 0.0}
    return why_waiting(f"{plural(n, 'worker', 'workers')} of a search", share)
