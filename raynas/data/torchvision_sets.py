"""Sets of torchvision that are on disk."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from raynas.data.dataset import ReadableAsIs, checked_rows
from raynas.data.decoding import PixelRange, as_rgb, opened_image
from raynas.data.labels import Classes, numbered
from raynas.errors import DataError, error_words
from raynas.wording import meant

if TYPE_CHECKING:
    from PIL import Image


class TorchvisionImages(ReadableAsIs):
    """A classification set of torchvision that is on disk already; its training part where it has several."""

    def __init__(self, spec: str, where: str, pixel_range: PixelRange | None, left_out: Sequence[str]) -> None:
        self.source = spec
        self._range = pixel_range
        name, _, root = where.partition(":")
        if not root:
            raise DataError(f"data {spec!r}: expected the form torchvision:NAME:ROOT")
        make = _torchvision_class(spec, name)
        if not Path(root).is_dir():
            raise DataError(f"data {spec!r}: there is no folder {root!r}")
        own: dict[str, Any] = {"download": False, "loader": _image_as_it_is}
        takes = inspect.signature(make).parameters
        try:
            self._rows = make(root=root, **{name: value for name, value in own.items() if name in takes})
            length = len(self._rows)
        except Exception as error:  # each set has its own, from TypeError to RuntimeError
            raise DataError(f"data {spec!r}: cannot be opened in {root!r}: {error_words(error)}") from error
        if not length:
            raise DataError(f"data {spec!r}: the data set has no images")
        gone = set(left_out)
        self._kept = np.array([row for row in range(length) if f"row {row}" not in gone], dtype=np.int64)
        if not len(self._kept):
            raise DataError(f"data {spec!r}: all {length} images are left out")
        names = getattr(self._rows, "classes", None) or ()
        self.label_names = tuple(name if isinstance(name, str) else str(name[0]) for name in names)  # or synonyms
        self.num_classes = len(names)
        if (labels := self._known_labels()) is not None:
            classes = numbered(spec, labels, self.label_names, "torchvision" if names else "")
            self.number(classes.of_rows(self._kept))
        if not self.num_classes:
            raise DataError(f"data {spec!r}: torchvision's {name} has no class labels")

    def number(self, classes: Classes) -> None:
        """See EncodedImages; of a set that lists its labels."""
        self.classes, self.num_classes, self.label_names = classes, classes.num_classes, classes.names

    def __len__(self) -> int:
        return len(self._kept)

    def name(self, row: int) -> str:
        """See ImageDataset."""
        return f"row {self._kept[row]}"

    def read(self, indices: Sequence[int]) -> tuple[list[Image.Image], np.ndarray]:
        """See ImageDataset."""
        rows = checked_rows(self, indices)
        found = [self._at(row, partial(as_rgb, pixel_range=self._range)) for row in self._kept[rows].tolist()]
        known = self._numbers([label for _, label in found]) if self.classes is None else self.classes.labels[rows]
        return [image for image, _ in found], known

    def labels(self, indices: Sequence[int] | np.ndarray) -> np.ndarray:
        """See ImageDataset; of a set that does not list its labels, the images are read too."""
        rows = checked_rows(self, indices)
        if self.classes is None:
            return self._numbers([self._at(row, lambda *_: None)[1] for row in self._kept[rows].tolist()])
        labels: np.ndarray = self.classes.labels[rows]
        return labels

    def _at(self, row: int, look: Callable[[Any, str], Any]) -> tuple[Any, Any]:
        """What is made of the image of the set's row, and the label."""
        where = f"data {self.source!r}: image of row {row}"
        try:
            image, label = self._rows[row]
            with image if hasattr(image, "__exit__") else nullcontext():  # closes its file, if it is read from one
                return look(image, where), label
        except DataError:
            raise
        except Exception as error:  # whatever the set's loader raises
            raise DataError(f"{where} cannot be read: {error_words(error)}") from error

    def _numbers(self, found: Sequence[Any]) -> np.ndarray:
        labels = np.asarray(found)
        if labels.dtype.kind not in "iu" or labels.ndim != 1:
            raise DataError(
                f"data {self.source!r}: labels are {labels.dtype} of shape {labels.shape}; expected integers"
            )
        if len(wrong := labels[(labels < 0) | (labels >= self.num_classes)]):
            raise DataError(f"data {self.source!r}: a label is {wrong[0]}; expected 0 to {self.num_classes - 1}")
        return labels.astype(np.int64)

    def _known_labels(self) -> np.ndarray | None:
        attributes = (getattr(self._rows, name, None) for name in ("targets", "labels", "_labels"))
        found = next((attribute for attribute in attributes if attribute is not None), None)
        return None if found is None else np.asarray(found)


def _image_as_it_is(path: str | Path) -> Image.Image:
    """An image with all that its file says; torchvision's own loader forgets orientation, transparency and depth."""
    if not Path(path).is_file() and Path(path).exists():
        raise OSError("it is no regular file")  # one would wait for a pipe for ever
    image = opened_image(Path(path))
    return image


def _torchvision_class(spec: str, name: str) -> Callable[..., Any]:
    from torchvision import datasets as sets

    known = [known for known in sets.__all__ if isinstance(getattr(sets, known), type) and known != "VisionDataset"]
    if name not in known:
        hint = meant(name, known)
        raise DataError(f"data {spec!r}: torchvision has no data set {name!r}.{hint} It has: {', '.join(known)}")
    make: Callable[..., Any] = getattr(sets, name)
    return make
