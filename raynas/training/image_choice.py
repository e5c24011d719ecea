"""Which images a training sees, and what is checked of them before it starts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from hashlib import blake2b

import numpy as np

from raynas.data.dataset import ImageDataset, check_classes, check_labelled
from raynas.data.encoded import EncodedImages
from raynas.data.faults import Faults
from raynas.data.inspection import Inspection, check_readable, inspect, unknown_left_out
from raynas.data.opening import needs_inspection, open_both
from raynas.data.options import DataOptions
from raynas.errors import ConfigError, DataError
from raynas.seeds import seed_from
from raynas.stats.apportionment import apportioned
from raynas.training.config import TrainConfig
from raynas.training.image_record import (
    FoundAgain,
    ImageRecord,
    changed,
    changes_in_words,
    evenly_spaced,
    found_again,
    knows,
    recorded,
)
from raynas.wording import first_of

_RANDOM_IMAGES = 10_000


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
        again: Where the images, by `train` and `val`, are found again with which a training goes on; empty: it begins.
        began_with: What stands for the images in the identity of such a training; None: it begins.
        notes: Lines on images that are no longer what the training began with.
        faults: What keeps the images from being used, beside their classes.
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
    again: Mapping[str, FoundAgain] = field(default_factory=dict)
    began_with: str | None = None
    notes: tuple[str, ...] = ()
    faults: Faults = field(default_factory=Faults)

    @property
    def first_rows(self) -> np.ndarray:
        """The rows that the images to train on had when the training began: their variations follow from them."""
        return self.again["train"].first_rows if self.again else self.rows

    @cached_property
    def hash(self) -> str:
        """A hash of the labels of all images that the training began with, and of the pixels of some."""
        if self.began_with is not None:
            return self.began_with
        return data_hash((self.data, self.rows, self.labels), (self.val_data, self.val_rows, self.val_labels))

    @cached_property
    def record(self) -> ImageRecord | None:
        """The images by name, for sessions to come; None where any are no encoded files."""
        if not (isinstance(self.data, EncodedImages) and isinstance(self.val_data, EncodedImages)):
            return None
        val_first_rows = self.again["val"].first_rows if self.again else self.val_rows
        train = recorded(self.data, self.rows, self.first_rows)
        return ImageRecord(self.hash, train, recorded(self.val_data, self.val_rows, val_first_rows))

    def class_counts(self) -> dict[str, dict[str, int]]:
        """The fewest and the most images of a class, by `train` and `val`; empty without labels."""
        if not self.data.num_classes:
            return {}
        parts = {"train": self.labels, "val": self.val_labels[self.val_labels >= 0]}  # which may have none
        counts = {part: np.bincount(labels, minlength=self.data.num_classes) for part, labels in parts.items()}
        return {part: {"fewest": int(found.min()), "most": int(found.max())} for part, found in counts.items()}


def choose_images(config: TrainConfig, record: ImageRecord | None = None) -> ChosenImages:
    """Open the data sets, choose the images, and look at them.

    Args:
        config: What was asked for.
        record: The images of the training that is gone on with, which are taken again where they are known by name.

    Raises:
        DataError: Data that cannot be opened. Images that cannot be read are among the faults, all of them.
    """
    options, left_out = DataOptions.of(config), config.skipped_val_images
    data, val_data = open_both(config.data, config.val_data, options, val_left_out=left_out)
    inspections: dict[str, Inspection] = {}
    faults = Faults()
    if record is None:  # a training that is gone on with may have lost the images since
        for dataset in {id(one): one for one in (data, val_data)}.values():
            with faults.collected():
                if told := unknown_left_out(dataset):
                    raise DataError(told)
    if config.skip_unreadable:
        # First of all, so that what is chosen, and all that is drawn for a row, depends on sound images alone.
        inspections = _inspected(config, data, None, val_data, None, faults)
        broken = inspections["train"].unreadable if "train" in inspections else ()
        options = options.resolved(skipped_images=tuple(sorted({*options.skipped_images, *broken})))
        broken = inspections["val"].unreadable if config.val_data is not None and "val" in inspections else ()
        left_out = tuple(sorted({*left_out, *broken}))
        data, val_data = open_both(config.data, config.val_data, options, val_left_out=left_out)
    is_known = record is not None and knows(record.train, data) and knows(record.val, val_data)
    again: dict[str, FoundAgain] = {}
    if record is not None and is_known:
        again = _found_again(config, record, data, val_data, options.skipped_images, left_out)
        rows, val_rows = again["train"].rows, again["val"].rows
    else:
        rows, val_rows = chosen_rows(config, data, val_data)
    if not config.skip_unreadable:
        inspections = _inspected(config, data, rows, val_data, val_rows, faults)
    labels, val_labels = data.labels(rows), val_data.labels(val_rows)
    chosen = ChosenImages(
        data, val_data, rows, val_rows, labels, val_labels, options, left_out, inspections, faults=faults
    )
    if record is None or not is_known or faults:
        return chosen
    others = [*changed(record.train, data, rows), *changed(record.val, val_data, val_rows)]
    gone = [name for one in again.values() for name in one.left_out]
    return replace(chosen, again=again, began_with=record.hash, notes=tuple(changes_in_words(gone, others)))


def _found_again(
    config: TrainConfig,
    record: ImageRecord,
    data: ImageDataset,
    val_data: ImageDataset,
    left_out: Sequence[str],
    val_left_out: Sequence[str],
) -> dict[str, FoundAgain]:
    """The images to train on and to evaluate on that a training began with, by `train` and `val`.

    Args:
        config: The settings of the training.
        record: The images.
        data, val_data: The data sets that have the images, by the names of the record.
        left_out: Names of images that are left out of `data`.
        val_left_out: Names of those that are left out of data of their own to evaluate on.

    Raises:
        DataError: Images are not there, or have other labels; the message names them.
    """
    way_on = "put them back, or name each with {} to go on without them"
    train = found_again(record.train, data, left_out, way_on.format("--skip-image"))
    has_own = config.val_data is not None
    option, out = ("--skip-val-image", val_left_out) if has_own else ("--skip-image", left_out)
    return {"train": train, "val": found_again(record.val, val_data, out, way_on.format(option))}


def _inspected(
    config: TrainConfig,
    data: ImageDataset,
    rows: np.ndarray | None,
    val_data: ImageDataset,
    val_rows: np.ndarray | None,
    faults: Faults,
) -> dict[str, Inspection]:
    """What is in the data sets that consist of files; what cannot be read is a fault, unless that is to be skipped."""
    found = {}
    if config.val_data is None and rows is not None and val_rows is not None:
        rows = np.union1d(rows, val_rows)
    if needs_inspection(data):
        found["train"] = inspect(data, rows, everything=config.skip_unreadable)
    if config.val_data is None:
        found |= {"val": found["train"]} if found else {}
    elif needs_inspection(val_data):
        found["val"] = inspect(val_data, val_rows, everything=config.skip_unreadable)
    for inspection in {id(one): one for one in found.values()}.values():
        with faults.collected():
            check_readable(inspection, skip=config.skip_unreadable)
    return found


def chosen_rows(config: TrainConfig, data: ImageDataset, val_data: ImageDataset) -> tuple[np.ndarray, np.ndarray]:
    """Indices of the images to train on and to evaluate on, in their data sets, in ascending order.

    Of those to train on, the share `label_fraction` is used, at least one of each class.
    """
    rows, val_rows = _chosen_rows(config, data, val_data)
    if config.label_fraction < 1:
        labels = data.labels(rows)
        number = min(len(rows), max(round(config.label_fraction * len(rows)), len(np.unique(labels))))
        rows = rows[spread_over_classes(labels, number, seed_from(config.seed, "labels"), leaves_one=False)]
    return rows, val_rows


def _chosen_rows(config: TrainConfig, data: ImageDataset, val_data: ImageDataset) -> tuple[np.ndarray, np.ndarray]:
    """Those of `chosen_rows` before a share is taken.

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
        for image in dataset.read(evenly_spaced(rows).tolist())[0]:
            digest.update(f"{image.size}".encode())
            digest.update(image.tobytes())
    return digest.hexdigest()


def check_images(config: TrainConfig, images: ChosenImages, *, needs_labels: bool) -> None:
    """Refuse images that cannot be read, and classes that do not fit together or do not fit the head, all at once.

    Args:
        config: What was asked for.
        images: The images.
        needs_labels: Whether the training needs classes at all.

    Raises:
        ConfigError: There is one class only, or classes do not fit the head; the message names the data.
        DataError: There are images that cannot be read, no labels, or classes that no image belongs to, or none of
            those to train on; or several of all these things.
    """
    faults = Faults(images.faults)
    with faults.collected():
        if needs_labels:
            _check_labels(config, images)
    faults.check()


def _check_labels(config: TrainConfig, images: ChosenImages) -> None:
    data = images.data
    check_labelled(data)
    check_labelled(images.val_data)
    faults = Faults()
    with faults.collected():
        check_classes(data, images.options)
    with faults.collected():
        if (classes := len(np.unique(images.labels))) < 2:
            raise ConfigError(
                f"data {config.data!r}: the images to train on are of {classes} class; at least 2 are needed"
            )
    if not faults and config.image_choice == "spread" and data.source != "random" and not config.keep_empty_classes:
        with faults.collected():
            _check_each_class_is_trained(config, images)
    with faults.collected():
        _check_head(config, images)
    faults.check()


def _check_head(config: TrainConfig, images: ChosenImages) -> None:
    """Refuse a head that does not have an output for each class."""
    data = images.data
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
