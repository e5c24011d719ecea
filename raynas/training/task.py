"""What a training is told and what it tells: its task, a worker's worker, its progress, and who hears of it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import nn

from raynas.space.architecture import Architecture
from raynas.training.objectives.recipe import Recipe

Row = dict[str, Any]
"""What is known of a finished epoch; the columns of metrics.parquet."""


@dataclass(frozen=True)
class TrainingTask:
    """All that a worker needs, in values that travel.

    Args:
        builder, architecture, settings: Of the model.
        recipe: Makes the recipe.
        data, val_data: What `open_dataset` reads.
        rows, val_rows: Of either.
        img_size: Image side in pixels.
        augmentation: As from `TrainConfig.augmentation`.
        epochs, batch_size, accumulation: Batch sizes are over all workers; accumulation divides a worker's part.
        optimizer: Keywords of timm's create_optimizer_v2.
        schedule: Keywords of timm's create_scheduler_v2.
        clip_grad: Largest norm of the gradient; None: not clipped.
        ema_decay: 0 keeps no moving average.
        precision: "float32", "bfloat16" or "float16".
        weights: File to start from; None: drawn from the seed.
        seed: Of weights, orders, variations and drops.
        identity: A text that a checkpoint must share.
        checkpoint_every_s: Beside the one at the end of every epoch.
        phases: (first epoch, stride, dilation, MACs of an image); one entry without stride where nothing changes.
        threads: Of torch in a worker; None: as they are.
        loader_processes: That prepare images, for each worker.
    """

    builder: Callable[..., nn.Module]
    architecture: Architecture
    settings: Mapping[str, Any]
    recipe: Callable[[], Recipe]
    data: str
    val_data: str
    rows: np.ndarray
    val_rows: np.ndarray
    img_size: int
    augmentation: Mapping[str, Any]
    epochs: int
    batch_size: int
    accumulation: int
    optimizer: Mapping[str, Any]
    schedule: Mapping[str, Any]
    clip_grad: float | None
    ema_decay: float
    precision: str
    weights: str | None
    seed: int
    identity: str
    checkpoint_every_s: float
    phases: tuple[tuple[int, int | None, int | None, int], ...]
    threads: int | None
    loader_processes: int

    @property
    def steps(self) -> int:
        """Of an epoch."""
        return len(self.rows) // self.batch_size


@dataclass(frozen=True)
class WorkerRank:
    """Where a worker stands.

    Args:
        rank, world: Its number, and how many there are; more than one are joined by torch.distributed.
        device: Where it computes.
    """

    rank: int = 0
    world: int = 1
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))


@dataclass(frozen=True)
class TrainingProgress:
    """How far a training is.

    Args:
        epoch, step: Finished epochs, and steps of the one under way.
        epochs, steps: How many there are.
        images_per_s: Since the start of this session.
        loss: Of a late step; NaN before the first.
        left_s: Estimated time left; NaN before the first step.
        history: Finished epochs.
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
    """Hears of a training on its first worker, and may stop it; the base class does neither."""

    def on_progress(self, progress: TrainingProgress) -> None:
        """Some steps were done."""

    def on_epoch(self, row: Row) -> None:
        """An epoch was finished, and its checkpoint written."""

    def is_stopped(self) -> bool:
        """Whether to stop after this step, with a checkpoint."""
        return False
