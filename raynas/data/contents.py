"""Which images of one set are in another, by content: whatever their names, folders and formats of storage."""

from __future__ import annotations

from collections.abc import Iterator
from hashlib import blake2b

import numpy as np

from raynas.data.dataset import ImageDataset
from raynas.data.encoded import EncodedImages
from raynas.errors import DataError, error_words

_AT_A_TIME = 256


def contained(dataset: ImageDataset, rows: np.ndarray, others: ImageDataset, other_rows: np.ndarray) -> np.ndarray:
    """Which of some images are also among others.

    Images that are encoded in both sets are the same if their files are, byte by byte; others if their pixels are.

    Args:
        dataset: The set of the images.
        rows: (N,) their rows, ascending.
        others: The set of the others, which may be the same one.
        other_rows: (M,) their rows, ascending.

    Returns:
        (N,) bool.

    Raises:
        DataError: An image cannot be read.
    """
    if isinstance(dataset, EncodedImages) and isinstance(others, EncodedImages):
        sizes = dataset.sizes(rows)
        # Of another size, a file has another content, and need not be read.
        candidates = other_rows[np.isin(others.sizes(other_rows), sizes)]
        found = set(_of_files(others, candidates))
        return np.array([digest in found for digest in _of_files(dataset, rows)], dtype=bool)
    found = set(_of_pixels(others, other_rows))
    return np.array([digest in found for digest in _of_pixels(dataset, rows)], dtype=bool)


def _of_files(dataset: EncodedImages, rows: np.ndarray) -> Iterator[bytes]:
    for row, reader in dataset.readers(rows):
        try:
            yield blake2b(reader(), digest_size=16).digest()
        except OSError as error:
            raise DataError(f"{dataset.where(row)} cannot be read: {error_words(error)}") from error


def _of_pixels(dataset: ImageDataset, rows: np.ndarray) -> Iterator[bytes]:
    for start in range(0, len(rows), _AT_A_TIME):
        for image in dataset.read(rows[start : start + _AT_A_TIME].tolist())[0]:
            digest = blake2b(f"{image.size}".encode(), digest_size=16)
            digest.update(image.tobytes())
            yield digest.digest()
