"""Which images a training sees, and what is checked of them before it starts."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from hashlib import blake2b

import numpy as np

from raynas.data.dataset import ImageDataset, check_classes, check_labelled
from raynas.data.encoded import EncodedImages
from raynas.data.inspection import Inspection, check_readable, inspect
from raynas.data.opening import needs_inspection, open_both
from raynas.data.options import DataOptions
from raynas.errors import ConfigError, DataError
from raynas.seeds import seed_from
from raynas.stats.apportionment import apportioned
from raynas.training.config import TrainConfig
from raynas.wording import first_of

_RANDOM_IMAGES = 10_000
_HASHED_IMAGES = 16  # of either set: enough for another set, cheap with files of millions


@dataclass(frozen=True)
class ChosenImages:
    """The images of a training.

    Args:
        data: The images to train on, and others that are not used.
        val_data: Those to evaluate on, and others.
        rows: Indices of the images to train on in their data set.
        val_rows: Indices of the images to evaluate on in theirs.
        labels: Labels of the images to train on, int64.
        val_labels: Labels of those to evaluate on, int64.
        options: How images are read, with the names of all those to train on that are left out.
        skipped_val_images: Names of those to evaluate on that are left out.
        inspections: What was found in the data sets, by `train` and `val`; both are one where they are one data set.
    """

    data: ImageDataset
    val_data: ImageDataset
    rows: np.ndarray
    val_rows: np.ndarray
    labels: np.ndarray
    val_labels: np.ndarray
    options: DataOptions
    skipped_val_images: tuple[str, ...]
    inspections: Mapping[str, Inspection]

    @property
    def hash(self) -> str:
        """A hash of the labels of all images that are used, and of the pixels of some."""
        return data_hash((self.data, self.rows, self.labels), (self.val_data, self.val_rows, self.val_labels))

    @cached_property
    def files_hash(self) -> str | None:
        """A hash of the names and sizes of all encoded images that are used; None where none are encoded."""
        sets = [(self.data, np.union1d(self.rows, self.val_rows))]
        if self.val_data is not self.data:
            sets = [(self.data, self.rows), (self.val_data, self.val_rows)]
        return files_hash(*((data, rows) for data, rows in sets if isinstance(data, EncodedImages)))

    def class_counts(self) -> dict[str, dict[str, int]]:
        """The fewest and the most images of a class, by `train` and `val`; empty without labels."""
        if not self.data.num_classes:
            return {}
        parts = {"train": self.labels, "val": self.val_labels[self.val_labels >= 0]}  # which may have none
        counts = {part: np.bincount(labels, minlength=self.data.num_classes) for part, labels in parts.items()}
        return {part: {"fewest": int(found.min()), "most": int(found.max())} for part, found in counts.items()}


def choose_images(config: TrainConfig) -> ChosenImages:
    """Open the data sets, choose the images, and look at them.

    Raises:
        DataError: Data that cannot be opened, or images that cannot be read; the message names them all.
    """
    options, left_out = DataOptions.of(config), config.skipped_val_images
    data, val_data = open_both(config.data, config.val_data, options, val_left_out=left_out)
    inspections: dict[str, Inspection] = {}
    if config.skip_unreadable:
        # First of all, so that what is chosen, and all that is drawn for a row, depends on sound images alone.
        inspections = _inspected(config, data, None, val_data, None)
        broken = inspections["train"].unreadable if "train" in inspections else ()
        options = options.resolved(skipped_images=tuple(sorted({*options.skipped_images, *broken})))
        broken = inspections["val"].unreadable if config.val_data is not None and "val" in inspections else ()
        left_out = tuple(sorted({*left_out, *broken}))
        data, val_data = open_both(config.data, config.val_data, options, val_left_out=left_out)
    rows, val_rows = chosen_rows(config, data, val_data)
    if not config.skip_unreadable:
        inspections = _inspected(config, data, rows, val_data, val_rows)
    labels, val_labels = data.labels(rows), val_data.labels(val_rows)
    return ChosenImages(data, val_data, rows, val_rows, labels, val_labels, options, left_out, inspections)


def _inspected(
    config: TrainConfig,
    data: ImageDataset,
    rows: np.ndarray | None,
    val_data: ImageDataset,
    val_rows: np.ndarray | None,
) -> dict[str, Inspection]:
    """What is in the data sets that consist of files; refuses what cannot be read, unless that is to be skipped."""
    found = {}
    if config.val_data is None and rows is not None and val_rows is not None:
        rows = np.union1d(rows, val_rows)
    if needs_inspection(data):
        found["train"] = inspect(data, rows, everything=config.skip_unreadable)
    if config.val_data is None:
        found |= {"val": found["train"]} if found else {}
    elif needs_inspection(val_data):
        found["val"] = inspect(val_data, val_rows, everything=config.skip_unreadable)
    for inspection in found.values():
        check_readable(inspection, skip=config.skip_unreadable)
    return found


def chosen_rows(config: TrainConfig, data: ImageDataset, val_data: ImageDataset) -> tuple[np.ndarray, np.ndarray]:
    """Indices of the images to train on and to evaluate on, in their data sets, in ascending order.

    What is limited or held out is drawn by the seed and spread over the classes as they are; where nothing is, all
    images are taken. `image_choice` "first" takes the first ones, and holds out without a look at classes.
    """
    rows = _limited(config, data, config.max_images or (_RANDOM_IMAGES if data.source == "random" else None), "images")
    if config.val_data is not None:
        return rows, _limited(config, val_data, config.max_val_images, "val_images")
    held_out = min(max(1, round(config.val_fraction * len(rows))), config.max_val_images or len(rows))
    if config.image_choice == "first":
        order = np.random.default_rng(seed_from(config.seed, "split")).permutation(rows)
        return np.sort(order[held_out:]), np.sort(order[:held_out])
    chosen = spread_over_classes(data.labels(rows), held_out, seed_from(config.seed, "split"), leaves_one=True)
    return np.delete(rows, chosen), rows[chosen]


def _limited(config: TrainConfig, data: ImageDataset, most: int | None, purpose: str) -> np.ndarray:
    """Indices of so many images; None: of all. Random ones are alike, and their labels not at hand."""
    if most is None or most >= len(data):
        return np.arange(len(data))
    if config.image_choice == "first" or data.source == "random":
        return np.arange(most)
    labels = data.labels(np.arange(len(data)))
    return spread_over_classes(labels, most, seed_from(config.seed, purpose), leaves_one=False)


def spread_over_classes(labels: np.ndarray, number: int, seed: int, *, leaves_one: bool) -> np.ndarray:
    """Rows that are drawn by a seed, with the share of each class that it has among all, by largest remainders.

    Args:
        labels: (N,) class numbers, int64.
        number: How many rows to draw, at most N.
        seed: What the draws follow from, and nothing else beside the labels and the number.
        leaves_one: Whether one row of every class is left undrawn, as far as others suffice.

    Returns:
        The rows in ascending order. Each class has one at least, where there are as many rows as classes.
    """
    rng = np.random.default_rng(seed)
    classes, member = np.unique(labels, return_inverse=True)
    sizes = np.bincount(member)
    order = rng.permutation(len(classes))  # which class is served first where remainders are equal
    counts = np.empty(len(classes), dtype=np.int64)
    counts[order] = apportioned(sizes[order], number, leaves_one=leaves_one)
    by_class = np.split(np.argsort(member, kind="stable"), np.cumsum(sizes)[:-1])
    return np.sort(
        np.concatenate([rng.permutation(rows)[:count] for rows, count in zip(by_class, counts, strict=True)])
    )


def files_hash(*parts: tuple[EncodedImages, np.ndarray]) -> str | None:
    """A hash of the names and sizes of encoded images; None of none."""
    digest = blake2b(digest_size=8)
    for data, rows in parts:
        names = "\0".join(map(data.name, rows.tolist()))
        digest.update(f"{len(rows)}\0{names}".encode())
        digest.update(data.sizes(rows).astype("<i8").tobytes())
    return digest.hexdigest() if parts else None


def data_hash(*parts: tuple[ImageDataset, np.ndarray, np.ndarray]) -> str:
    """A hash of the labels of all rows, and of the pixels of rows that are evenly spaced among them."""
    digest = blake2b(digest_size=8)
    for dataset, rows, labels in parts:
        digest.update(labels.astype("<i8").tobytes())
        some = rows[np.linspace(0, len(rows) - 1, min(_HASHED_IMAGES, len(rows)), dtype=int)]
        for image in dataset.read(some.tolist())[0]:
            digest.update(f"{image.size}".encode())
            digest.update(image.tobytes())
    return digest.hexdigest()


def checked_classes(config: TrainConfig, images: ChosenImages) -> int:
    """The number of classes; refuses data whose classes do not fit together, or the head.

    Args:
        config: What was asked for.
        images: The images.

    Raises:
        ConfigError: There is one class only, or classes do not fit the head; the message names the data.
        DataError: There are no labels, or classes that no image belongs to, or none of those to train on.
    """
    data = images.data
    check_labelled(data)
    check_labelled(images.val_data)
    check_classes(data, images.options)
    if len(np.unique(images.labels)) < 2:
        raise ConfigError(
            f"data {config.data!r}: the images to train on are of {len(np.unique(images.labels))} class; at least 2 "
            "are needed"
        )
    if config.image_choice == "spread" and data.source != "random" and not config.keep_empty_classes:
        _check_each_class_is_trained(config, images)
    if config.num_classes is not None and config.num_classes != data.num_classes:
        raise ConfigError(
            f"num_classes is {config.num_classes}, but data {config.data!r} has {data.num_classes} classes: the head "
            "has an output for each"
        )
    if int(images.val_labels.max()) >= data.num_classes:
        raise ConfigError(
            f"data {config.val_data!r} has the class {int(images.val_labels.max())}, but {config.data!r} has only "
            f"{data.num_classes} classes"
        )
    return data.num_classes


def _check_each_class_is_trained(config: TrainConfig, images: ChosenImages) -> None:
    """Refuse images of which too few are taken, or too few are left by those to evaluate on, for one of each class."""
    data = images.data
    lacking = np.flatnonzero(np.bincount(images.labels, minlength=data.num_classes) == 0)
    if not len(lacking):
        return
    shown = first_of([data.label_names[one] if data.label_names else one for one in lacking.tolist()])
    of_all = f"{len(lacking)} of {data.num_classes} classes"
    limit = "" if config.max_images is None else f" (max_images is {config.max_images})"
    raise DataError(
        f"data {config.data!r}: {of_all} have none of the {len(images.labels)} images to train on{limit}: {shown}; "
        "--keep-empty-classes trains without them"
    )
