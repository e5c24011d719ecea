"""Labels as class numbers, with the names of the classes and where these come from."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from raynas.errors import DataError
from raynas.wording import first_of


@dataclass(frozen=True)
class Classes:
    """The labels of a data set.

    Args:
        labels: (rows,) int64 class numbers; -1 everywhere where there are no labels.
        num_classes: How many classes there are, with and without images; 0 without labels.
        names: Names of the classes in the order of their numbers; empty if unknown.
        names_from: Where the names come from, in words; empty if unknown.
        is_by_text: Whether the classes have their numbers from the order of their names, and from nothing else.
        values: What the data themselves call each class, where classes were numbered anew.
    """

    labels: np.ndarray
    num_classes: int
    names: tuple[str, ...] = ()
    names_from: str = ""
    is_by_text: bool = False
    values: tuple[int, ...] = ()

    @property
    def sizes(self) -> np.ndarray:
        """How many images each class has, int64 (num_classes,)."""
        return np.bincount(self.labels[self.labels >= 0], minlength=self.num_classes)

    def of_rows(self, rows: np.ndarray) -> Classes:
        """The same classes, with the labels of some rows alone."""
        return replace(self, labels=self.labels[rows])


def without_labels(rows: int) -> Classes:
    """What stands for the labels of a set that has none."""
    return Classes(np.full(rows, -1, dtype=np.int64), 0)


def numbered_by_text(texts: Sequence[str], names_from: str, known: Sequence[str] = ()) -> Classes:
    """Classes in the order of their names.

    Args:
        texts: The name of each row's class.
        names_from: Where the names come from, in words.
        known: Names of classes that may have no image.
    """
    names, labels = np.unique(np.array([*texts, *known], dtype=object).astype(str), return_inverse=True)
    return Classes(
        labels[: len(texts)].astype(np.int64), len(names), tuple(names.tolist()), names_from, is_by_text=True
    )


def numbered(spec: str, labels: np.ndarray, names: Sequence[str] = (), names_from: str = "") -> Classes:
    """Classes by the numbers that the data have.

    Args:
        spec: What the user asked for as data, for messages.
        labels: (rows,) the labels as they were read.
        names: Names of the classes in label order; empty if unknown.
        names_from: Where they come from, in words.

    Raises:
        DataError: A label is no class number, or has no name where there are names.
    """
    if labels.ndim != 1 or labels.dtype.kind not in "iu":
        raise DataError(f"data {spec!r}: labels are {labels.dtype} of shape {labels.shape}; expected one integer each")
    high = len(names) or np.iinfo(np.int32).max
    wrong = np.flatnonzero((labels < 0) | (labels >= high))
    if len(wrong):
        raise DataError(
            f"data {spec!r}: label of row {wrong[0]} is {labels[wrong[0]]}; expected an integer from 0 to {high - 1}"
        )
    return Classes(labels.astype(np.int64), len(names) or int(labels.max()) + 1, tuple(names), names_from)


def renumbered(classes: Classes) -> Classes:
    """The classes that have images, numbered from 0 on in their order."""
    present = np.unique(classes.labels)
    return replace(
        classes,
        labels=np.searchsorted(present, classes.labels),
        num_classes=len(present),
        names=tuple(classes.names[value] for value in present) if classes.names else (),
        values=tuple(present.tolist()),
    )


def matched(spec: str, classes: Classes, other: Classes, other_spec: str) -> Classes:
    """Classes with the numbers that they have in another data set, such as that which is trained on.

    Names decide where both sets have them: numbers that are no more than the order of names are changed, and those that
    the data have must agree. Where the other set is numbered anew, so is this one.

    Raises:
        DataError: The classes are not those of the other set; the message has the first that differs.
    """
    if classes.num_classes == 0 or other.num_classes == 0:
        return classes
    if classes.is_by_text and other.names and len(set(other.names)) == len(other.names):
        numbers = {name: number for number, name in enumerate(other.names)}
        strange = [
            name for name, size in zip(classes.names, classes.sizes, strict=True) if size and name not in numbers
        ]
        if strange:
            raise DataError(
                f"data {spec!r} has the class {strange[0]!r}, which is not among those of {other_spec!r}: "
                f"{first_of(other.names)}"
            )
        new = np.array([numbers.get(name, -1) for name in classes.names])
        return Classes(new[classes.labels], other.num_classes, other.names, classes.names_from, is_by_text=True)
    if other.values:
        strange_labels = np.setdiff1d(classes.labels, other.values)
        if len(strange_labels):
            raise DataError(f"data {spec!r} has the class {strange_labels[0]}, of which {other_spec!r} has no image")
        reaches = len(classes.names) > max(other.values)
        named = tuple(classes.names[value] for value in other.values) if reaches else ()
        classes = replace(
            classes, labels=np.searchsorted(other.values, classes.labels), num_classes=other.num_classes, names=named
        )
    if classes.names and other.names:
        for number, (one, two) in enumerate(zip(classes.names, other.names, strict=False)):
            if one != two:
                raise DataError(f"class {number} of {spec!r} is {one!r}, and of {other_spec!r} it is {two!r}")
    if len(classes.labels) and int(classes.labels.max()) >= other.num_classes:
        raise DataError(
            f"data {spec!r} has the class {int(classes.labels.max())}, but {other_spec!r} has only "
            f"{other.num_classes} classes"
        )
    return replace(classes, num_classes=other.num_classes)


def check_each_class_has_images(spec: str, sizes: np.ndarray, names: Sequence[str]) -> None:
    """Refuse classes that no image belongs to.

    Args:
        spec: What the user asked for as data, for messages.
        sizes: (num_classes,) how many images each class has.
        names: Names of the classes in label order; empty if unknown.

    Raises:
        DataError: There are such classes; the message names them, and the options that go on.
    """
    empty = np.flatnonzero(sizes == 0)
    if not len(empty):
        return
    shown = first_of([names[one] if names else one for one in empty.tolist()])
    raise DataError(
        f"data {spec!r}: {len(empty)} of {len(sizes)} classes have no image ({shown}); --renumber-labels leaves them "
        "out, --keep-empty-classes keeps outputs for them"
    )
