"""Images that need no files: scikit-learn's digits, and random numbers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from raynas.data.dataset import ReadableAsIs, checked_rows
from raynas.data.labels import Classes
from raynas.models.normalisation import IMAGENET_MEAN, IMAGENET_STD

if TYPE_CHECKING:
    from PIL import Image


class RandomImages(ReadableAsIs):
    """Noise for tests of speed and for scores that need no data; as many images as one likes."""

    source = "random"
    label_names: tuple[str, ...] = ()

    def __init__(self, num_classes: int = 10) -> None:
        self.num_classes = num_classes

    def __len__(self) -> int:
        return 1_000_000

    def read(self, indices: Sequence[int]) -> tuple[list[Image.Image], np.ndarray]:
        """64 x 64 noise that is N(0, 1) after normalisation, but for the cut at black and white; fixed for each row."""
        from PIL import Image

        images = []
        for index in indices:
            rng = np.random.default_rng(index)
            rng.integers(self.num_classes)  # the label
            pixels = rng.standard_normal((64, 64, 3)) * IMAGENET_STD + IMAGENET_MEAN
            images.append(Image.fromarray((pixels.clip(0, 1) * 255).round().astype(np.uint8)))
        return images, self.labels(indices)

    def labels(self, indices: Sequence[int] | np.ndarray) -> np.ndarray:
        """See ImageDataset."""
        drawn = [np.random.default_rng(index).integers(self.num_classes) for index in indices]
        return np.array(drawn, dtype=np.int64)


class Digits(ReadableAsIs):
    """The 1,797 digits of 8 x 8 grey pixels that come with scikit-learn."""

    source = "digits"
    num_classes = 10
    label_names = tuple("0123456789")

    def __init__(self) -> None:
        from sklearn.datasets import load_digits

        data = load_digits()
        self._pixels = (data.images * (255 / 16)).round().astype(np.uint8)
        self._labels = data.target.astype(np.int64)
        self.classes = Classes(self._labels, self.num_classes, self.label_names, "the digits")

    def __len__(self) -> int:
        return len(self._labels)

    def read(self, indices: Sequence[int]) -> tuple[list[Image.Image], np.ndarray]:
        """See ImageDataset."""
        from PIL import Image

        rows = checked_rows(self, indices)
        return [Image.fromarray(self._pixels[i]).convert("RGB") for i in rows], self._labels[rows]

    def labels(self, indices: Sequence[int] | np.ndarray) -> np.ndarray:
        """See ImageDataset."""
        labels: np.ndarray = self._labels[checked_rows(self, indices)]
        return labels
