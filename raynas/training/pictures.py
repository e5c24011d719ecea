"""Pictures of what a training has learned, drawn at the end of some epochs; PNG files in its folder.

A name is NAME-EPOCH.png, with the number of the epoch from 1.
"""

from __future__ import annotations

import io
import re
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch

from raynas.data.dataset import ImageDataset
from raynas.errors import StoreError, error_words
from raynas.stats.thinning import spread
from raynas.storage.files import is_folder, make_folder, names_in, read_bytes, write_atomically
from raynas.training.images import eval_loader
from raynas.training.step import StepRunner

FOLDER = "pictures"

_IMAGES = 8
_EPOCHS = 10
_NAME = re.compile(r"([a-z][a-z0-9_]{0,60})-(\d{1,9})\.png")


class Drawn(NamedTuple):
    """A picture in the folder of a training.

    Args:
        name: What it shows.
        epoch: After how many epochs.
        content: The PNG file.
    """

    name: str
    epoch: int
    content: bytes


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
    _write(folder / FOLDER, pictures, epoch)


def _write(folder: Path, pictures: Mapping[str, np.ndarray], epoch: int) -> None:
    from PIL import Image

    try:
        make_folder(folder)
        for name, pixels in pictures.items():
            buffer = io.BytesIO()
            Image.fromarray(pixels).save(buffer, "PNG")
            with write_atomically(folder / f"{name}-{epoch + 1}.png", is_durable=False) as file:
                file.write(buffer.getvalue())
    except OSError as error:
        raise StoreError(f"cannot write {folder}: {error_words(error)}") from error


def drawn_pictures(folder: Path) -> list[Drawn]:
    """The pictures in the folder of a training, by name and epoch; other files are passed over.

    Args:
        folder: The folder of the training.
    """
    there = folder / FOLDER
    matches = filter(None, map(_NAME.fullmatch, names_in(there) if is_folder(there) else []))
    return sorted(Drawn(match[1], int(match[2]), read_bytes(there / match[0])) for match in matches)
