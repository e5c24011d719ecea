"""What benchmarks of training share: a short training of an As-ViT in this process."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from raynas.training.config import TrainConfig
from raynas.training.folder import load_training
from raynas.training.plan import TrainingPlan, make_training_plan
from raynas.training.run import TrainingListener, execute_training
from raynas.training.task import Row


def as_vit_plan(
    *, architecture: str, data: str, img_size: int, images: int, epochs: int, batch_size: int, **settings: Any
) -> TrainingPlan:
    """A training with light augmentation unless the settings, fields of TrainConfig, say otherwise."""
    chosen = {
        "space": "as-vit",
        "architecture": architecture,
        "data": data,
        "img_size": img_size,
        "max_images": images,
        "epochs": epochs,
        "batch_size": batch_size,
        "augment": "light",
        "workers": 0,
        "loggers": [],
    }
    return make_training_plan(TrainConfig.make({**chosen, **settings}))


def rows_of(plan: TrainingPlan, folder: Path, listener: TrainingListener | None = None) -> list[Row]:
    """Train in a folder, and return a row for each epoch."""
    execute_training(plan, folder, listener=listener)
    rows: list[Row] = load_training(folder).metrics.to_pylist()
    return rows
