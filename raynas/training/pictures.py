"""Pictures of what a training has learned, drawn at the end of some epochs; PNG files in its folder.

A name is NAME-EPOCH.png, with the number of the epoch from 1.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch

from raynas.data.dataset import ImageDataset
from raynas.data.png import png_of
from raynas.errors import StoreError, error_words
from raynas.stats.thinning import spread
from raynas.storage.files import make_folder, write_atomically
from raynas.training.folder import PICTURES
from raynas.training.images import eval_loader
from raynas.training.step import StepRunner

_IMAGES = 8
_EPOCHS = 10


def is_drawn(epoch: int, epochs: int) -> bool:
    """Whether pictures are drawn at the end of an epoch: of ten at most, the first and the last among them.

    Args:
        epoch: The number of the epoch, from 0.
        epochs: How many epochs there are.
    """
    return epoch in spread(np.arange(epochs), _EPOCHS)


@torch.no_grad()
def draw_pictures(runner: StepRunner, dataset: ImageDataset, folder: Path, epoch: int) -> None:
    """Draw what the objective shows of a few images to evaluate on, where it shows anything.

    Args:
        runner: The runner with the objective.
        dataset: The images to evaluate on.
        folder: The folder of the training.
        epoch: The number of the epoch that has ended, from 0.

    Raises:
        StoreError: A picture cannot be written.
    """
    objective, task = runner.objective, runner.task
    if not objective.draws_pictures:
        return
    rows = spread(task.val_rows, _IMAGES)
    views = objective.eval_views(task.img_size, task.eval_crop)
    settings = {"needs_labels": False, "processes": 0, "pin_memory": False}
    (batch,) = eval_loader(dataset, rows, views, batch_size=len(rows), worker=(0, 1), **settings)  # type: ignore[arg-type]
    network = runner.networks[-1]
    was_training = network.training
    objective.eval()
    network.eval()
    with runner.mixed_precision():
        pictures = objective.pictures(network, batch.to(runner.worker.device))
    objective.train()
    network.train(was_training)
    _write(folder / PICTURES, pictures, epoch)


def _write(folder: Path, pictures: Mapping[str, np.ndarray], epoch: int) -> None:
    try:
        make_folder(folder)
        for name, pixels in pictures.items():
            with write_atomically(folder / f"{name}-{epoch + 1}.png", is_durable=False) as file:
                file.write(png_of(pixels))
    except OSError as error:
        raise StoreError(f"cannot write {folder}: {error_words(error)}") from error
