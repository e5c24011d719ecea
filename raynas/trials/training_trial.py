"""A training as one Ray Tune trial, of which one step is an epoch: the trial's side."""

from __future__ import annotations

import os
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from queue import Empty, Queue
from time import sleep
from typing import Any

from ray import tune

from raynas.errors import TrainingError, error_line
from raynas.storage.locks import wait_for_predecessor
from raynas.training.best_epoch import counted_top1
from raynas.training.plan import TrainingPlan
from raynas.training.run import TrainingListener, execute_training
from raynas.training.task import Row
from raynas.trials.mark import Mark, MarkWatch
from raynas.trials.reach import check_seen

_LOOK_S = 0.5
_JOIN_S = 60.0


@dataclass(frozen=True)
class TrainingJob:
    """What all trials are given.

    Args:
        mark: The mark of the session in the folder of the run; every training has its own folder in that.
        plans: The plans of the trainings by name.
        has_gpu: Whether each trial has a GPU, or a share of one.
        until: The number of epochs that each trial trains to, in all, and ends at; one that has fewer ends at its last.
    """

    mark: Mark
    plans: Mapping[str, TrainingPlan]
    has_gpu: bool
    until: int


class TrainingTrial(tune.Trainable):  # type: ignore[misc]
    """Trains in a thread of its own, and hands its epochs over one by one, so that Tune can stop it between them.

    Epochs that its folder holds already, from earlier sessions, are handed over at once. A failure is handed over too,
    as a result, and then raised: so Tune tries the trial again, after the others.
    """

    def setup(self, config: dict[str, Any], job: TrainingJob) -> None:
        """Get ready for the training that the config names."""
        if not job.has_gpu:
            os.environ["CUDA_VISIBLE_DEVICES"] = ""  # Ray leaves GPUs visible to those who ask for none
        self._plan, self._folder = job.plans[config["trial"]], job.mark.folder / config["trial"]
        self._watch = MarkWatch(job.mark)
        self._until = min(job.until, self._plan.config.epochs)
        self._rows: Queue[Row | BaseException | None] = Queue()
        self._is_over = threading.Event()
        self._thread: threading.Thread | None = None
        self._failure: str | None = None
        self._relay = _Relay(self._rows, self._until)

    def step(self) -> dict[str, Any]:
        """The next epoch.

        Raises:
            TrainingError: The training failed, as the step before has said.
        """
        if self._failure is not None:
            raise TrainingError(self._failure)
        if self._thread is None and not self._is_stopped():
            self._thread = threading.Thread(target=self._train, daemon=True)
            self._thread.start()
        row = self._next()
        if row is None:
            sleep(_LOOK_S)  # Tune asks again at once
            return {"status": "interrupted"}
        if isinstance(row, BaseException):
            self._failure = error_line(row)
            return {"status": "failed", "error": self._failure}
        done = row["epoch"] + 1
        is_there = done >= self._until
        if is_there and self._thread is not None:
            self._thread.join(_JOIN_S)  # for its summary
        return {
            "status": "completed" if done == self._plan.config.epochs else "waiting" if is_there else "running",
            "epochs_done": done,
            "top1": counted_top1(row),
            "done": is_there,
            "lines": [self._relay.lines.pop(0) for _ in list(self._relay.lines)],
        }

    def cleanup(self) -> None:
        """Stop the training with a checkpoint."""
        self._is_over.set()
        if self._thread is not None:
            self._thread.join(_JOIN_S)

    def _next(self) -> Row | BaseException | None:
        """The next row, what the training ended with, or None if it was stopped."""
        while self._thread is not None:
            try:
                return self._rows.get(timeout=_LOOK_S)
            except Empty:
                if not self._thread.is_alive() and self._rows.empty():
                    return None
        return None

    def _is_stopped(self) -> bool:
        return self._is_over.is_set() or self._watch.is_gone()

    def _train(self) -> None:
        try:
            check_seen(self._folder.parent)
            wait_for_predecessor(self._folder)
            execute_training(
                self._plan,
                self._folder,
                resume=True,
                listener=self._relay,
                is_stopped=lambda: self._relay.is_there or self._is_stopped(),
            )
        except BaseException as error:  # whatever it is, the other trainings go on
            self._rows.put(error)


class _Relay(TrainingListener):
    """Hands epochs over, and knows when the last one is there that the trial trains to."""

    def __init__(self, rows: Queue[Row | BaseException | None], until: int) -> None:
        self._rows = rows
        self._until = until
        self.is_there = False
        self.lines: list[str] = []

    def on_start(self, folder: Path, plan: TrainingPlan, history: list[Row]) -> None:
        for row in history:
            self.on_epoch(row)

    def on_epoch(self, row: Row) -> None:
        self.is_there |= row["epoch"] + 1 >= self._until
        self._rows.put(row)

    def on_log(self, line: str) -> None:
        self.lines.append(line)
