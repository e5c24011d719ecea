"""What a training is given and what it reports: its task, the rank of a worker, its progress, and who listens."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import nn

from raynas.data.options import DataOptions
from raynas.space.architecture import Architecture
from raynas.training.objectives.objective import Objective

Row = dict[str, Any]
"""What is known of a finished epoch; the columns of metrics.parquet."""


@dataclass(frozen=True)
class TrainingTask:
    """All that a worker needs, in values that travel.

    Args:
        builder: Makes the model from an architecture and keywords.
        architecture: What is trained.
        settings: Keywords with which the model is built.
        objective: Makes the objective of the model on its device.
        data: The text by which `open_dataset` opens the images to train on.
        val_data: The text by which it opens the images to evaluate on; None: they are some of the others.
        data_options: How images are read, and which are left out.
        skipped_val_images: Names of images to evaluate on that are left out.
        rows: Indices of the images to train on in their data set.
        first_rows: The indices that they had when the training began: their variations follow from these.
        val_rows: Indices of the images to evaluate on in theirs.
        img_size: Image side in pixels.
        eval_crop: `TrainConfig.eval_crop`.
        augmentation: What `TrainConfig.augmentation` returns.
        epochs: How many times the images are gone through.
        batch_size: How many images a step has over all workers.
        accumulation: Number of passes into which a worker divides its part of a step.
        optimizer: Keywords of `make_optimizer`.
        schedule: Keywords of timm's create_scheduler_v2.
        layer_decay: `TrainConfig.layer_decay`.
        initialise: Draws weights as the objective has them drawn, where the training starts from none.
        clip_grad: Largest norm of the gradient; None: it is not clipped.
        ema_decay: Decay of the moving average of the weights; 0 keeps none.
        precision: "float32", "bfloat16" or "float16".
        weights: File of weights to start from; None: they are drawn from the seed.
        weights_policy: What of that file is loaded, one of `starting_weights.POLICIES`.
        kept_blocks: How many of its first blocks are loaded; None: all.
        seed: What weights, orders, variations, mixtures and drops follow from.
        identity: A text that a checkpoint must share.
        checkpoint_every_s: Seconds between checkpoints, beside the one at the end of every epoch.
        phases: (first epoch, stride, dilation, MACs of an image); one entry without stride where nothing changes.
        threads: Threads of torch in a worker; None: as many as it has.
        loader_processes: How many processes prepare images for each worker.
    """

    builder: Callable[..., nn.Module]
    architecture: Architecture
    settings: Mapping[str, Any]
    objective: Callable[[nn.Module], Objective]
    data: str
    val_data: str | None
    data_options: DataOptions
    skipped_val_images: tuple[str, ...]
    rows: np.ndarray
    first_rows: np.ndarray
    val_rows: np.ndarray
    img_size: int
    eval_crop: float
    augmentation: Mapping[str, Any]
    epochs: int
    batch_size: int
    accumulation: int
    optimizer: Mapping[str, Any]
    schedule: Mapping[str, Any]
    layer_decay: float
    initialise: Callable[[nn.Module], None]
    clip_grad: float | None
    ema_decay: float
    precision: str
    weights: str | None
    weights_policy: str
    kept_blocks: int | None
    seed: int
    identity: str
    checkpoint_every_s: float
    phases: tuple[tuple[int, int | None, int | None, int], ...]
    threads: int | None
    loader_processes: int

    @property
    def steps(self) -> int:
        """How many steps an epoch has."""
        return len(self.rows) // self.batch_size

    def phase(self, epoch: int) -> tuple[int, int | None, int | None, int]:
        """The entry of `phases` that an epoch belongs to."""
        return [phase for phase in self.phases if phase[0] <= epoch][-1]


@dataclass(frozen=True)
class WorkerRank:
    """Which of the workers one is.

    Args:
        rank: The number of the worker, from 0.
        world: How many workers there are; more than one are joined by torch.distributed.
        device: The device on which the worker computes.
    """

    rank: int = 0
    world: int = 1
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))


@dataclass(frozen=True)
class TrainingProgress:
    """How far a training is.

    Args:
        epoch: How many epochs are finished.
        step: How many steps of the epoch under way are done.
        epochs: How many epochs there are.
        steps: How many steps an epoch has.
        images_per_s: Images trained on in a second since the start of this session.
        loss: The loss of a late step; NaN before the first.
        left_s: Estimated seconds left; NaN before the first step.
        history: A row for each finished epoch.
    """

    epoch: int
    step: int
    epochs: int
    steps: int
    images_per_s: float
    loss: float
    left_s: float
    history: list[Row]


class WorkerListener:
    """Receives the progress of a training on its first worker, and may stop it; the base class does neither."""

    def on_progress(self, progress: TrainingProgress) -> None:
        """Some steps were done."""

    def on_epoch(self, row: Row) -> None:
        """An epoch was finished, and its checkpoint written."""

    def is_stopped(self) -> bool:
        """Whether to stop after this step, with a checkpoint."""
        return False
