"""What is in a data set, and what a model will see of it."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from raynas.config import MOST, MOST_SIDE, check_count
from raynas.data.options import DataOptions
from raynas.errors import ConfigError, DataError, RaynasWarning
from raynas.storage.paths import as_path

if TYPE_CHECKING:
    import numpy as np

    from raynas.data.dataset import ImageDataset
    from raynas.data.inspection import Inspection
    from raynas.report.data_page import SheetRow


def inspect_data(data: str, *, decode_all: bool = False, **fields: Any) -> Inspection:
    """Look at a data set as trainings do before they start.

    Args:
        data: The images, as `--data` takes them, such as folder:train.
        decode_all: Whether all images are decoded, however many there are.
        fields: Fields of `raynas.data.options.DataOptions`.

    Returns:
        What was found, also of images that cannot be read; `plain()` has it for JSON.

    Raises:
        RaynasError: The data set cannot be opened.
    """
    from raynas.data.inspection import inspect, unknown_left_out
    from raynas.data.opening import open_dataset

    dataset = open_dataset(data, DataOptions.make(fields))
    if told := unknown_left_out(dataset):
        warnings.warn(told, RaynasWarning, stacklevel=2)
    return inspect(dataset, everything=decode_all)


def check_data(inspection: Inspection, **fields: Any) -> None:
    """Refuse what a training would refuse of a data set.

    Args:
        inspection: What was found.
        fields: Those that it was opened with.

    Raises:
        DataError: Images cannot be read, classes have no images, or there is but one class; the message says all of
            it, and how one may go on.
    """
    import numpy as np

    from raynas.data.faults import Faults
    from raynas.data.inspection import check_readable
    from raynas.data.labels import check_each_class_has_images

    options = DataOptions.make(fields)
    sizes = np.array(inspection.class_sizes)
    faults = Faults()
    with faults.collected():
        check_readable(inspection, skip=options.skip_unreadable)
    with faults.collected():
        if not options.keep_empty_classes:
            check_each_class_has_images(inspection.data, sizes, inspection.label_names)
    with faults.collected():
        if np.count_nonzero(sizes) == 1:
            raise DataError(f"data {inspection.data!r}: all images are of one class, and a training needs at least 2")
    faults.check()


def contact_sheet(
    data: str,
    out: str | Path,
    *,
    inspection: Inspection | None = None,
    img_size: int = 224,
    augmentation: str | None = None,
    per_class: int = 4,
    classes: int = 20,
    seed: int = 0,
    **fields: Any,
) -> Path:
    """Write one self-contained page with some images of each class, as a model will see them.

    Args:
        data: The images, as `--data` takes them.
        out: The page.
        inspection: What was found in the data set; None: it is looked at here.
        img_size: Side in pixels to which images are resized.
        augmentation: One of `raynas.training.config.AUGMENTATIONS`, to show how images are varied, too; None: they are
            not.
        per_class: How many images of a class are shown.
        classes: How many classes are shown, at least 2, evenly spread over all.
        seed: What the choice of images and their variation follow from.
        fields: Fields of `raynas.data.options.DataOptions`.

    Returns:
        The page.

    Raises:
        RaynasError: The data set cannot be opened, the page cannot be written, or a number is out of its range.
    """
    from raynas.data.inspection import inspect
    from raynas.data.opening import open_dataset
    from raynas.report.data_page import write_contact_sheet
    from raynas.training.config import AUGMENTATIONS

    for name, value, most in (("img_size", img_size, MOST_SIDE), ("per_class", per_class, MOST)):
        check_count(name, value, 1, most)
    check_count("classes", classes, 2)
    if augmentation is not None and augmentation not in AUGMENTATIONS:
        raise ConfigError(f"augmentation is {augmentation!r}; it is one of {', '.join(AUGMENTATIONS)}")
    dataset = open_dataset(data, DataOptions.make(fields))
    found = inspect(dataset) if inspection is None else inspection
    rows = _sheet_rows(dataset, found, img_size, augmentation, per_class, classes, seed)
    return write_contact_sheet(as_path(out), found, list(rows), img_size=img_size, augmentation=augmentation)


def _sheet_rows(
    dataset: ImageDataset,
    inspection: Inspection,
    img_size: int,
    augmentation: str | None,
    per_class: int,
    classes: int,
    seed: int,
) -> Iterator[SheetRow]:
    import numpy as np

    from raynas.report.data_page import SheetRow
    from raynas.stats.thinning import spread
    from raynas.training.config import AUGMENTATIONS
    from raynas.training.images import eval_transform, train_transform

    views = [("", eval_transform(img_size))]
    if augmentation is not None:
        varied = train_transform(img_size, dict(AUGMENTATIONS[augmentation]))
        views += [(f"varied {number}", varied) for number in (1, 2)]
    labels = dataset.labels(np.arange(len(dataset)))
    numbers = spread(np.unique(labels), classes)
    names = map(dataset.name, range(len(dataset))) if inspection.unreadable else ()
    unreadable = np.array([row for row, name in enumerate(names) if name in inspection.unreadable], np.int64)
    for number in numbers.tolist():
        members = np.random.default_rng([seed, number + 1]).permutation(np.flatnonzero(labels == number))
        readable = members[~np.isin(members, unreadable)]
        pictures = [
            (caption or dataset.name(row), _picture(dataset, row, view, seed, number_of_view))
            for row in readable[:per_class].tolist()
            for number_of_view, (caption, view) in enumerate(views)
        ]
        name = inspection.class_name(number) if number >= 0 else "without labels"
        yield SheetRow(name, len(members), len(members) - len(readable), tuple(pictures))


def _picture(dataset: ImageDataset, row: int, view: Any, seed: int, number: int) -> bytes:
    """A PNG of what a model sees of an image, with the normalisation undone."""
    import numpy as np

    from raynas.data.png import png_of
    from raynas.models.normalisation import IMAGENET_MEAN, IMAGENET_STD
    from raynas.models.process_state import kept_process_state, seed_generators

    (image,), _ = dataset.read([row])
    with kept_process_state():
        seed_generators(seed, number, row)
        seen: np.ndarray = view(image).numpy()
    pixels = (seen.transpose(1, 2, 0) * IMAGENET_STD + IMAGENET_MEAN).clip(0, 1)
    return png_of((pixels * 255).round().astype(np.uint8))
