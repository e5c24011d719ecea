"""One step of a training: passes, exchange of gradients, update, moving average; with all the state that this needs.

Letters: B images of a step over all workers.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, nullcontext
from time import perf_counter
from typing import Any, NamedTuple

import torch
from torch import nn

from raynas.errors import ConfigError
from raynas.models.batch_norm import layers_with_batch_statistics, share_statistics
from raynas.models.process_state import seed_generators
from raynas.models.step_draws import StepContext, share_draws
from raynas.space.build import built
from raynas.space.tokens import retokenizable
from raynas.training.batch import Batch
from raynas.training.checkpoints import CheckpointState, check_weights
from raynas.training.data_parallel import average_over_workers, averaged_buffers, data_parallel
from raynas.training.images import positions_of_worker
from raynas.training.objectives.objective import Loss, Objective, ParameterRule, exported_part
from raynas.training.optimizers import layer_scales, make_optimizer, reorder_units, unscaled_lr
from raynas.training.starting_weights import load_starting_weights
from raynas.training.task import TrainingTask, WorkerRank


class StepResult(NamedTuple):
    """What a step came to on one worker.

    Args:
        loss: The worker's part of the loss of the step, times the number of workers.
        terms: The worker's part of each term of the loss by name, likewise.
        lr: The learning rate of the schedule.
        waited: Seconds of waiting for images.
    """

    loss: torch.Tensor
    terms: Mapping[str, torch.Tensor]
    lr: float
    waited: float


class StepRunner:
    """All that steps change: the objective with its model, the optimizer, the schedule and the moving average.

    `share` is called once before the first step, when what a checkpoint holds has been loaded.

    Args:
        task: What to train.
        worker: Which of the workers this is.

    Raises:
        ConfigError: The step cannot be divided into passes or over workers.
        RaynasError: Weights to start from cannot be used.
    """

    def __init__(self, task: TrainingTask, worker: WorkerRank) -> None:
        from timm.scheduler import create_scheduler_v2
        from timm.utils import ModelEmaV3

        self.task, self.worker = task, worker
        self.positions = tuple(positions_of_worker(task.batch_size, worker.rank, worker.world, task.accumulation))
        model = _built(task).to(worker.device)
        seed_generators(task.seed, "companion")
        self.objective = task.objective(model)
        self.exported_name = exported_part(self.objective)
        self.model: nn.Module = getattr(self.objective, self.exported_name)
        for name, part in self.objective.parts().items():
            if not part.is_optimized:
                getattr(self.objective, name).requires_grad_(False)
        check_passes(self.objective, task.accumulation)
        self.draws = share_draws(self.objective)
        self.draws.record_branches(self.model, task.img_size)
        self.optimizer = make_optimizer(self.objective, rule=self._rule(), **task.optimizer)
        self.scheduler, _ = create_scheduler_v2(
            self.optimizer,
            # Where the fall begins after the warm-up, timm counts its epochs without it.
            num_epochs=task.epochs - (task.schedule["warmup_epochs"] if task.schedule.get("warmup_prefix") else 0),
            step_on_epochs=False,
            updates_per_epoch=task.steps,
            **task.schedule,
        )
        self.ema = ModelEmaV3(self.model, decay=task.ema_decay, use_warmup=True) if task.ema_decay else None
        self.scaler = torch.amp.GradScaler(worker.device.type, enabled=task.precision == "float16")
        self._parallel: nn.Module = self.objective

    def _rule(self) -> Callable[[str, nn.Parameter], ParameterRule]:
        """How parameters are treated: as the objective says, with the learning rate of a block by its depth."""
        scales = layer_scales(self.model, self.task.layer_decay)
        prefix = f"{self.exported_name}."

        def rule(name: str, parameter: nn.Parameter) -> ParameterRule:
            own = self.objective.parameter_rule(name, parameter)
            scale = scales.get(name.removeprefix(prefix), 1.0) if name.startswith(prefix) else 1.0
            return own._replace(lr_scale=own.lr_scale * scale)

        return rule

    @property
    def networks(self) -> list[nn.Module]:
        """The exported part, and its moving average where there is one."""
        return [self.model, *([] if self.ema is None else [self.ema.module])]

    def share(self) -> None:
        """Join with the other workers, which get the weights of the first one.

        Raises:
            ConfigError: A layer has statistics of images that cannot be those of all workers.
        """
        if self.worker.world > 1:
            try:
                for module in _learning(self.objective).values():
                    share_statistics(module)
            except ValueError as error:
                raise ConfigError(f"the model cannot be trained by several workers: {error}") from None
        self._parallel = data_parallel(self.objective, self.worker.world, self.worker.device)

    def start_epoch(self, epoch: int, *, is_new: bool) -> None:
        """Get ready for an epoch.

        Args:
            epoch: The number of the epoch, from 0.
            is_new: Whether no step of it is done yet; only then do units change their places.
        """
        _, stride, dilation, _ = self.task.phase(epoch)
        if stride is not None and dilation is not None:
            for network in self.networks:
                retokenizable(network, type(network).__name__).retokenize(stride, dilation)
        if is_new and (orders := self.objective.unit_orders(epoch)):
            averages = {} if self.ema is None else {self.exported_name: self.ema.module}
            reorder_units(self.objective, self.optimizer, orders, averages)
        self.objective.train()

    def run(self, epoch: int, step: int, stream: Iterator[Batch]) -> StepResult:
        """Do a step.

        Args:
            epoch: The number of the epoch, from 0.
            step: The number of the step in it, from 0.
            stream: The batches of this worker's passes, in order.
        """
        task, worker = self.task, self.worker
        number = epoch * task.steps + step
        context = StepContext(task.seed, epoch, step, number, task.epochs * task.steps, task.batch_size, self.positions)
        self.objective.start_step(context)
        self.draws.begin_step(context, worker.device)
        total = torch.zeros((), device=worker.device)
        terms: dict[str, Any] = {}
        waited = 0.0
        for index, positions in enumerate(self.positions):
            before = perf_counter()
            batch = next(stream).to(worker.device)
            waited += perf_counter() - before
            # For what a model of one's own draws from the process; our own layers draw by places of images.
            seed_generators(task.seed, "step", epoch, step, 0, int(positions[0]))
            self.draws.begin_pass(batch.positions)
            with self._no_exchange(is_last=index == task.accumulation - 1):
                with self.mixed_precision():
                    loss: Loss = self._parallel(batch)
                # Workers' gradients are averaged, and passes may differ by an image.
                share = len(batch) * worker.world / task.batch_size
                self.scaler.scale(loss.total * share).backward()  # type: ignore[no-untyped-call]
            total += loss.total.detach().float() * share
            if tuple(loss.terms) != self.objective.columns:
                kind = type(self.objective).__name__
                raise TypeError(f"the loss of {kind} has the terms {(*loss.terms,)}, and not {self.objective.columns}")
            for name, term in loss.terms.items():
                terms[name] = terms.get(name, 0.0) + term.detach().float() * share
        lr = unscaled_lr(self.optimizer)
        self._update(number + 1)
        return StepResult(total, terms, lr, waited)

    def _update(self, updates: int) -> None:
        if self.objective.fills_gradients:
            for parameter in self.objective.parameters():
                if parameter.requires_grad and parameter.grad is None:
                    parameter.grad = torch.zeros_like(parameter)
        self.scaler.unscale_(self.optimizer)
        if self.task.clip_grad is not None:
            nn.utils.clip_grad_norm_(self.objective.parameters(), self.task.clip_grad)
        self.scaler.step(self.optimizer)
        self.scaler.update()
        self.optimizer.zero_grad(set_to_none=True)
        if self.worker.world > 1 and (buffers := averaged_buffers(self.objective)):
            average_over_workers(buffers, self.worker.world)
        if self.ema is not None:
            self.ema.update(self.model, step=updates)
        self.scheduler.step_update(updates)

    def mixed_precision(self) -> AbstractContextManager[Any]:
        """A context within which the model computes in the precision of the task."""
        if self.task.precision == "float32":
            return nullcontext()
        return torch.autocast(self.worker.device.type, dtype=getattr(torch, self.task.precision))

    def _no_exchange(self, *, is_last: bool) -> AbstractContextManager[Any]:
        """A context of a pass: gradients are exchanged with the last pass of a step only."""
        if self.worker.world == 1 or is_last:
            return nullcontext()
        context: AbstractContextManager[Any] = self._parallel.no_sync()  # type: ignore[operator]
        return context

    # -- checkpoints ---------------------------------------------------------------------------------------------

    def state(self) -> CheckpointState:
        """What a checkpoint holds of all that steps change."""
        return {
            "model": self.model.state_dict(),
            "ema": None if self.ema is None else self.ema.module.state_dict(),
            "parts": {name: part.state_dict() for name, part in self._stored().items()},
            "optimizer": self.optimizer.state_dict(),
            "scaler": self.scaler.state_dict(),
        }

    def load(self, state: CheckpointState, updates: int, where: str) -> None:
        """Go on from a checkpoint.

        Args:
            state: What `state` returned.
            updates: How many steps were done before.
            where: The file of the checkpoint, for messages.

        Raises:
            StoreError: It holds the weights of another architecture.
        """
        check_weights(self.model, state["model"], where)
        self.model.load_state_dict(state["model"])
        for name, part in self._stored().items():
            check_weights(part, state["parts"].get(name, {}), f"{name} in {where}")
            part.load_state_dict(state["parts"][name])
        self.optimizer.load_state_dict(state["optimizer"])
        self.scaler.load_state_dict(state["scaler"])
        if self.ema is not None:
            self.ema.module.load_state_dict(state["ema"])
        self.scheduler.step_update(updates)

    def _stored(self) -> dict[str, nn.Module]:
        """The parts beside the exported one that checkpoints hold."""
        found = {name: getattr(self.objective, name) for name, part in self.objective.parts().items() if part.is_stored}
        return {name: part for name, part in found.items() if name != self.exported_name and part.state_dict()}


def check_passes(objective: Objective, passes: int) -> None:
    """Refuse to divide a step whose images are computed with a look at one another.

    Statistics over all passes would need all of them in memory at once, which passes are there to avoid.

    Args:
        objective: The objective with its model.
        passes: Number of parts into which a worker divides its images of a step.

    Raises:
        ConfigError: Something looks at all images; the message names it.
    """
    if passes == 1:
        return
    layers = [
        f"{part}.{name}"
        for part, module in _learning(objective).items()
        for name in layers_with_batch_statistics(module)
    ]
    if layers or objective.couples_images:
        compares = f"the objective {objective.name} compares"
        reason = compares if objective.couples_images else f"layer {layers[0]} normalises by"
        raise ConfigError(
            f"accumulation is {passes}, but {reason} the images of a whole step: accumulation must be 1 here; "
            "a smaller batch_size takes less memory"
        )


def _learning(objective: Objective) -> dict[str, nn.Module]:
    """The parts that change in training."""
    parts = objective.parts().items()
    return {name: getattr(objective, name) for name, part in parts if part.is_optimized or part.is_stored}


def _built(task: TrainingTask) -> nn.Module:
    seed_generators(task.seed, "weights")
    model = built(task.builder, task.architecture, **task.settings)
    if task.weights is not None:
        load_starting_weights(model, task.weights, task.weights_policy, kept_blocks=task.kept_blocks)
    else:
        task.initialise(model)
    return model
