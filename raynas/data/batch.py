"""The batch of images that proxies see, and what tells it from others. B images, S their side in pixels."""

from __future__ import annotations

from hashlib import blake2b
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from raynas.data.built_in import RandomImages
from raynas.data.dataset import ImageDataset
from raynas.errors import ConfigError, DataError
from raynas.models.normalisation import IMAGENET_MEAN, IMAGENET_STD
from raynas.wording import memory_size

if TYPE_CHECKING:
    from PIL import Image


class Batch(NamedTuple):
    """Inputs of a score."""

    images: np.ndarray  # float32 (B, 3, S, S)
    labels: np.ndarray  # int64 (B,)


def check_memory(images: int, img_size: int, settings: str, *, is_here: bool = True) -> None:
    """Refuse images that can never be in memory at the same time, before any is read.

    Args:
        images: How many there are at the same time, float32 (3, img_size, img_size) each.
        img_size: Side of the images in pixels.
        settings: The settings that they are as many and as large by, for the message.
        is_here: Whether this machine holds them; others have a tebibyte at most.

    Raises:
        ConfigError: They take more memory than there is.
    """
    import psutil

    needed = images * 3 * img_size**2 * np.dtype(np.float32).itemsize
    most = psutil.virtual_memory().total if is_here else 2**40
    if needed > most:
        raise ConfigError(
            f"{images:,} images of {img_size:,} pixels a side take {memory_size(needed)} of memory, and "
            f"{'this machine has' if is_here else 'at most there are'} {memory_size(most)}: {settings} must be smaller"
        )


def load_batch(
    dataset: ImageDataset, *, batch_size: int, img_size: int, seed: int, rows: np.ndarray | None = None
) -> Batch:
    """Draw rows without replacement and prepare them: bicubic to the image side, ImageNet mean and std.

    Random data are drawn directly: N(0, 1) pixels and uniform labels.

    Args:
        dataset: Labelled images.
        batch_size: Number of images to draw.
        img_size: Side in pixels to which they are resized.
        seed: Seed that all draws follow from.
        rows: (batch_size,) rows to take instead of drawing them.

    Returns:
        images float32 (batch_size, 3, img_size, img_size) and labels int64 (batch_size,).

    Raises:
        DataError: The data set has fewer rows, or an image cannot be read.
    """
    if batch_size < 1 or img_size < 1:
        raise DataError(
            f"a batch has at least one image of one pixel, not batch_size={batch_size}, img_size={img_size}"
        )
    if isinstance(dataset, RandomImages):
        rng = np.random.default_rng(seed)
        pixels = rng.standard_normal((batch_size, 3, img_size, img_size), dtype=np.float32)
        return Batch(pixels, rng.integers(0, dataset.num_classes, size=batch_size))
    rows = batch_rows(dataset, batch_size=batch_size, seed=seed) if rows is None else rows
    images, labels = dataset.read(rows.tolist())
    return Batch(np.stack([normalised(image, img_size) for image in images]), labels)


def batch_rows(dataset: ImageDataset, *, batch_size: int, seed: int) -> np.ndarray:
    """The rows (batch_size,) of a batch, int64, drawn without replacement.

    Args:
        dataset: Labelled images, other than random ones.
        batch_size: Number of images to draw.
        seed: Seed that the draw follows from.

    Raises:
        DataError: The data set has fewer rows.
    """
    if batch_size > len(dataset):
        raise DataError(
            f"data {dataset.source!r}: a batch of {batch_size} from {len(dataset)} images; --batch-size is at most that"
        )
    return np.random.default_rng(seed).choice(len(dataset), size=batch_size, replace=False)


def normalised(image: Image.Image, img_size: int) -> np.ndarray:
    """An RGB image as float32 (3, img_size, img_size): squeezed to a square (bicubic), ImageNet mean and std."""
    from PIL import Image

    pixels = np.asarray(image.resize((img_size, img_size), Image.Resampling.BICUBIC), dtype=np.float32) / 255
    scaled = (pixels - np.array(IMAGENET_MEAN, np.float32)) / np.array(IMAGENET_STD, np.float32)
    return np.ascontiguousarray(scaled.transpose(2, 0, 1))


def input_hash(images: np.ndarray, labels: np.ndarray) -> str:
    """32 hexadecimal digits that identify the values, types and shapes of a batch, wherever it came from."""
    digest = blake2b(digest_size=16)
    for array in (np.asarray(images), np.asarray(labels)):
        array = array.astype(array.dtype.newbyteorder("<"), copy=False)
        digest.update(f"{array.dtype.str}{array.shape}".encode())
        digest.update(np.ascontiguousarray(array).data)
    return digest.hexdigest()
