"""The one training loop: mixed precision, accumulation, moving averages, evaluation, checkpoints, several workers.

A recipe supplies the loss and changes the model from epoch to epoch; it may bring a auxiliary, modules that are trained
beside the model and are no part of it. A training is a function of its task: it can be
stopped after any step and goes on with the same images, learning rates and random draws, on any number of workers.

Letters: B images of a step over all workers, W workers, A passes of a worker in a step.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, closing, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from time import perf_counter, time
from typing import Any

import numpy as np
import torch
import torch.distributed as dist
from torch import nn

from raynas.data.opening import open_dataset
from raynas.errors import TrainingError
from raynas.models.process_state import seed_generators
from raynas.seeds import seed_from
from raynas.training.checkpoints import (
    BEST,
    LAST,
    State,
    check_weights,
    checkpoint_folder,
    read_checkpoint,
    read_weights,
    write_checkpoint,
)
from raynas.training.data_parallel import (
    Objective,
    average_over_workers,
    data_parallel,
    mean_over_workers,
    running_statistics,
)
from raynas.training.folder import counted_top1
from raynas.training.images import (
    Images,
    Loader,
    eval_loader,
    eval_transform,
    microbatches,
    train_loader,
    train_transform,
)
from raynas.training.objectives.recipe import Loss
from raynas.training.optimizers import make_optimizer
from raynas.training.pace import Pace
from raynas.training.stochastic_depth import share_drops
from raynas.training.task import Row, TrainingProgress, TrainingTask, WorkerListener, WorkerRank

_PROGRESS_EVERY_S = 0.5
_ASKED_EVERY = 10  # steps, with several workers


def train(task: TrainingTask, folder: Path, worker: WorkerRank, listener: WorkerListener) -> bool:
    """Train, or go on with the checkpoint in the folder.

    Args:
        task: What to train.
        folder: Seen by all workers; the first one writes checkpoints into it.
        worker: The rank of this worker, the number of workers, and the device it computes on.
        listener: Called on the first worker only.

    Returns:
        Whether all epochs are done; False if the listener stopped it.

    Raises:
        TrainingError: The loss is not finite.
        StoreError: A checkpoint is of another training, or cannot be written.
        DataError: An image cannot be read.
    """
    if task.threads is not None:
        torch.set_num_threads(task.threads)
    training = _Training(task, folder, worker, listener)
    return training.carry_out()


class _Training:
    """The state of a training on one worker."""

    def __init__(self, task: TrainingTask, folder: Path, worker: WorkerRank, listener: WorkerListener) -> None:
        from timm.scheduler import create_scheduler_v2
        from timm.utils import ModelEmaV3

        self.task, self.worker, self.listener = task, worker, listener
        self.checkpoints = checkpoint_folder(folder)
        self.recipe = task.recipe()
        self.model = _built(task).to(worker.device)
        self.drops = share_drops(self.model)
        # Of the images of each pass of this worker, in the batch of a step.
        cut = microbatches(np.arange(task.batch_size), worker.world * task.accumulation)
        self.positions = cut[worker.rank * task.accumulation : (worker.rank + 1) * task.accumulation]
        seed_generators(task.seed, "companion")
        self.auxiliary = self.recipe.auxiliary(self.model)
        self.objective = Objective(self.model, self.auxiliary, self.recipe)
        self.optimizer = make_optimizer(self.objective, **task.optimizer)
        self.scheduler, _ = create_scheduler_v2(
            self.optimizer, num_epochs=task.epochs, step_on_epochs=False, updates_per_epoch=task.steps, **task.schedule
        )
        self.ema = ModelEmaV3(self.model, decay=task.ema_decay, use_warmup=True) if task.ema_decay else None
        self.scaler = torch.amp.GradScaler(worker.device.type, enabled=task.precision == "float16")
        self.history: list[Row] = []
        self.first_epoch, self.first_step = 0, 0
        self.sums = _Sums()
        self._restore()
        self.reached = (self.first_epoch, self.first_step)
        # Made after the weights are loaded, since it sends those of the first worker to the others.
        self.parallel = data_parallel(self.objective, worker.world, worker.device)
        self.statistics = running_statistics(self.model)

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
        task, worker = self.task, self.worker
        dataset, val_dataset = open_dataset(task.data), open_dataset(task.val_data)
        dataset.hold()
        val_dataset.hold()
        loading: dict[str, Any] = {
            "processes": task.loader_processes,
            "pin_memory": worker.device.type == "cuda",
        }
        training = train_loader(
            dataset,
            task.rows,
            train_transform(task.img_size, dict(task.augmentation)),
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
            eval_transform(task.img_size),
            batch_size=max(1, task.batch_size // (worker.world * task.accumulation)),
            worker=(worker.rank, worker.world),
            **loading,
        )
        with closing(training), closing(evaluation):
            return self._trained(iter(training), evaluation)

    def _trained(self, stream: Iterator[Images], evaluation: Loader) -> bool:
        task = self.task
        for epoch in range(self.first_epoch, task.epochs):
            self._lapped = perf_counter()
            self.recipe.start_epoch(self.model, epoch)
            if self.ema is not None:
                self.recipe.start_epoch(self.ema.module, epoch)
            self.model.train()
            for step in range(self.first_step if epoch == self.first_epoch else 0, task.steps):
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

    def _step(self, epoch: int, step: int, stream: Iterator[Images]) -> None:
        task, worker = self.task, self.worker
        total = torch.zeros((), device=worker.device)
        terms: dict[str, Any] = {}
        waited = 0.0
        for number in range(task.accumulation):
            before = perf_counter()
            piece = next(stream)
            images = piece.images.to(worker.device, non_blocking=True)
            labels = piece.labels.to(worker.device, non_blocking=True)
            waited += perf_counter() - before
            seed_generators(task.seed, "step", epoch, step, worker.rank, number)
            # Mixtures and dropped branches are of the whole batch, whichever worker computes them.
            drops = seed_from(task.seed, "drops", epoch, step)
            self.drops.begin(drops, self.positions[number], task.batch_size, worker.device)
            np.random.seed(seed_from(task.seed, "mix", epoch, step) % 2**32)  # noqa: NPY002
            is_last = number == task.accumulation - 1
            with self._no_exchange(is_last):
                with self._mixed_precision():
                    loss: Loss = self.parallel(images, labels)
                # Workers' gradients are averaged, and pieces may differ by an image.
                share = len(labels) * worker.world / task.batch_size
                self.scaler.scale(loss.total * share).backward()  # type: ignore[no-untyped-call]
            total += loss.total.detach().float() * share
            for name, term in loss.terms.items():
                terms[name] = terms.get(name, 0.0) + term.detach().float() * share
        self.scaler.unscale_(self.optimizer)
        if task.clip_grad is not None:
            nn.utils.clip_grad_norm_(self.objective.parameters(), task.clip_grad)
        self.scaler.step(self.optimizer)
        self.scaler.update()
        self.optimizer.zero_grad(set_to_none=True)
        if self.statistics and worker.world > 1:
            average_over_workers(self.statistics, worker.world)
        updates = epoch * task.steps + step + 1
        if self.ema is not None:
            self.ema.update(self.model, step=updates)
        self.sums.lr = self.optimizer.param_groups[0]["lr"]
        self.scheduler.step_update(updates)
        self._loss = total
        seconds = self._lap()
        self.sums.add(total, terms, waited, seconds)
        self._images += task.batch_size
        self._pace.add(self._macs(epoch), seconds)

    def _finish_epoch(self, epoch: int, evaluation: Loader) -> None:
        sums, task = self.sums, self.task
        loss = self._shared_loss(epoch) / max(sums.steps, 1)
        sums.seconds += self._lap()  # a GPU may have been steps behind
        started = perf_counter()
        terms = {name: value / max(sums.steps, 1) for name, value in self._shared_terms().items()}
        train_s = sums.seconds
        val_loss, val_top1 = self._evaluated(self.model, evaluation)
        ema_loss, ema_top1 = (None, None) if self.ema is None else self._evaluated(self.ema.module, evaluation)
        _, stride, dilation, macs = self._phase(epoch)
        row: Row = {
            "epoch": epoch,
            "lr": sums.lr,
            "train_loss": loss,
            **terms,
            "val_loss": val_loss,
            "val_top1": val_top1,
            "ema_val_loss": ema_loss,
            "ema_val_top1": ema_top1,
            "stride": stride,
            "dilation": dilation,
            "macs": macs,
            "images_per_s": task.steps * task.batch_size / train_s,
            "train_s": train_s,
            "data_wait_s": sums.waited,
            "eval_s": perf_counter() - started,
            "seconds": self._seconds_before + perf_counter() - self._started,
        }
        best = max((counted_top1(past) for past in self.history), default=-1.0)
        self.history.append(row)
        self.reached = (epoch + 1, 0)
        self.sums = _Sums()
        # The last one comes last, so that a kill between the two trains this epoch again.
        self._save(*([BEST] if counted_top1(row) > best else []), LAST)
        if self.worker.rank == 0:
            self.listener.on_epoch(row)
            self._progress_told = -math.inf
        self._tell(epoch + 1, 0)

    def _shared_loss(self, epoch: int) -> float:
        """The sum of the steps' losses, averaged over the workers.

        Raises:
            TrainingError: It is not finite, so neither are the weights.
        """
        loss = mean_over_workers(self.sums.loss, self.worker.world, self.worker.device)
        if not math.isfinite(loss):
            raise TrainingError(
                f"the loss is {loss} in epoch {epoch}: a lower lr than {self.task.optimizer['lr']:g}, clip_grad or "
                "more warmup_epochs may help"
            )
        return loss

    def _shared_terms(self) -> dict[str, float]:
        """The sums of the terms of the steps' losses, averaged over the workers."""
        return {
            name: mean_over_workers(value, self.worker.world, self.worker.device)
            for name, value in self.sums.terms.items()
        }

    @torch.no_grad()
    def _evaluated(self, model: nn.Module, evaluation: Loader) -> tuple[float, float]:
        """Mean cross-entropy and top-1 accuracy over all images."""
        model.eval()
        found = torch.zeros(3, dtype=torch.float64, device=self.worker.device)
        for images, labels in evaluation:
            with self._mixed_precision():
                logits = model(images.to(self.worker.device, non_blocking=True)).float()
            labels = labels.to(self.worker.device, non_blocking=True)
            found[0] += nn.functional.cross_entropy(logits, labels, reduction="sum")
            found[1] += (logits.argmax(1) == labels).sum()
            found[2] += len(labels)
        if self.worker.world > 1:
            dist.all_reduce(found)
        model.train()
        loss, right, n = found.tolist()
        return loss / n, right / n

    # -- checkpoints ---------------------------------------------------------------------------------------------

    def _restore(self) -> None:
        path = self.checkpoints / LAST
        if not path.exists():
            return
        state = read_checkpoint(path)
        if state["identity"] != self.task.identity:
            raise TrainingError(f"{path} is of another training than this one")
        check_weights(self.model, state["model"], str(path))
        self.model.load_state_dict(state["model"])
        if self.auxiliary is not None:
            self.auxiliary.load_state_dict(state["companion"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.scaler.load_state_dict(state["scaler"])
        if self.ema is not None:
            self.ema.module.load_state_dict(state["ema"])
        self.history = state["history"]
        self.first_epoch, self.first_step = state["epoch"], state["step"]
        self.sums = _Sums(**state["sums"])
        self.scheduler.step_update(self.first_epoch * self.task.steps + self.first_step)

    def _save_within(self, epoch: int) -> None:
        """Save in the middle of an epoch, with the loss of all workers; all of them come here after the same step."""
        self.sums.loss = self._shared_loss(epoch)
        self.sums.terms = dict(self._shared_terms())
        self._save(LAST)

    def _save(self, *names: str) -> None:
        self._saved = time()
        if self.worker.rank:
            return
        state: State = {
            "model": self.model.state_dict(),
            "ema": None if self.ema is None else self.ema.module.state_dict(),
            "companion": None if self.auxiliary is None else self.auxiliary.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "scaler": self.scaler.state_dict(),
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

    def _phase(self, epoch: int) -> tuple[int, int | None, int | None, int]:
        return [phase for phase in self.task.phases if phase[0] <= epoch][-1]

    def _macs(self, epoch: int) -> int:
        return self._phase(epoch)[3]

    def _mixed_precision(self) -> AbstractContextManager[Any]:
        if self.task.precision == "float32":
            return nullcontext()
        return torch.autocast(self.worker.device.type, dtype=getattr(torch, self.task.precision))

    def _no_exchange(self, is_last: bool) -> AbstractContextManager[Any]:
        """Gradients are exchanged with the last pass of a step only."""
        if self.worker.world == 1 or is_last:
            return nullcontext()
        context: AbstractContextManager[Any] = self.parallel.no_sync()  # type: ignore[operator]
        return context


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


def _built(task: TrainingTask) -> nn.Module:
    seed_generators(task.seed, "weights")
    model = task.builder(task.architecture, **task.settings)
    if task.weights is not None:
        weights = read_weights(Path(task.weights))
        check_weights(model, weights, task.weights)
        model.load_state_dict(weights)
    return model
