"""The one training loop: epochs of steps, evaluation, checkpoints, progress, stops; for one worker or several.

An objective supplies the loss and owns what is trained; `step.py` does the steps. A training is a function of its task:
it can be stopped after any step and goes on with the same images, learning rates and random draws, on any number of
workers.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from time import perf_counter, time
from typing import Any

import torch
import torch.distributed as dist

from raynas.data.opening import open_both
from raynas.errors import TrainingError
from raynas.storage.files import exists
from raynas.training.batch import Batch
from raynas.training.checkpoints import (
    BEST,
    LAST,
    CheckpointState,
    checkpoint_folder,
    read_checkpoint,
    write_checkpoint,
)
from raynas.training.data_parallel import means_over_workers
from raynas.training.evaluation import evaluate, evaluated_columns
from raynas.training.images import Loader, eval_loader, train_loader
from raynas.training.pace import Pace
from raynas.training.pictures import draw_pictures, is_drawn
from raynas.training.step import StepRunner
from raynas.training.task import Row, TrainingProgress, TrainingTask, WorkerListener, WorkerRank

_PROGRESS_EVERY_S = 0.5
_ASKED_EVERY = 10  # steps, with several workers


def train(task: TrainingTask, folder: Path, worker: WorkerRank, listener: WorkerListener) -> bool:
    """Train, or go on with the checkpoint in the folder.

    Args:
        task: What to train.
        folder: The folder of the training, seen by all workers; the first one writes checkpoints into it.
        worker: The rank of this worker, the number of workers, and the device it computes on.
        listener: Called on the first worker only.

    Returns:
        Whether all epochs are done; False if the listener stopped it.

    Raises:
        TrainingError: The loss is not finite.
        StoreError: A checkpoint is of another training, or cannot be written.
        DataError: An image cannot be read.
        ConfigError: A step cannot be divided as it is asked for.
    """
    if task.threads is not None:
        torch.set_num_threads(task.threads)
    training = _Training(task, folder, worker, listener)
    return training.carry_out()


class _Training:
    """The state of a training on one worker."""

    def __init__(self, task: TrainingTask, folder: Path, worker: WorkerRank, listener: WorkerListener) -> None:
        self.task, self.worker, self.listener = task, worker, listener
        self.folder, self.checkpoints = folder, checkpoint_folder(folder)
        self.runner = StepRunner(task, worker)
        self.objective = self.runner.objective
        self.history: list[Row] = []
        self.first_epoch, self.first_step = 0, 0
        self.sums = _Sums()
        self._restore()
        self.reached = (self.first_epoch, self.first_step)
        # After the weights are loaded, since the others get those of the first worker.
        self.runner.share()

        self._seconds_before = self.history[-1]["seconds"] if self.history else 0.0
        self._seconds_before += self.sums.seconds
        self._started = self._lapped = perf_counter()
        self._images = 0
        self._pace = Pace()
        self._loss = torch.full((), math.nan)
        self._progress_told = -math.inf
        self._saved = time()

    # -- epochs and steps ----------------------------------------------------------------------------------------------

    def carry_out(self) -> bool:
        task, worker, objective = self.task, self.worker, self.objective
        dataset, val_dataset = open_both(
            task.data, task.val_data, task.data_options, val_left_out=task.skipped_val_images
        )
        dataset.hold()
        val_dataset.hold()
        loading: dict[str, Any] = {
            "processes": task.loader_processes,
            "pin_memory": worker.device.type == "cuda",
        }
        training = train_loader(
            dataset,
            task.rows,
            objective.train_views(task.img_size, task.augmentation),
            first_rows=task.first_rows,
            needs_labels=objective.needs_labels,
            batch_size=task.batch_size,
            seed=task.seed,
            epochs=range(self.first_epoch, task.epochs),
            first_step=self.first_step,
            worker=(worker.rank, worker.world, task.accumulation),
            **loading,
        )
        evaluation = eval_loader(
            val_dataset,
            task.val_rows,
            objective.eval_views(task.img_size, task.eval_crop),
            needs_labels=objective.needs_labels or (objective.probes_features and val_dataset.num_classes > 1),
            batch_size=max(1, task.batch_size // (worker.world * task.accumulation)),
            worker=(worker.rank, worker.world),
            **loading,
        )
        with closing(training), closing(evaluation):
            return self._trained(iter(training), evaluation)

    def _trained(self, stream: Iterator[Batch], evaluation: Loader) -> bool:
        task = self.task
        for epoch in range(self.first_epoch, task.epochs):
            self._lapped = perf_counter()
            first = self.first_step if epoch == self.first_epoch else 0
            if epoch and not first and self._asked(step=0)[0]:
                return False  # the checkpoint at the epoch's end is there
            self.runner.start_epoch(epoch, is_new=first == 0)
            for step in range(first, task.steps):
                self._step(epoch, step, stream)
                self.reached = (epoch, step + 1)
                self._tell(epoch, step + 1)
                is_stopped, is_due = self._asked(step)
                if is_stopped and not (epoch == task.epochs - 1 and step == task.steps - 1):
                    self._save_within(epoch)
                    return False
                if is_due:
                    self._save_within(epoch)
                    self._lap()  # the next step does not count it
            self._finish_epoch(epoch, evaluation)
        return True

    def _step(self, epoch: int, step: int, stream: Iterator[Batch]) -> None:
        done = self.runner.run(epoch, step, stream)
        self.sums.lr = done.lr
        self._loss = done.loss
        seconds = self._lap()
        self.sums.add(done.loss, done.terms, done.waited, seconds)
        self._images += self.task.batch_size
        self._pace.add(self._macs(epoch), seconds)

    def _finish_epoch(self, epoch: int, evaluation: Loader) -> None:
        sums, task = self.sums, self.task
        loss, *terms = (value / max(sums.steps, 1) for value in self._shared(epoch))
        sums.seconds += self._lap()  # a GPU may have been steps behind
        started = perf_counter()
        train_s = sums.seconds
        values: dict[str, float | None] = {}
        for prefix, network in zip(("val", "ema_val"), [*self.runner.networks, None], strict=False):
            found = {} if network is None else evaluate(self.runner, network, evaluation)
            values |= {f"{prefix}_{name}": found.get(name) for name in evaluated_columns(self.objective)}
        if self.worker.rank == 0 and is_drawn(epoch, task.epochs):
            draw_pictures(self.runner, evaluation.images, self.folder, epoch)
        _, stride, dilation, macs = task.phase(epoch)
        row: Row = {
            "epoch": epoch,
            "lr": sums.lr,
            "train_loss": loss,
            **dict(zip(self.objective.columns, terms, strict=True)),
            **values,
            "stride": stride,
            "dilation": dilation,
            "macs": macs,
            "images_per_s": task.steps * task.batch_size / train_s,
            "train_s": train_s,
            "data_wait_s": sums.waited,
            "eval_s": perf_counter() - started,
            "seconds": self._seconds_before + perf_counter() - self._started,
        }
        is_best = self.objective.best.is_better(row, self.history)
        self.history.append(row)
        self.reached = (epoch + 1, 0)
        self.sums = _Sums()
        # The last one comes last, so that a kill between the two trains this epoch again.
        self._save(*([BEST] if is_best else []), LAST)
        if self.worker.rank == 0:
            self.listener.on_epoch(row)
            self._progress_told = -math.inf
        self._tell(epoch + 1, 0)

    def _shared(self, epoch: int) -> list[float]:
        """The sums of the steps' losses and of their terms, averaged over the workers.

        Raises:
            TrainingError: The loss is not finite, so neither are the weights.
        """
        sums = [self.sums.loss, *(self.sums.terms.get(name, 0.0) for name in self.objective.columns)]
        means = means_over_workers(sums, self.worker.world, self.worker.device)
        if not math.isfinite(means[0]):
            raise TrainingError(
                f"the loss is {means[0]} in epoch {epoch}: a lower lr than {self.task.optimizer['lr']:g}, clip_grad or "
                "more warmup_epochs may help"
            )
        return means

    # -- checkpoints ---------------------------------------------------------------------------------------------

    def _restore(self) -> None:
        path = self.checkpoints / LAST
        if not exists(path):
            return
        state = read_checkpoint(path)
        if state["identity"] != self.task.identity:
            raise TrainingError(f"{path} is of another training than this one")
        self.history = state["history"]
        self.first_epoch, self.first_step = state["epoch"], state["step"]
        self.sums = _Sums(**state["sums"])
        self.runner.load(state, self.first_epoch * self.task.steps + self.first_step, str(path))

    def _save_within(self, epoch: int) -> None:
        """Save in the middle of an epoch, with the loss of all workers; all of them come here after the same step."""
        self.sums.loss, *terms = self._shared(epoch)
        self.sums.terms = dict(zip(self.objective.columns, terms, strict=True))
        self._save(LAST)

    def _save(self, *names: str) -> None:
        self._saved = time()
        if self.worker.rank:
            return
        state: CheckpointState = {
            **self.runner.state(),
            "epoch": self.reached[0],
            "step": self.reached[1],
            "history": self.history,
            "sums": self.sums.plain(),
            "identity": self.task.identity,
        }
        for name in names:
            write_checkpoint(self.checkpoints / name, state)

    # -- small things --------------------------------------------------------------------------------------------

    def _lap(self) -> float:
        """Seconds since it was called last, or the epoch began: steps with what is between them, as waits for a GPU."""
        lapped, self._lapped = self._lapped, perf_counter()
        return self._lapped - lapped

    def _asked(self, step: int) -> tuple[bool, bool]:
        """Whether to stop, and whether a checkpoint is due; the first worker decides for all."""
        if self.worker.world > 1 and step % _ASKED_EVERY:
            return False, False
        asked = [False, False]
        if self.worker.rank == 0:
            asked = [self.listener.is_stopped(), time() - self._saved > self.task.checkpoint_every_s]
        if self.worker.world > 1:
            shared = torch.tensor(asked, dtype=torch.uint8, device=self.worker.device)
            dist.broadcast(shared, 0)
            asked = [bool(value) for value in shared]
        return asked[0], asked[1]

    def _tell(self, epoch: int, step: int) -> None:
        now = perf_counter()
        if self.worker.rank or now - self._progress_told < _PROGRESS_EVERY_S:
            return
        self._progress_told = now
        passed = now - self._started
        left = sum(self._pace.step_s(self._macs(later)) for later in range(epoch, self.task.epochs)) * self.task.steps
        left -= step * self._pace.step_s(self._macs(epoch)) if step else 0
        left += (self.task.epochs - epoch) * self.history[-1]["eval_s"] if self.history else 0
        self.listener.on_progress(
            TrainingProgress(
                epoch,
                step,
                self.task.epochs,
                self.task.steps,
                self._images / passed,
                float(self._loss),
                left,
                self.history,
            )
        )

    def _macs(self, epoch: int) -> int:
        return self.task.phase(epoch)[3]


@dataclass
class _Sums:
    """What an epoch adds up, kept in checkpoints, so that an epoch in two parts has the row of a whole one."""

    loss: Any = 0.0  # a tensor while it grows, so that no step waits for the device
    waited: float = 0.0
    seconds: float = 0.0
    steps: int = 0
    lr: float = 0.0
    terms: dict[str, Any] = field(default_factory=dict)

    def add(self, loss: torch.Tensor, terms: Mapping[str, torch.Tensor], waited: float, seconds: float) -> None:
        self.loss = self.loss + loss.double()
        for name, term in terms.items():
            self.terms[name] = self.terms.get(name, 0.0) + term.double()
        self.waited += waited
        self.seconds += seconds
        self.steps += 1

    def plain(self) -> dict[str, Any]:
        return {
            **vars(self),
            "loss": float(self.loss),
            "terms": {name: float(value) for name, value in self.terms.items()},
        }
