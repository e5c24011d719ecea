"""Data sets of encoded images, whatever holds them: files, tables, archives. B images."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Protocol

import numpy as np

from raynas.data.dataset import PassedOver, checked_rows
from raynas.data.decoding import decoded
from raynas.data.labels import Classes
from raynas.data.options import DataOptions
from raynas.errors import DataError, error_words

if TYPE_CHECKING:
    from PIL import Image

Reader = Callable[[], bytes]
"""Reads the encoded bytes of one image; raises DataError or OSError where it cannot."""


class Store(Protocol):
    """What holds encoded images, by row number."""

    def __len__(self) -> int: ...

    def name(self, row: int) -> str:
        """What people know an image by, the same when others come or go."""
        ...

    def place(self, row: int) -> str:
        """Where an image is, for messages; empty where its row says it."""
        ...

    def readers(self, rows: np.ndarray) -> Iterator[tuple[int, Reader]]:
        """What reads some rows, which ascend; several threads may read at once, each before much more is asked for."""
        ...

    def sizes(self, rows: np.ndarray) -> np.ndarray:
        """How many bytes the encoded images of some rows, which ascend, have, int64; -1 where there is none."""
        ...

    def hold(self) -> None:
        """Get ready for single rows in any order."""
        ...


class EncodedImages:
    """Images of a store.

    Args:
        spec: The text that opened the data set.
        store: What holds the images.
        classes: The labels of all rows of the store.
        options: How images are read.
        lacks_labels: Why there are no labels; empty where there are.
        passed_over: What lies among the images and is not read.
        left_out: Names of images that are no rows of the data set; names that the store lacks are no error, since such
            files may be gone.

    Attributes:
        lacks_left_out: Those of `left_out` that no image has for a name.
    """

    def __init__(
        self,
        spec: str,
        store: Store,
        classes: Classes,
        options: DataOptions,
        *,
        lacks_labels: str = "",
        passed_over: Sequence[PassedOver] = (),
        left_out: Sequence[str] = (),
    ) -> None:
        self.source = spec
        self._store = store
        self._range = options.pixel_range
        self.lacks_labels = lacks_labels
        self.passed_over = tuple(passed_over)
        self.lacks_left_out: tuple[str, ...] = ()
        self._rows = np.arange(len(store))  # rows of the store by rows of the data set
        if left_out:
            found = {store.name(row): row for row in range(len(store))}
            if there := sorted(set(left_out) & found.keys()):
                self._rows = np.delete(self._rows, [found[name] for name in there])
                self.passed_over += (PassedOver("to be left out", tuple(there)),)
            if missing := sorted(set(left_out) - found.keys()):
                self.lacks_left_out = tuple(missing)
                self.passed_over += (PassedOver("to be left out, and not there", self.lacks_left_out),)
            if not len(self._rows):
                raise DataError(f"data {spec!r}: all {len(store)} images are left out")
        self.number(classes.of_rows(self._rows))

    def number(self, classes: Classes) -> None:
        """Give the images other numbers of classes.

        Args:
            classes: The labels of all rows of the data set.
        """
        self.classes: Classes | None = classes
        self.num_classes = classes.num_classes
        self.label_names = classes.names
        self._labels = classes.labels

    def __len__(self) -> int:
        return len(self._rows)

    def name(self, row: int) -> str:
        """See ImageDataset."""
        return self._store.name(int(self._rows[row]))

    def read(self, indices: Sequence[int]) -> tuple[list[Image.Image], np.ndarray]:
        """See ImageDataset."""
        rows = checked_rows(self, indices)
        images = {row: self.decoded(row, reader) for row, reader in self.readers(np.unique(rows))}
        return [images[row] for row in rows.tolist()], self._labels[rows]

    def labels(self, indices: Sequence[int] | np.ndarray) -> np.ndarray:
        """See ImageDataset."""
        labels: np.ndarray = self._labels[checked_rows(self, indices)]
        return labels

    def hold(self) -> None:
        """See ImageDataset."""
        self._store.hold()

    def sizes(self, rows: np.ndarray) -> np.ndarray:
        """How many bytes the encoded images of some rows of the data set have; see Store."""
        return self._store.sizes(self._rows[rows])

    def readers(self, rows: np.ndarray) -> Iterator[tuple[int, Reader]]:
        """What reads some rows of the data set, which ascend; see Store."""
        for row, (_, reader) in zip(rows.tolist(), self._store.readers(self._rows[rows]), strict=True):
            yield row, reader

    def decoded(self, row: int, reader: Reader) -> Image.Image:
        """The image of a row as RGB.

        Raises:
            DataError: It cannot be read.
        """
        where = self.where(row)
        try:
            content = reader()
        except OSError as error:
            raise DataError(f"{where} cannot be read: {error_words(error)}") from error
        if not content:
            raise DataError(f"{where} is empty")
        return decoded(io.BytesIO(content), where, self._range)

    def where(self, row: int) -> str:
        """The beginning of a message on a row."""
        own = int(self._rows[row])
        place = self._store.place(own)
        return f"data {self.source!r}: image of row {own}{f' ({place})' if place else ''}"
