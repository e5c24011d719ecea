"""A training in its folder, from its first step or from its last checkpoint."""

from __future__ import annotations

import math
import signal
from collections.abc import Callable
from contextlib import ExitStack, closing
from functools import partial
from pathlib import Path
from typing import Any

import torch

from raynas.cluster.joining import cluster_address, connect
from raynas.cluster.ray_log import RayLog
from raynas.cluster.resources import alive_nodes, cpus_per_worker, default_workers
from raynas.cores import usable_cores
from raynas.errors import ConfigError
from raynas.models.process_state import kept_process_state, own_threads
from raynas.storage.files import exists, remove, remove_folder
from raynas.storage.local_files import temporary_folder
from raynas.storage.locks import told_before_locking
from raynas.storage.paths import ObjectPath
from raynas.storage.run_folder import (
    check_folder,
    ray_log_keeper,
    ray_log_place,
    run_description,
)
from raynas.storage.session import End, Session
from raynas.training.best_epoch import top1_of
from raynas.training.checkpoints import LAST, checkpoint_folder, reached_in, recover_last
from raynas.training.folder import CONTROL_FILES, KIND, NODES, RAY_TRAIN
from raynas.training.identity import completed
from raynas.training.image_record import write_record
from raynas.training.listeners import MetricsListener, check_loggers, write_metrics
from raynas.training.loop import train
from raynas.training.plan import TrainingPlan
from raynas.training.task import Row, TrainingProgress, WorkerRank


class TrainingListener:
    """Receives the progress of a training in the driver; the base class ignores it."""

    def on_start(self, folder: Path, plan: TrainingPlan, history: list[Row]) -> None:
        """The training starts, or resumes after the epochs of the history."""

    def on_progress(self, progress: TrainingProgress) -> None:
        """Some steps were done."""

    def on_epoch(self, row: Row) -> None:
        """An epoch was finished, and its checkpoint written."""

    def on_log(self, line: str) -> None:
        """Something that a person wants to know."""


def execute_training(
    plan: TrainingPlan,
    folder: Path,
    *,
    resume: bool = False,
    listener: TrainingListener | None = None,
    is_stopped: Callable[[], bool] = lambda: False,
    note: str = "",
) -> dict[str, Any]:
    """Carry out a plan in a folder.

    Args:
        plan: What to train.
        folder: The folder of the training, which is created unless it exists.
        resume: Go on with the training that the folder holds; without one, start.
        listener: Receives progress.
        is_stopped: Asked after steps whether to stop; if so, the training stops with a checkpoint, as on a signal.
        note: A line that the listener is told before all else.

    Returns:
        The summary, as in summary.json.

    Raises:
        StoreError: The folder holds another run, is in use, or cannot be written.
        ConfigError: Workers and devices that do not go together.
        PoolError: Workers cannot be started.
        TrainingError: The loss is not finite.
        Interrupted: SIGINT or SIGTERM; what was done is stored.
    """
    listener = listener or TrainingListener()
    check_loggers(plan.config.loggers)
    if told := told_before_locking(folder):
        listener.on_log(told)
    with Session(
        folder, partial(check_folder, folder, plan.identity(), resume=resume, kind=KIND, complete=completed)
    ) as session:
        session.hold()
        run = _TrainingRun(plan, session, listener)
        session.collect_signals()
        for line in plan.image_notes:
            listener.on_log(line)
        if plan.record is not None:
            write_record(folder, plan.record)
        session.describe(run_description(KIND, plan.config.model_dump(), plan.identity(), **plan.description()))
        if note:
            listener.on_log(note)
        return run.carry_out(lambda: bool(session.stop) or is_stopped())


class _TrainingRun:
    """One session of a training."""

    def __init__(self, plan: TrainingPlan, session: Session, listener: TrainingListener) -> None:
        self.plan, self.session, self.folder, self.listener = plan, session, session.folder, listener
        self.history: list[Row] = []
        self.workers, self.gpus, self.cores = self._joined(session.stack)
        self.device = "cuda" if (self.gpus or (not self.workers and torch.cuda.is_available())) else "cpu"
        plan.check_workers(self.workers or 1)
        plan.config.precision_on(self.device)  # refused here, before anything is written

    def carry_out(self, is_stopped: Callable[[], bool]) -> dict[str, Any]:
        """Train, keeping summary.json up to date, also when it ends badly."""
        self._tidy()
        self.history, self._step = reached_in(self.folder)
        if self.history:  # a kill after the checkpoint may have cost the last row
            write_metrics(self.folder, self.history)
        self.listener.on_start(self.folder, self.plan, self.history)
        return self.session.carry_out(lambda: self._work(is_stopped), self._write_summary)

    def _tidy(self) -> None:
        """Clear away what a session that was killed has left, and go back to a sound checkpoint."""
        remove(*(self.folder / name for name in CONTROL_FILES))
        for name in (RAY_TRAIN, NODES):
            remove_folder(self.folder / name)
        if told := recover_last(self.folder):
            self.listener.on_log(told)

    def _work(self, is_stopped: Callable[[], bool]) -> End:
        is_over = bool(self.history) and self.history[-1]["epoch"] == self.plan.config.epochs - 1
        if is_over or self._train(is_stopped):
            return End("completed")
        if self.session.stop:
            self.listener.on_log(f"{signal.Signals(self.session.stop[0]).name}: what is done is stored")
        return End("interrupted")

    def _joined(self, stack: ExitStack) -> tuple[int, float, int]:
        """Workers, and GPUs and CPU cores of each, with Ray under them if need be; no workers: this process."""
        config = self.plan.config
        workers, share = config.workers, config.gpus_per_worker
        if cluster_address(config.address) is None:
            gpus = torch.cuda.device_count()
            if workers is None:
                workers = gpus if gpus > 1 else 0
            if workers and share is None:
                share = 1.0 if gpus else 0.0
        if workers == 0:
            if config.address or share:
                raise ConfigError("without workers this process trains; an address or GPUs per worker need workers")
            return 0, 0.0, usable_cores()
        least = workers or 1
        undo = connect(
            config.address,
            min_cpus=least * (config.threads or 1),
            min_gpus=least * (share or 0.0),
            makes_node=config.join,
            log=RayLog(ray_log_place(self.folder), self.listener.on_log, ray_log_keeper(self.folder)),
        )
        stack.callback(undo)
        # What there is, the cluster says: this machine may have no GPU, or other cores than the nodes.
        of_cluster, share = default_workers(share)
        if workers is None:
            workers = of_cluster if share >= 1 else 1
        if share % 1 and (share > 1 or workers > 1):
            raise ConfigError(
                f"gpus_per_worker is {share:g}: workers that train together take whole GPUs, one alone may take a part"
            )
        return workers, share, cpus_per_worker(alive_nodes(), workers, share)

    def _train(self, is_stopped: Callable[[], bool]) -> bool:
        config = self.plan.config
        threads = config.threads or (self.cores if self.workers else own_threads())
        processes = config.loader_processes
        if processes is None:
            on_cpu = int(self.workers > 0 or self.cores > 1)
            # Varied strongly at 224 pixels, some 350 images a second come from a process, and an H200 takes thousands.
            processes = min(16, max(1, self.cores - 1)) if self.device == "cuda" else on_cpu
        task = self.plan.task(self.device, threads=threads, loader_processes=processes)
        logged_config = {**config.model_dump(), **{f"model_{n}": v for n, v in self.plan.model().items()}}
        if self.workers:
            from raynas.training.distributed import train_on_ray

            return train_on_ray(
                task,
                self.folder,
                self._folder_of_ray(),
                workers=self.workers,
                min_workers=config.min_workers or self.workers,
                gpus_per_worker=self.gpus,
                cpus_per_worker=min(threads, self.cores),
                loggers=config.loggers,
                config=logged_config,
                compares_files=cluster_address(config.address) is not None or len(alive_nodes()) > 1,
                on_progress=self._on_progress,
                is_stopped=is_stopped,
                log=self.listener.on_log,
            )
        listener = _WorkerListener(self.folder, config.loggers, logged_config, task.steps, self.history, self._step)
        listener.connect(self._on_progress, is_stopped)
        with closing(listener), kept_process_state():
            return train(task, self.folder, WorkerRank(device=torch.device(self.device)), listener)

    def _folder_of_ray(self) -> Path:
        """Where Ray Train keeps its state, which speaks to object stores in a way of its own."""
        if isinstance(self.folder, ObjectPath):
            return self.session.stack.enter_context(temporary_folder())
        return self.folder / RAY_TRAIN

    def _on_progress(self, progress: TrainingProgress) -> None:
        new = progress.history[len(self.history) :]
        self.history = list(progress.history)
        for row in new:
            self.listener.on_epoch(row)
        if new:
            self._write_summary("running")
        self.listener.on_progress(progress)

    def _write_summary(self, status: str, error: str | None = None) -> dict[str, Any]:
        plan, history = self.plan, self.history
        if status != "running" and exists(checkpoint_folder(self.folder) / LAST):
            history, _ = reached_in(self.folder)
        best = plan.best.best_of(history)
        full, done = (plan.training_macs(epochs=len(history), full=is_full) for is_full in (True, False))
        summary = {
            "kind": KIND,
            "status": status,
            "epochs": plan.config.epochs,
            "epochs_done": len(history),
            "top1": top1_of(history[-1]) if history else None,
            "best_top1": best and top1_of(best),
            "measure": plan.best.column,
            "value": None if not history or math.isnan(value := plan.best.value(history[-1])) else value,
            "best_value": best and plan.best.value(best),
            "best_epoch": best and best["epoch"],
            "num_params": plan.num_params,
            "macs": plan.macs,
            "training_macs": done,
            "training_macs_full": full,
            "saved": 1 - done / full if full else 0.0,
            "train_s": sum(row["train_s"] for row in history),
            "data_wait_s": sum(row["data_wait_s"] for row in history),
            "eval_s": sum(row["eval_s"] for row in history),
            "seconds": self.session.seconds,
            "images": {"train": len(plan.rows), "val": len(plan.val_rows)},
            "workers": self.workers,
            "error": error,
        }
        return self.session.write_summary(summary)


class _WorkerListener(MetricsListener):
    """Passes on to the driver, which is this process."""

    def connect(self, on_progress: Callable[[TrainingProgress], None], is_stopped: Callable[[], bool]) -> None:
        """Keep the functions that are told of progress, and asked whether to stop."""
        self._driver, self._asked = on_progress, is_stopped

    def on_progress(self, progress: TrainingProgress) -> None:
        super().on_progress(progress)
        self._driver(progress)

    def is_stopped(self) -> bool:
        return self._asked()
