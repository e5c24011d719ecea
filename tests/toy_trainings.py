"""Small trainings, for tests of several files."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from PIL import Image

from raynas.training.checkpoints import LAST, checkpoint_folder, read_checkpoint
from raynas.training.config import TrainConfig
from raynas.training.image_record import ImageRecord
from raynas.training.plan import TrainingPlan, make_training_plan
from raynas.training.run import TrainingListener, execute_training
from raynas.training.task import TrainingProgress

SMALL = "4,2,2|2,1,2|2,1,2|2,1,2|8,8"
"""An As-ViT of 30,000 parameters."""


def plan(*, record: ImageRecord | None = None, **settings: Any) -> TrainingPlan:
    chosen: dict[str, Any] = {
        "space": "as-vit",
        "architecture": SMALL,
        "img_size": 32,
        "data": "digits",
        "max_images": 220,
        "epochs": 2,
        "batch_size": 32,
        "augment": "light",
        "lr": 1e-3,
        "threads": 1,
        "loader_processes": 0,
        "loggers": [],
    }
    return make_training_plan(TrainConfig.make({**chosen, **settings}), record=record)


def with_broken_image(path: Path, *, row: int | None, rows: int = 220) -> str:
    """A table of noise in two classes, in which one image is cut off, or none."""
    rng = np.random.default_rng(0)
    images = []
    for _ in range(rows):
        buffer = io.BytesIO()
        Image.fromarray(rng.integers(0, 256, (8, 8, 3), dtype=np.uint8)).save(buffer, "PNG")
        images.append(buffer.getvalue())
    if row is not None:
        images[row] = images[row][:40]
    pq.write_table(pa.table({"image": images, "label": pa.array([0, 1] * (rows // 2))}), path)
    return f"parquet:{path}"


def trained(folder: Path, **settings: Any) -> dict[str, torch.Tensor]:
    """Weights after a training, or its continuation."""
    execute_training(plan(**settings), folder, resume=True)
    return weights(folder)


def weights(folder: Path) -> dict[str, torch.Tensor]:
    """Of the last checkpoint."""
    found: dict[str, torch.Tensor] = read_checkpoint(checkpoint_folder(folder) / LAST)["model"]
    return found


def largest_difference(first: dict[str, torch.Tensor], second: dict[str, torch.Tensor]) -> float:
    assert first.keys() == second.keys()
    return max(float((first[name] - second[name]).abs().max()) for name in first)


class StepCounter(TrainingListener):
    """Asks to stop after some steps, and keeps what it hears."""

    def __init__(self, stop_after: int | None = None) -> None:
        self.stop_after = stop_after
        self.asked = 0
        self.epochs: list[dict[str, Any]] = []
        self.progress: list[TrainingProgress] = []
        self.lines: list[str] = []

    def is_stopped(self) -> bool:
        self.asked += 1
        return self.asked == self.stop_after

    def on_epoch(self, row: dict[str, Any]) -> None:
        self.epochs.append(row)

    def on_progress(self, progress: TrainingProgress) -> None:
        self.progress.append(progress)

    def on_log(self, line: str) -> None:
        self.lines.append(line)
