"""What a data set is: images by row number, with labels where there are any. B images."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple, Protocol

import numpy as np

from raynas.data.labels import Classes, check_each_class_has_images
from raynas.data.options import DataOptions
from raynas.errors import DataError

if TYPE_CHECKING:
    from PIL import Image


class PassedOver(NamedTuple):
    """Files that lie among the images and are not read.

    Args:
        reason: Why they are not.
        names: What they are called.
    """

    reason: str
    names: tuple[str, ...]


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
    classes: Classes | None
    """Labels of all rows with their classes; None where they are not at hand without the images."""
    passed_over: tuple[PassedOver, ...]
    """What lies among the images and is not read."""

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

    def name(self, row: int) -> str:
        """What people know an image by: its path in a folder, or its row in a table."""
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
    classes: Classes | None = None
    passed_over: tuple[PassedOver, ...] = ()

    def name(self, row: int) -> str:
        """See ImageDataset."""
        return f"row {row}"

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


def rows_named(dataset: ImageDataset, names: Sequence[str]) -> np.ndarray:
    """The rows (N,) of images by what people know them by, int64; -1 for those that the data set does not have."""
    rows = {dataset.name(row): row for row in range(len(dataset))}
    return np.array([rows.get(name, -1) for name in names], dtype=np.int64)


def check_labelled(dataset: ImageDataset) -> None:
    """Refuse images without labels.

    Raises:
        DataError: There are none; the message says where they were looked for.
    """
    if dataset.lacks_labels:
        raise DataError(f"data {dataset.source!r}: {dataset.lacks_labels}")


def check_classes(dataset: ImageDataset, options: DataOptions) -> None:
    """Refuse classes that no image belongs to, unless they are asked for.

    Raises:
        DataError: There are such classes; the message names them.
    """
    if dataset.classes is not None and dataset.num_classes and not options.keep_empty_classes:
        check_each_class_has_images(dataset.source, dataset.classes.sizes, dataset.label_names)
