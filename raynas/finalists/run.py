"""The best of a search trained against each other as Ray Tune trials, most of them stopped early (ASHA)."""

from __future__ import annotations

import math
import signal
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from functools import partial
from pathlib import Path
from time import monotonic
from typing import Any

from raynas.cluster.joining import connect
from raynas.cluster.resources import why_waiting
from raynas.errors import ConfigError, PoolError, StoreError
from raynas.finalists.choice import Finalist, finalists
from raynas.finalists.config import FinalistsConfig
from raynas.finalists.folder import KIND, STOP_FILE, read_judged, write_judged
from raynas.registry import named_code
from raynas.space.build import builder
from raynas.space.registered import spaces
from raynas.space.search_space import SearchSpace
from raynas.storage.files import remove, write_mark
from raynas.storage.run_folder import check_folder, read_description, read_summary, reading, run_description
from raynas.storage.session import End, Session
from raynas.training.best_epoch import counted_top1
from raynas.training.config import TrainConfig
from raynas.training.folder import load_training
from raynas.training.identity import completed
from raynas.training.listeners import check_loggers
from raynas.training.plan import TrainingPlan, make_training_plan

_LOOK_S = 1.0
_IDLE_SAID_EVERY_S = 30.0
_GRACE_S = 90.0  # for trainings to write their checkpoints


class FinalistsListener:
    """Receives the trainings' progress in the driver; the base class ignores it."""

    def on_start(self, folder: Path, trials: int, epochs: int) -> None:
        """The trainings start, or resume."""

    def on_progress(self, trials: Sequence[Mapping[str, Any]]) -> None:
        """How far each is, as in summary.json."""

    def on_log(self, line: str) -> None:
        """Something that a person wants to know."""


class FinalistsPlan:
    """What is trained, in values.

    Args:
        config: The settings by which finalists are chosen, trained and stopped early.
        members: The best of the search, best first.
        plans: The plans of their trainings, by the finalists' names.
    """

    def __init__(self, config: FinalistsConfig, members: Sequence[Finalist], plans: Mapping[str, TrainingPlan]) -> None:
        self.config = config
        self.members = tuple(members)
        self.plans = dict(plans)

    @property
    def space(self) -> SearchSpace:
        """The space of all finalists."""
        return next(iter(self.plans.values())).space

    @property
    def epochs(self) -> int:
        """The number of epochs of a whole training."""
        return next(iter(self.plans.values())).config.epochs

    def identity(self) -> dict[str, Any]:
        """What a resumed session must share with the stored one."""
        return {
            "grace": self.config.grace,
            "reduction": self.config.reduction,
            "trainings": {name: plan.identity() for name, plan in self.plans.items()},
        }


def make_finalists_plan(config: FinalistsConfig, *, space: SearchSpace | None = None) -> FinalistsPlan:
    """Choose the architectures, and check all their trainings.

    Args:
        config: What was asked for.
        space: The space itself, where it is neither registered nor in a file.

    Raises:
        RaynasError: As `finalists` and `make_training_plan`.
        ConfigError: Settings that trials cannot have.
    """
    members = finalists(Path(config.source), config.top)
    searched = read_description(Path(config.source))["config"]  # resolved, with spaces of files by their paths
    if space is None and config.space is not None:
        space = spaces.get(config.space)
    with named_code():  # the folder has named it
        space = space or spaces.get(str(searched.get("space")))
    config = config.resolved(space=spaces.reference(space))
    values: dict[str, Any] = {**config.training, "space": config.space}
    with reading(Path(config.source)):
        values.setdefault("img_size", searched["img_size"])
    if values.get("workers"):
        raise ConfigError("each finalist is trained by one process; workers cannot be set, trials run side by side")
    plans = {}
    for member in members:
        made = TrainConfig.make({**values, "architecture": member.architecture.to_json(), "workers": 0})
        # Trials say by their resources what they take of the cluster.
        plan = make_training_plan(made.resolved(address=None, gpus_per_worker=None), space=space)
        if not plan.best.is_accuracy:
            name = plan.objective.kind.name
            raise ConfigError(f"finalists are compared by their accuracy, and the objective {name} has none")
        plans[member.name] = plan
    if config.grace > next(iter(plans.values())).config.epochs:
        raise ConfigError(f"grace is {config.grace} epochs, more than a whole training has")
    return FinalistsPlan(config, members, plans)


def execute_finalists(
    plan: FinalistsPlan, folder: Path, *, resume: bool = False, listener: FinalistsListener | None = None
) -> dict[str, Any]:
    """Train the finalists, each in a folder of its own, as many at once as the cluster has room for.

    Args:
        plan: What to train.
        folder: The folder of the finalists, which is created unless it exists.
        resume: Go on with what the folder holds: trials that ended are kept, and those that failed are tried again.
        listener: Receives progress.

    Returns:
        The summary, as in summary.json: kind, status (completed, failed), metric, source, epochs, `trials` (by
        accuracy), `best`, seconds, error.

    Raises:
        StoreError: The folder holds something else, is in use, or cannot be written.
        ConfigError: A precision that needs a GPU, where trials get none.
        PoolError: Ray cannot be started or joined, or this node has not what a trial asks for.
        Interrupted: SIGINT or SIGTERM; what was done is stored.
    """
    listener = listener or FinalistsListener()
    training = next(iter(plan.plans.values())).config
    check_loggers(training.loggers)
    with Session(
        folder, partial(check_folder, folder, plan.identity(), resume=resume, kind=KIND, complete=_completed)
    ) as session:
        share: dict[str, float] = {}
        if plan.plans.keys() - _ended_before(folder):
            session.stack.callback(connect(plan.config.training.get("address"), min_cpus=training.threads or 1))
            session.collect_signals()
            from raynas.cluster.tune import node_resources

            gpus = plan.config.training.get("gpus_per_worker")
            share = trial_share(training, None if gpus is None else float(gpus), node_resources())
        session.hold()
        session.describe(run_description(KIND, plan.config.model_dump(), plan.identity()))
        return _FinalistsTraining(plan, session, listener, share).carry_out()


def trial_share(training: TrainConfig, gpus: float | None, node: Mapping[str, float]) -> dict[str, float]:
    """What each trial takes of this node, on which all of them run, since their folders are there.

    Args:
        training: The configuration of any of the trainings.
        gpus: GPUs, or the share of one, that each trial takes; None: one where the node has GPUs.
        node: Resources that Ray has on this node, whoever uses them now.

    Returns:
        The amounts of CPU and GPU.

    Raises:
        PoolError: The node has less than one trial asks for, which would wait for ever.
        ConfigError: A share that Ray does not give out, or a precision that needs a GPU where trials get none.
    """
    if gpus is None:
        gpus = min(1.0, node.get("GPU", 0.0))
    share = {"CPU": float(training.threads or 1), "GPU": gpus}
    if gpus > 1 and gpus % 1:
        raise ConfigError(f"gpus_per_worker is {gpus:g}; Ray gives out parts of one GPU, or whole ones")
    if any(amount > node.get(name, 0.0) for name, amount in share.items()):
        asked, available = (f"{one.get('CPU', 0.0):g} CPU and {one.get('GPU', 0.0):g} GPU" for one in (share, node))
        raise PoolError(
            f"each finalist asks for {asked}; Ray has {available} on this node, where all of them run: "
            "--threads and --gpus-per-worker say what one takes"
        )
    training.precision_on("cuda" if gpus else "cpu")
    return share


class _FinalistsTraining:
    """The work of a session, and the listener over its trials."""

    def __init__(
        self, plan: FinalistsPlan, session: Session, listener: FinalistsListener, share: Mapping[str, float]
    ) -> None:
        self.plan = plan
        self.session = session
        self.folder = session.folder
        self.stop = session.stop  # signals received
        self.listener = listener
        self.share = share  # of the node, for each trial
        self.errors: dict[str, str] = {}  # the last of each that has not ended well
        self._ended = _ended_before(self.folder)
        self._judged = read_judged(self.folder, list(plan.plans))
        self._has_raised: set[str] = set()  # and Tune is still to hear of it
        self._at_rest: set[str] = set()
        self._stopping_since: float | None = None
        self._looked = -math.inf
        self._running: set[str] = set()
        self._idle_since = monotonic()

    def carry_out(self) -> dict[str, Any]:
        """Train, keeping summary.json up to date, also when it ends badly."""
        self.listener.on_start(self.folder, len(self.plan.plans), self.plan.epochs)
        return self.session.carry_out(self._work, self._write_summary)

    def _work(self) -> End:
        if names := [name for name in self.plan.plans if name not in self._ended]:
            self._train(names)
        failures = self._failures()
        return End("interrupted" if self.stop else "failed" if failures else "completed", failures)

    def _train(self, names: Sequence[str]) -> None:
        from ray import tune

        from raynas.cluster.own_code import own_code_by_value
        from raynas.cluster.tune import fit, trial_resources
        from raynas.finalists.halving import Halving
        from raynas.finalists.trial import TrainingJob, TrainingTrial

        remove(self._stop_file)
        # Trials register nothing, so that a model that the user's code did is not known there by its name.
        space = replace(self.plan.space, model=builder(self.plan.space))
        threads = int(self.share["CPU"])
        plans = {
            name: replace(
                plan, space=space, config=plan.config.resolved(threads=threads, loader_processes=_processes(plan))
            )
            for name, plan in self.plan.plans.items()
        }
        job = TrainingJob(self.folder.resolve(), plans, has_gpu=self.share["GPU"] > 0)
        scheduler = Halving(
            judged=self._judged,
            time_attr="epochs_done",
            max_t=self.plan.epochs,
            grace_period=self.plan.config.grace,
            reduction_factor=self.plan.config.reduction,
        )
        kinds = {plan.objective.kind for plan in plans.values()}
        with own_code_by_value(*(part for part in vars(space).values() if callable(part)), *kinds):
            given = tune.with_parameters(TrainingTrial, job=job)
        trainable: type = tune.with_resources(given, trial_resources(self.share, 0, {}))
        try:
            fit(trainable, names, self.folder, self, scheduler=scheduler, metric="top1", mode="max")
        except PoolError:
            if not self.stop:  # a signal to all processes ends the Ray that was started here, too
                raise
        remove(self._stop_file)
        if not self.stop:
            self._ended |= {name: "stopped" for name in names if name not in self._ended}

    @property
    def _stop_file(self) -> Path:
        return self.folder / STOP_FILE

    # -- following the trials ------------------------------------------------------------------------------------

    def on_step(self, running: Sequence[str]) -> bool:
        """See `raynas.cluster.tune.TuneListener`."""
        now = monotonic()
        if self.stop and self._stopping_since is None:
            self._stopping_since = now
            write_mark(self._stop_file)
            self.listener.on_log(f"{signal.Signals(self.stop[0]).name}: the trainings write their checkpoints")
        if now - self._looked > _LOOK_S:
            self._looked = now
            self._running = set(running)
            self.listener.on_progress(self._write_summary("running")["trials"])
        if running:
            self._idle_since = now
        elif now - self._idle_since > _IDLE_SAID_EVERY_S:
            self._idle_since = now
            self.listener.on_log(why_waiting("trainings", self.share))
        if self._stopping_since is None:
            return False
        return self._at_rest.issuperset(running) or now - self._stopping_since > _GRACE_S

    def on_result(self, name: str, result: Mapping[str, Any]) -> None:
        """See `raynas.cluster.tune.TuneListener`."""
        status = str(result["status"])
        for line in result.get("lines", ()):
            self.listener.on_log(f"{name}: {line}")
        if "epochs_done" in result and len(own := self._judged.setdefault(name, [])) < result["epochs_done"]:
            own.append(float(result["top1"]))
            write_judged(self.folder, self._judged)
        if status == "interrupted":
            self._at_rest.add(name)
        elif status == "failed":
            self.errors[name] = str(result["error"])
            self._has_raised.add(name)
        elif result.get("done"):
            # The scheduler stops a trial between its epochs; written at once, before Tune can be killed knowing it.
            self._ended.setdefault(name, "stopped" if status == "running" else status)
            self.errors.pop(name, None)
            self._write_summary("running")

    def on_lost(self, name: str, is_final: bool) -> None:
        """See `raynas.cluster.tune.TuneListener`."""
        has_raised = name in self._has_raised
        self._has_raised.discard(name)
        if has_raised:
            again = "" if is_final else "; it is tried again after the others"
            self.listener.on_log(f"{name} failed: {self.errors[name]}{again}")
        elif not is_final:
            self.listener.on_log(f"{name}: its process is lost; the training goes on from its last checkpoint")
        else:
            self.errors[name] = "its process was lost again and again"
            self.listener.on_log(f"{name} failed: {self.errors[name]}")
        if is_final:
            self._ended[name] = "failed"

    # -- what it comes to ----------------------------------------------------------------------------------------

    def _failures(self) -> str | None:
        failed = [name for name, status in self._ended.items() if status == "failed"]
        if not failed:
            return None
        told = "; ".join(f"{name}: {self.errors[name]}" for name in failed)
        return f"{len(failed)} of {len(self.plan.plans)} trainings failed: {told}"

    def _write_summary(self, status: str, error: str | None = None) -> dict[str, Any]:
        trials = [self._trial(member, is_going_on=status == "running") for member in self.plan.members]
        trials.sort(key=lambda trial: -math.inf if trial["top1"] is None else trial["top1"], reverse=True)
        for rank, trial in enumerate(trials, start=1):
            trial["rank"] = rank
        summary = {
            "kind": KIND,
            "status": status,
            "metric": "top1",
            "source": self.plan.config.source,
            "epochs": self.plan.epochs,
            "trials": trials,
            # A training that went to its end is comparable with others; the accuracy of a stopped one is not.
            "best": [trial for trial in trials if trial["status"] == "completed"],
            "seconds": self.session.seconds,
            "error": error,
        }
        return self.session.write_summary(summary)

    def _trial(self, member: Finalist, *, is_going_on: bool) -> dict[str, Any]:
        plan = self.plan.plans[member.name]
        folder = self.folder / member.name
        history: list[dict[str, Any]] = []
        with suppress(StoreError, OSError, ValueError):  # not there yet
            history = load_training(folder).metrics.to_pylist()
        now = "running" if is_going_on else "interrupted"
        status = self._ended.get(member.name, now if member.name in self._running else "waiting")
        return {
            "rank": 0,
            "name": member.name,
            "architecture": {name: member.architecture[name] for name in member.architecture},
            "text": plan.space.text(member.architecture),
            "folder": member.name,
            "status": status,
            "epochs_done": len(history),
            "epochs": self.plan.epochs,
            "top1": counted_top1(history[-1]) if history else None,
            "num_params": plan.num_params,
            "macs": plan.macs,
            "score": member.scores,
            "error": self.errors.get(member.name),
        }


def _completed(identity: Mapping[str, Any]) -> dict[str, Any]:
    """An identity whose trainings have all their fields."""
    return {**identity, "trainings": {name: completed(own) for name, own in identity["trainings"].items()}}


def _ended_before(folder: Path) -> dict[str, str]:
    """Trials that ended in earlier sessions, with their statuses; those that failed are tried again."""
    with reading(folder):
        trials = read_summary(folder).get("trials", ())
        return {trial["name"]: trial["status"] for trial in trials if trial["status"] in ("completed", "stopped")}


def _processes(plan: TrainingPlan) -> int:
    given = plan.config.loader_processes
    return 1 if given is None else given
