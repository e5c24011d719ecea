"""Images in folders, one for each class."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from raynas.data.dataset import ReadableAsIs, checked_rows
from raynas.data.decoding import IMAGE_EXTENSIONS, decoded
from raynas.errors import DataError

if TYPE_CHECKING:
    from PIL import Image


class FolderImages(ReadableAsIs):
    """One folder per class, with images in it: DIR/class/name.png; or DIR/name.png, without labels.

    Classes and files are sorted by name.
    """

    def __init__(self, spec: str, where: str) -> None:
        self.source = spec
        root = Path(where)
        if not root.is_dir():
            raise DataError(f"data {spec!r}: there is no folder {where!r}")
        classes = sorted(entry for entry in root.iterdir() if entry.is_dir() and not entry.name.startswith("."))
        self.label_names = tuple(entry.name for entry in classes)
        self.num_classes = len(classes)
        found = [(path, label) for label, folder in enumerate(classes) for path in _images_in(folder)]
        if not classes:
            self.lacks_labels = f"no class folders in {where!r}; expected DIR/class/image.png"
            found = [(path, -1) for path in _images_in(root)]
            if not found:
                raise DataError(f"data {spec!r}: {self.lacks_labels}")
        if not found:
            raise DataError(
                f"data {spec!r}: no images in the class folders {', '.join(self.label_names)}; "
                f"expected files ending with {', '.join(IMAGE_EXTENSIONS)}"
            )
        self._paths = [path for path, _ in found]
        self._labels = np.array([label for _, label in found], dtype=np.int64)

    def __len__(self) -> int:
        return len(self._paths)

    def read(self, indices: Sequence[int]) -> tuple[list[Image.Image], np.ndarray]:
        """See ImageDataset."""
        rows = checked_rows(self, indices)
        where = f"data {self.source!r}: image of row"
        return [decoded(self._paths[i], f"{where} {i} ({self._paths[i]})") for i in rows], self._labels[rows]

    def labels(self, indices: Sequence[int] | np.ndarray) -> np.ndarray:
        """See ImageDataset."""
        labels: np.ndarray = self._labels[checked_rows(self, indices)]
        return labels


def _images_in(folder: Path) -> list[Path]:
    names = sorted(folder.iterdir())
    return [path for path in names if path.suffix.lower() in IMAGE_EXTENSIONS and not path.name.startswith(".")]
