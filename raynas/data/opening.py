"""Data sets, opened by the text of `--data`."""

from __future__ import annotations

from collections.abc import Callable

from raynas.data.built_in import Digits, RandomImages
from raynas.data.dataset import ImageDataset, check_labelled
from raynas.data.folder import FolderImages
from raynas.data.parquet import ParquetImages
from raynas.data.torchvision_sets import TorchvisionImages
from raynas.errors import DataError


def datasets() -> dict[str, str]:
    """The forms that `open_dataset` reads, with a line on each."""
    return {form: summary for form, summary, _ in _KINDS.values()}


def open_dataset(spec: str) -> ImageDataset:
    """Open images by a text such as digits, parquet:FILE, folder:DIR, torchvision:NAME:ROOT or random.

    Nothing is downloaded. Labels are checked here, images when they are read.

    Raises:
        DataError: The kind is unknown, or the file or folder is missing, empty or of another form.
    """
    kind, _, where = spec.strip().partition(":")
    if kind not in _KINDS:
        raise DataError(f"unknown data {spec!r}; known forms: {', '.join(datasets())}")
    form, _, opener = _KINDS[kind]
    if (":" in form) != bool(where):
        raise DataError(f"data {spec!r}: expected the form {form}")
    return opener(spec.strip(), where)


def open_labelled(spec: str) -> ImageDataset:
    """Open images as `open_dataset` does, for what needs labels.

    Raises:
        DataError: As `open_dataset`; or there are no labels.
    """
    dataset = open_dataset(spec)
    check_labelled(dataset)
    return dataset


_KINDS: dict[str, tuple[str, str, Callable[[str, str], ImageDataset]]] = {
    "digits": ("digits", "1,797 handwritten digits of 8 x 8 pixels, embedded in scikit-learn", lambda *_: Digits()),
    "folder": ("folder:DIR", "one folder per class: DIR/class/image.png; without labels: DIR/image.png", FolderImages),
    "parquet": (
        "parquet:FILE",
        "a table with encoded images and, if any, integer labels: columns image, label",
        ParquetImages,
    ),
    "torchvision": ("torchvision:NAME:ROOT", "a set of torchvision that is on disk already", TorchvisionImages),
    "random": ("random", "normally distributed pixels and uniform labels, no files", lambda *_: RandomImages()),
}
