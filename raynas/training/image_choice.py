"""Which images a training sees, and what is checked of them before it starts."""

from __future__ import annotations

from hashlib import blake2b
from pathlib import Path

import numpy as np

from raynas.data.dataset import ImageDataset
from raynas.errors import ConfigError
from raynas.seeds import seed_from
from raynas.training.config import TrainConfig

_RANDOM_IMAGES = 10_000
_HASHED_IMAGES = 16  # of either set: enough for another set, cheap with files of millions
_WITH_PATH = ("parquet", "folder")


def chosen_rows(config: TrainConfig, data: ImageDataset, val_data: ImageDataset) -> tuple[np.ndarray, np.ndarray]:
    """Indices of the images to train on and to evaluate on, in their data sets."""
    most = config.max_images or (_RANDOM_IMAGES if data.source == "random" else len(data))
    rows = np.arange(min(most, len(data)))
    if config.val_data is not None:
        return rows, np.arange(min(config.max_val_images or len(val_data), len(val_data)))
    order = np.random.default_rng(seed_from(config.seed, "split")).permutation(rows)
    held_out = min(max(1, round(config.val_fraction * len(rows))), config.max_val_images or len(rows))
    return np.sort(order[held_out:]), np.sort(order[:held_out])


def data_hash(*parts: tuple[ImageDataset, np.ndarray, np.ndarray]) -> str:
    """A hash of the labels of all rows, and of the pixels of rows that are evenly spaced among them."""
    digest = blake2b(digest_size=8)
    for dataset, rows, labels in parts:
        digest.update(labels.astype("<i8").tobytes())
        some = rows[np.linspace(0, len(rows) - 1, min(_HASHED_IMAGES, len(rows)), dtype=int)]
        for image in dataset.read(some.tolist())[0]:
            digest.update(f"{image.size}".encode())
            digest.update(image.tobytes())
    return digest.hexdigest()


def checked_classes(
    config: TrainConfig, data: ImageDataset, val_data: ImageDataset, labels: np.ndarray, val_labels: np.ndarray
) -> int:
    """The number of classes; refuses data whose classes do not fit together, or the head.

    Args:
        config: What was asked for.
        data: The images to train on.
        val_data: The images to evaluate on.
        labels: Labels of the images that are trained on.
        val_labels: Labels of the images that are evaluated on.

    Raises:
        ConfigError: There is one class only, or classes do not fit together or the head; the message names the data.
    """
    if len(np.unique(labels)) < 2:
        raise ConfigError(
            f"data {config.data!r}: the {len(labels)} images to train on are all of one class; at least 2 are needed"
        )
    if config.num_classes is not None and config.num_classes != data.num_classes:
        raise ConfigError(
            f"num_classes is {config.num_classes}, but data {config.data!r} has {data.num_classes} classes: the head "
            "has an output for each"
        )
    if int(val_labels.max()) >= data.num_classes:
        raise ConfigError(
            f"data {config.val_data!r} has the class {int(val_labels.max())}, but {config.data!r} has only "
            f"{data.num_classes} classes"
        )
    if data.label_names and val_data.label_names and data.label_names != val_data.label_names:
        raise ConfigError(
            f"the classes of {config.val_data!r} ({', '.join(val_data.label_names[:5])}, ...) are not those of "
            f"{config.data!r} ({', '.join(data.label_names[:5])}, ...)"
        )
    return data.num_classes


def absolute(spec: str) -> str:
    """The text of a data set with an absolute path, since workers start in other folders."""
    kind, _, where = spec.strip().partition(":")
    if kind in _WITH_PATH:
        return f"{kind}:{Path(where).absolute()}"
    if kind == "torchvision":
        name, _, root = where.partition(":")
        return f"{kind}:{name}:{Path(root).absolute()}"
    return spec
