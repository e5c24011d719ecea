"""Sets of torchvision that are on disk."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from raynas.data.dataset import ReadableAsIs, checked_labels, checked_rows
from raynas.data.decoding import as_rgb
from raynas.errors import DataError, error_words

if TYPE_CHECKING:
    from PIL import Image


class TorchvisionImages(ReadableAsIs):
    """A classification set of torchvision that is on disk already; its training part where it has several."""

    def __init__(self, spec: str, where: str) -> None:
        self.source = spec
        name, _, root = where.partition(":")
        if not root:
            raise DataError(f"data {spec!r}: expected the form torchvision:NAME:ROOT")
        make = _torchvision_class(spec, name)
        if not Path(root).is_dir():
            raise DataError(f"data {spec!r}: there is no folder {root!r}")
        download = {"download": False} if "download" in inspect.signature(make).parameters else {}
        try:
            self._rows = make(root=root, **download)
            self._length = len(self._rows)
        except Exception as error:  # each set has its own, from TypeError to RuntimeError
            raise DataError(f"data {spec!r}: cannot be opened in {root!r}: {error_words(error)}") from error
        if not self._length:
            raise DataError(f"data {spec!r}: the data set has no images")
        names = getattr(self._rows, "classes", None) or ()
        self.label_names = tuple(name if isinstance(name, str) else str(name[0]) for name in names)  # or synonyms
        self.num_classes = len(names)
        if not names and (labels := self._known_labels()) is not None:
            self.num_classes = checked_labels(spec, labels, 0)[1]
        if not self.num_classes:
            raise DataError(f"data {spec!r}: torchvision's {name} has no class labels")

    def __len__(self) -> int:
        return self._length

    def read(self, indices: Sequence[int]) -> tuple[list[Image.Image], np.ndarray]:
        """See ImageDataset."""
        images, labels = [], []
        for row in checked_rows(self, indices).tolist():
            where = f"data {self.source!r}: image of row {row}"
            try:
                image, label = self._rows[row]
            except Exception as error:  # whatever the set's loader raises
                raise DataError(f"{where} cannot be read: {error_words(error)}") from error
            images.append(as_rgb(image, where))
            labels.append(label)
        return images, checked_labels(self.source, np.asarray(labels), self.num_classes)[0]

    def labels(self, indices: Sequence[int] | np.ndarray) -> np.ndarray:
        """See ImageDataset; of a set that does not list its labels, the images are read too."""
        rows, known = checked_rows(self, indices), self._known_labels()
        labels = np.array([self._rows[row][1] for row in rows.tolist()]) if known is None else known[rows]
        return checked_labels(self.source, labels, self.num_classes)[0]

    def _known_labels(self) -> np.ndarray | None:
        attributes = (getattr(self._rows, name, None) for name in ("targets", "labels", "_labels"))
        found = next((attribute for attribute in attributes if attribute is not None), None)
        return None if found is None else np.asarray(found)


def _torchvision_class(spec: str, name: str) -> Callable[..., Any]:
    from torchvision import datasets as sets

    known = [known for known in sets.__all__ if isinstance(getattr(sets, known), type) and known != "VisionDataset"]
    if name not in known:
        by_lower = {other.lower(): other for other in known}
        close = get_close_matches(name.lower(), list(by_lower), n=1)
        hint = f" Did you mean {by_lower[close[0]]!r}?" if close else ""
        raise DataError(f"data {spec!r}: torchvision has no data set {name!r}.{hint} It has: {', '.join(known)}")
    make: Callable[..., Any] = getattr(sets, name)
    return make
