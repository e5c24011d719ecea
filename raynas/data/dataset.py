"""What a data set is: images by row number, with labels where there are any. B images."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Protocol

import numpy as np

from raynas.errors import DataError

if TYPE_CHECKING:
    from PIL import Image

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)


class ImageDataset(Protocol):
    """Images by row number, with labels unless it says why there are none."""

    source: str
    """The text that opened the data set."""
    num_classes: int
    """Number of classes; 0 without labels."""
    lacks_labels: str
    """Why there are no labels, for people; empty where there are."""
    label_names: tuple[str, ...]
    """Names of the classes, in label order; empty if unknown."""

    def __len__(self) -> int: ...

    def read(self, indices: Sequence[int]) -> tuple[list[Image.Image], np.ndarray]:
        """RGB images and int64 labels, -1 where there are none, of some rows, in the order asked for.

        Raises:
            DataError: An image cannot be read; the message names its row.
        """
        ...

    def labels(self, indices: Sequence[int] | np.ndarray) -> np.ndarray:
        """int64 labels of some rows, -1 where there are none, without their images where that is possible."""
        ...

    def hold(self) -> None:
        """Get ready for single rows in any order.

        Raises:
            DataError: The memory does not suffice.
        """
        ...


class ReadableAsIs:
    """Images with labels, whose single rows are at hand as they are."""

    lacks_labels = ""

    def hold(self) -> None:
        """Nothing is to be done."""


def checked_rows(dataset: ImageDataset, indices: Sequence[int] | np.ndarray) -> np.ndarray:
    """Row numbers as int64 (B,).

    Raises:
        DataError: The data set has no such row.
    """
    rows = np.asarray(indices, dtype=np.int64)
    outside = rows[(rows < 0) | (rows >= len(dataset))]
    if len(outside):
        raise DataError(f"data {dataset.source!r}: no row {outside[0]}; rows are 0 to {len(dataset) - 1}")
    return rows


def checked_labels(spec: str, labels: np.ndarray, num_names: int) -> tuple[np.ndarray, int]:
    """The labels of a data set as class numbers.

    Args:
        spec: What the user asked for as data, for messages.
        labels: (B,) the labels as they were read.
        num_names: How many names of classes are known; 0 if none are.

    Returns:
        The labels as int64 (B,), and the number of classes.
    """
    if labels.ndim != 1 or labels.dtype.kind not in "iu":
        raise DataError(f"data {spec!r}: labels are {labels.dtype} of shape {labels.shape}; expected one integer each")
    high = num_names or np.iinfo(np.int32).max
    wrong = np.flatnonzero((labels < 0) | (labels >= high))
    if len(wrong):
        raise DataError(
            f"data {spec!r}: label of row {wrong[0]} is {labels[wrong[0]]}; expected an integer from 0 to {high - 1}"
        )
    return labels.astype(np.int64), num_names or int(labels.max()) + 1


def without_labels(rows: int) -> np.ndarray:
    """What stands for the labels (rows,) of a set that has none."""
    return np.full(rows, -1, dtype=np.int64)


def check_labelled(dataset: ImageDataset) -> None:
    """Refuse images without labels.

    Raises:
        DataError: There are none; the message says where they were looked for.
    """
    if dataset.lacks_labels:
        raise DataError(f"data {dataset.source!r}: {dataset.lacks_labels}")
