"""Trainings against each other as Ray Tune trials, on all nodes that see their folder."""

from __future__ import annotations

import math
import signal
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from functools import partial
from pathlib import Path
from time import monotonic
from typing import TYPE_CHECKING, Any

from raynas.cluster.joining import connect
from raynas.cluster.ray_log import RayLog
from raynas.cluster.waiting import why_waiting
from raynas.data.inspection import Inspection
from raynas.errors import PoolError, StoreError
from raynas.space.build import builder
from raynas.storage.files import remove_folder
from raynas.storage.locks import told_before_locking
from raynas.storage.paths import ObjectPath
from raynas.storage.run_folder import (
    check_folder,
    ray_log_keeper,
    ray_log_place,
    read_summary,
    reading,
    run_description,
)
from raynas.storage.session import End, Session
from raynas.training.best_epoch import BestEpoch, counted_top1
from raynas.training.folder import load_training
from raynas.training.identity import completed
from raynas.training.listeners import check_loggers
from raynas.trials.comparison import verdict
from raynas.trials.config import TrialsConfig
from raynas.trials.folder import read_judged, write_judged
from raynas.trials.plan import Member, TrialsPlan
from raynas.trials.rungs import promoted, rungs
from raynas.trials.share import Given, given_to_trials
from raynas.wording import plural

if TYPE_CHECKING:
    from raynas.cluster.tune import Loss
    from raynas.training.plan import TrainingPlan

_LOOK_S, _LOOK_FAR_S = 1.0, 5.0
_IDLE_SAID_EVERY_S = 30.0
_GRACE_S = 90.0  # for trainings to write their checkpoints


class TrialsListener:
    """Receives the trainings' progress in the driver; the base class ignores it."""

    def on_images(self, inspections: Mapping[str, Inspection], class_counts: Mapping[str, Mapping[str, int]]) -> None:
        """What was found in data sets, as in `TrainingPlan`: once for each that trainings take, if it has files."""

    def on_start(self, folder: Path, trials: int, epochs: int) -> None:
        """The trainings start, or resume."""

    def on_progress(self, trials: Sequence[Mapping[str, Any]]) -> None:
        """How far each is, as in summary.json."""

    def on_log(self, line: str) -> None:
        """Something that a person wants to know."""


def execute_trials(
    plan: TrialsPlan,
    folder: Path,
    *,
    resume: bool = False,
    listener: TrialsListener | None = None,
    note: str = "",
) -> dict[str, Any]:
    """Carry out the trainings, each in a folder of its own, as many at once as the cluster has room for.

    Args:
        plan: What to train.
        folder: The folder of them all, which is created unless it exists.
        resume: Go on with what the folder holds: trials that ended are kept, and those that failed are tried again.
        listener: Receives progress.
        note: A line that the listener is told before all else.

    Returns:
        The summary, as in summary.json: kind, status (completed, failed), metric, source, epochs, `trials` (by
        accuracy), `comparison`, `best`, seconds, error.

    Raises:
        StoreError: The folder holds something else, is in use, or cannot be written.
        ConfigError: A precision that needs a GPU, where trials get none.
        PoolError: Ray cannot be started or joined, or no node that sees the folder has what a trial asks for.
        Interrupted: SIGINT or SIGTERM; what was done is stored.
    """
    listener = listener or TrialsListener()
    training = next(iter(plan.plans.values())).config
    check_loggers(training.loggers)
    if told := told_before_locking(folder):
        listener.on_log(told)
    with Session(
        folder, partial(check_folder, folder, plan.identity(), resume=resume, kind=plan.kind, complete=_completed)
    ) as session:
        session.hold()
        for one in {(one.data, one.val_data): one for one in plan.plans.values() if one.inspections}.values():
            listener.on_images(one.inspections, one.class_counts)
        given: Given | None = None
        if plan.plans.keys() - _ended_before(folder):
            asked = plan.config.training
            log, joins = (
                RayLog(ray_log_place(folder), listener.on_log, ray_log_keeper(folder)),
                bool(asked.get("join", False)),
            )
            undo = connect(asked.get("address"), min_cpus=training.threads or 1, makes_node=joins, log=log)
            session.stack.callback(undo)
            session.collect_signals()
            given = given_to_trials(plan, session, listener.on_log)
        if note:
            listener.on_log(note)
        session.describe(run_description(plan.kind, plan.config.model_dump(), plan.identity()))
        return _Trainings(plan, session, listener, given).carry_out()


class _Trainings:
    """The work of a session, and the listener over its trials."""

    def __init__(self, plan: TrialsPlan, session: Session, listener: TrialsListener, given: Given | None) -> None:
        self.plan = plan
        self.session = session
        self.folder = session.folder
        self.listener = listener
        self._trials = given  # None where all have ended
        self._look_s = _LOOK_FAR_S if isinstance(self.folder, ObjectPath) else _LOOK_S
        self.errors: dict[str, str] = {}  # the last of each that has not ended well
        self._ended = _ended_before(self.folder)
        self._judged = read_judged(self.folder, list(plan.plans))
        self._whole: dict[str, list[dict[str, Any]]] = {}  # of those that are read no more
        self._has_raised: set[str] = set()  # and Tune is still to hear of it
        self._at_rest: set[str] = set()
        self._stopping_since: float | None = None
        self._looked = -math.inf
        self._running: set[str] = set()
        self._idle_since = monotonic()

    @property
    def stop(self) -> list[int]:
        """Signals that were received."""
        return self.session.stop

    def carry_out(self) -> dict[str, Any]:
        """Train, keeping summary.json up to date, also when it ends badly."""
        self.listener.on_start(self.folder, len(self.plan.plans), self.plan.epochs)
        return self.session.carry_out(self._work, self._write_summary)

    def _work(self) -> End:
        if self.plan.config.halving == "synchronous":
            self._train_rung_by_rung()
        elif names := [name for name in self.plan.plans if name not in self._ended]:
            if self.plan.config.halving == "asynchronous":
                self._train_asynchronously(names)
            else:
                self._train(names, self.plan.epochs)
        failures = self._failures()
        return End("interrupted" if self.stop else "failed" if failures else "completed", failures)

    def _train_asynchronously(self, names: Sequence[str]) -> None:
        from raynas.trials.halving import Halving

        scheduler = Halving(
            judged=self._judged,
            kept=self.plan.compared,
            time_attr="epochs_done",
            max_t=self.plan.epochs,
            grace_period=self.plan.config.grace,
            reduction_factor=self.plan.config.reduction,
        )
        self._train(names, self.plan.epochs, scheduler=scheduler, metric="top1", mode="max")
        if not self.stop:
            self._ended |= {name: "stopped" for name in names if name not in self._ended}

    def _train_rung_by_rung(self) -> None:
        """Stop nobody before all have come to a rung: who goes on follows from their accuracies in the folders alone.

        So it is worked out again when the trainings are resumed, from the first rung on, and comes to the same.
        """
        epochs, reduction = self.plan.epochs, self.plan.config.reduction
        alive = list(self.plan.plans)
        for rung in [*rungs(self.plan.config.grace, reduction, epochs), epochs]:
            until = rung if len(alive) > 1 else epochs  # one alone waits for nobody
            left = [name for name in alive if name not in self._ended]
            if until < epochs:  # those that have come to the last epoch are still to say that they are complete
                left = [name for name in left if len(self._history(name)) < until]
            if left:
                self._train(left, until)
            if self.stop:
                return
            if rung < epochs:
                alive = self._going_on(alive, rung)

    def _going_on(self, alive: Sequence[str], rung: int) -> list[str]:
        """Those that go on from a rung; the others are stopped."""
        histories = {name: self._history(name) for name in alive}
        kept = self.plan.compared
        judged = {name: rows for name, rows in histories.items() if name not in kept}
        top1 = {name: counted_top1(rows[rung - 1]) if len(rows) >= rung else None for name, rows in judged.items()}
        best = [*promoted(top1, self.plan.config.reduction), *kept]
        # One that failed, and came here when it was tried again, does not undo what was decided without it.
        going_on = [name for name, rows in histories.items() if name in best or len(rows) > rung]
        new = [name for name in alive if name not in going_on and name not in self._ended]
        self._ended |= dict.fromkeys(new, "stopped")
        if new:
            self.listener.on_log(f"after epoch {rung}: {len(going_on)} of {len(alive)} go on")
            self._write_summary("running")
        return going_on

    def _train(self, names: Sequence[str], until: int, **settings: Any) -> None:
        """Train to this number of epochs, with keywords of `ray.tune.TuneConfig` that say who is stopped before."""
        from ray import tune

        from raynas.cluster.own_code import own_code_by_value
        from raynas.cluster.tune import fit, trial_resources
        from raynas.trials.training_trial import TrainingJob, TrainingTrial

        given = self._trials
        assert given is not None, "those that have ended are not trained"
        remove_folder(self.folder / "tune")  # pickles of Tune's, which sessions of earlier versions kept there
        # Trials register nothing, so that a model that the user's code did is not known there by its name.
        space = replace(self.plan.space, model=builder(self.plan.space))
        threads = int(given.share["CPU"])
        plans = {
            name: replace(
                plan, space=space, config=plan.config.resolved(threads=threads, loader_processes=_processes(plan))
            )
            for name, plan in self.plan.plans.items()
        }
        job = TrainingJob(given.mark, plans, has_gpu=given.share["GPU"] > 0, until=until)
        kinds = {plan.objective.kind for plan in plans.values()}
        with own_code_by_value(*(part for part in vars(space).values() if callable(part)), *kinds):
            trial = tune.with_parameters(TrainingTrial, job=job)
        trainable: type = tune.with_resources(trial, trial_resources(given.share, 0, {}, given.reach.places))
        try:
            fit(trainable, names, given.state, self, **settings)
        except PoolError:
            if not self.stop:  # a signal to all processes ends the Ray that was started here, too
                raise

    # -- following the trials ------------------------------------------------------------------------------------

    def on_step(self, running: Sequence[str]) -> bool:
        """See `raynas.cluster.tune.TuneListener`."""
        now = monotonic()
        if self.stop and self._stopping_since is None:
            self._stopping_since = now
            if self._trials is not None:
                self._trials.mark.take_away()
            self.listener.on_log(f"{signal.Signals(self.stop[0]).name}: the trainings write their checkpoints")
        if now - self._looked > self._look_s:
            self._looked = now
            self._running = set(running)
            self.listener.on_progress(self._write_summary("running")["trials"])
        if running:
            self._idle_since = now
        elif now - self._idle_since > _IDLE_SAID_EVERY_S:
            self._idle_since = now
            self.listener.on_log(why_waiting("trainings", self._trials.share if self._trials else {}))
        if self._stopping_since is None:
            return False
        return self._at_rest.issuperset(running) or now - self._stopping_since > _GRACE_S

    def on_result(self, name: str, result: Mapping[str, Any]) -> None:
        """See `raynas.cluster.tune.TuneListener`."""
        status = str(result["status"])
        for line in result.get("lines", ()):
            self.listener.on_log(f"{name}: {line}")
        is_judged = "epochs_done" in result and self.plan.config.halving == "asynchronous"
        if is_judged and len(own := self._judged.setdefault(name, [])) < result["epochs_done"]:
            own.append(float(result["top1"]))
            write_judged(self.folder, self._judged)
        if status == "interrupted":
            self._at_rest.add(name)
        elif status == "failed":
            self.errors[name] = str(result["error"])
            self._has_raised.add(name)
        elif result.get("done") and status != "waiting":  # for the others of its rung
            # The scheduler stops a trial between its epochs; written at once, before Tune can be killed knowing it.
            self._ended.setdefault(name, "stopped" if status == "running" else status)
            self.errors.pop(name, None)
            self._write_summary("running")

    def on_lost(self, name: str, loss: Loss) -> None:
        """See `raynas.cluster.tune.TuneListener`."""
        has_raised = name in self._has_raised
        self._has_raised.discard(name)
        if has_raised:
            again = "" if loss.is_final else "; it is tried again after the others"
            self.listener.on_log(f"{name} failed: {self.errors[name]}{again}")
        elif not loss.is_final:
            self.listener.on_log(f"{name}: {loss.what}; the training goes on from its last checkpoint")
        else:
            self.errors[name] = "its process was lost again and again"
            self.listener.on_log(f"{name} failed: {self.errors[name]}")
        if loss.is_final:
            self._ended[name] = "failed"

    # -- what it comes to ----------------------------------------------------------------------------------------

    def _failures(self) -> str | None:
        failed = [name for name, status in self._ended.items() if status == "failed"]
        if not failed:
            return None
        told = "; ".join(f"{name}: {self.errors[name]}" for name in failed)
        return f"{len(failed)} of {plural(len(self.plan.plans), 'training', 'trainings')} failed: {told}"

    def _write_summary(self, status: str, error: str | None = None) -> dict[str, Any]:
        trials = [self._trial(member, is_going_on=status == "running") for member in self.plan.members]
        trials.sort(key=lambda trial: -math.inf if trial["top1"] is None else trial["top1"], reverse=True)
        for rank, trial in enumerate(trials, start=1):
            trial["rank"] = rank
        summary = {
            "kind": self.plan.kind,
            "status": status,
            "metric": "top1",
            "source": self.plan.source,
            "epochs": self.plan.epochs,
            "trials": trials,
            # A training that went to its end is comparable with others; the accuracy of a stopped one is not.
            "comparison": verdict(trials),
            "best": [trial for trial in trials if trial["status"] == "completed"],
            "seconds": self.session.seconds,
            "error": error,
        }
        return self.session.write_summary(summary)

    def _history(self, name: str) -> list[dict[str, Any]]:
        """The epochs that a training has finished, as rows of its metrics.parquet."""
        if name in self._whole:
            return self._whole[name]
        with suppress(StoreError, OSError, ValueError):  # not there yet
            rows: list[dict[str, Any]] = load_training(self.folder / name).metrics.to_pylist()
            if self._ended.get(name) == "completed":
                self._whole[name] = rows
            return rows
        return []

    def _trial(self, member: Member, *, is_going_on: bool) -> dict[str, Any]:
        plan = self.plan.plans[member.name]
        history = self._history(member.name)
        now = "running" if is_going_on else "interrupted"
        status = self._ended.get(member.name, now if member.name in self._running else "waiting")
        return {
            "rank": 0,
            "name": member.name,
            "is_compared": member.is_compared,
            "architecture": {name: member.architecture[name] for name in member.architecture},
            "text": member.text,
            "folder": member.name,
            "status": status,
            "epochs_done": len(history),
            "epochs": plan.config.epochs,
            "top1": counted_top1(history[-1]) if history else None,
            "num_params": plan.num_params,
            "macs": plan.macs,
            "score": dict(member.scores),
            **({"settings": dict(member.settings)} if member.settings else {}),
            **({"accuracies": others} if (others := _others(history)) else {}),
            "error": self.errors.get(member.name),
        }


def _others(history: Sequence[Mapping[str, Any]]) -> dict[str, float]:
    """Accuracies of the last epoch beside that which counts, such as those of the smallest member of a supernet."""
    last = {name: value for name, value in (history[-1] if history else {}).items() if value is not None}
    names = [name for name in last if name.startswith("val_") and name.endswith("_top1") and name != "val_top1"]
    return {
        name.removeprefix("val_").removesuffix("_top1"): BestEpoch(name, higher_is_better=True).value(last)
        for name in names
    }


def _completed(identity: Mapping[str, Any]) -> dict[str, Any]:
    """An identity that has all its fields, and whose trainings have theirs."""
    return {
        "halving": TrialsConfig.model_fields["halving"].default,
        **identity,
        "trainings": {name: completed(own) for name, own in identity["trainings"].items()},
    }


def _ended_before(folder: Path) -> dict[str, str]:
    """Trials that ended in earlier sessions, with their statuses; those that failed are tried again."""
    with reading(folder):
        trials = read_summary(folder).get("trials", ())
        return {trial["name"]: trial["status"] for trial in trials if trial["status"] in ("completed", "stopped")}


def _processes(plan: TrainingPlan) -> int:
    given = plan.config.loader_processes
    return 1 if given is None else given
