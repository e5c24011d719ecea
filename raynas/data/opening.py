"""Data sets, opened by the text of `--data`."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

from raynas.data.archives import open_archive, open_webdataset
from raynas.data.built_in import Digits, RandomImages
from raynas.data.dataset import ImageDataset, check_classes, check_labelled
from raynas.data.encoded import EncodedImages
from raynas.data.files import open_files
from raynas.data.folder import data_of_path, open_folder
from raynas.data.labels import matched, renumbered
from raynas.data.options import AS_THEY_ARE, DataOptions
from raynas.data.parquet import open_parquet
from raynas.data.torchvision_sets import TorchvisionImages
from raynas.errors import DataError, error_words, printable
from raynas.storage.fetched import on_this_machine
from raynas.storage.paths import SCHEMES, as_path
from raynas.wording import nearest


class _Kind(NamedTuple):
    """A kind of data.

    Args:
        form: How it is typed.
        summary: A line on it.
        opener: Opens it from the text, what stands behind the kind, the options, and names of images to leave out.
        takes: Options that it takes beside `pixel_range`, which all kinds with files take.
    """

    form: str
    summary: str
    opener: Callable[[str, str, DataOptions, Sequence[str]], ImageDataset]
    takes: tuple[str, ...] = ()


_HOME = re.compile(r"(?<![^:])~(?=/|$)")  # a shell knows it at the beginning of a word alone
_URI = re.compile(r"(\w+:)?([A-Za-z][A-Za-z0-9+.-]*://.*)", re.DOTALL)  # behind the name of a set of torchvision
_OF_FILES = ("renumber_labels", "skipped_images")


def datasets() -> dict[str, str]:
    """The forms that `open_dataset` reads, with a line on each."""
    return {kind.form: kind.summary for kind in _KINDS.values()}


def described(spec: str) -> str:
    """The text of a data set, with a line on it where it is built in: its name says to nobody else what it is.

    Args:
        spec: The text, behind which a comma and further words may stand.
    """
    name, comma, more = spec.partition(",")
    about = built_in(name)
    return spec if about is None else f"{name} ({about}){comma}{more}"


def built_in(spec: str) -> str | None:
    """The line on a data set that needs no files; None of others, which their owners know."""
    kind = _KINDS.get(spec.strip())
    return None if kind is None or ":" in kind.form else kind.summary


def open_dataset(
    spec: str,
    options: DataOptions = AS_THEY_ARE,
    *,
    left_out: Sequence[str] = (),
    like: ImageDataset | None = None,
) -> ImageDataset:
    """Open images by a text such as digits, parquet:FILE, folder:DIR, torchvision:NAME:ROOT or random.

    Of what is named by a URI of an object store, there is a copy on this machine, fetched if need be; nothing else is
    ever downloaded. Labels are checked here, images when they are read.

    Args:
        spec: The text.
        options: How images are read.
        left_out: Names of images to leave out, beside those of the options.
        like: A data set whose classes the labels are to be numbers of, such as that which is trained on.

    Raises:
        DataError: The kind is unknown, the file or folder is missing, empty, of another form or cannot be read, an
            option is not for this kind, or classes are not those of the other data set.
    """
    name, _, where = spec.strip().partition(":")
    if name not in _KINDS:
        if (near := _meant(spec)) is not None:
            raise DataError(f"unknown data {spec!r}; did you mean {near!r}?")
        raise DataError(f"unknown data {spec!r}; known forms: {', '.join(datasets())}")
    kind = _KINDS[name]
    if (":" in kind.form) != bool(where):
        raise DataError(f"data {spec!r}: expected the form {kind.form}")
    for option in ("image_column", "label_column", "renumber_labels", "skipped_images"):
        if getattr(options, option) and option not in kind.takes:
            raise DataError(f"data {spec!r}: {option} does not go with the form {kind.form}")
    try:
        dataset = kind.opener(spec.strip(), _on_a_disk(where), options, (*options.skipped_images, *left_out))
    except OSError as error:
        place = printable(str(error.filename or where))
        raise DataError(f"data {spec!r}: cannot read {place}: {error_words(error)}") from None
    if isinstance(dataset, EncodedImages | TorchvisionImages) and dataset.classes is not None and dataset.num_classes:
        if like is not None and like.classes is not None:
            dataset.number(matched(dataset.source, dataset.classes, like.classes, like.source))
        elif options.renumber_labels:
            dataset.number(renumbered(dataset.classes))
    elif options.renumber_labels and dataset.classes is None:
        raise DataError(f"data {spec!r}: renumber_labels needs labels that are known without reading the images")
    return dataset


def _on_a_disk(where: str) -> str:
    """What stands behind the kind, with a copy on this machine in place of a URI."""
    if (uri := _URI.fullmatch(where)) is None:
        return _HOME.sub(_home, where)
    return f"{uri[1] or ''}{on_this_machine(as_path(uri[2]))}"


def absolute(spec: str) -> str:
    """The text of a data set with an absolute path, since workers start in other folders."""
    name, _, where = spec.strip().partition(":")
    if not where or name not in _KINDS:
        return spec
    set_name, _, root = where.partition(":") if name == "torchvision" else ("", "", where)
    return ":".join(filter(None, (name, set_name, str(as_path(root).expanduser().absolute()))))


def _home(match: re.Match[str]) -> str:
    return str(Path(match[0]).expanduser())


def _meant(spec: str) -> str | None:
    """What a text of no known form may be meant to be: a path by itself, or a kind with a slip in it."""
    name, _, where = spec.strip().partition(":")
    if not where and (of_path := data_of_path(spec.strip())) is not None:
        return of_path
    if name in SCHEMES and where.startswith("//"):
        return f"{'parquet' if where.endswith('.parquet') else 'folder'}:{spec.strip()}"
    near = nearest(name, _KINDS)
    return near + (f":{where}" if where else "") if near else None


def needs_inspection(dataset: ImageDataset) -> bool:
    """Whether images come from files, so that one should look at them."""
    return dataset.source.partition(":")[2] != ""


def open_labelled(spec: str, options: DataOptions = AS_THEY_ARE) -> ImageDataset:
    """Open images as `open_dataset` does, for what needs labels.

    Raises:
        DataError: As `open_dataset`; or there are no labels, or classes without images.
    """
    dataset = open_dataset(spec, options)
    check_labelled(dataset)
    check_classes(dataset, options)
    return dataset


def open_both(
    data: str, val_data: str | None, options: DataOptions, *, val_left_out: Sequence[str] = ()
) -> tuple[ImageDataset, ImageDataset]:
    """Images to train on and images to evaluate on, whose labels are numbers of the same classes.

    Args:
        data: The text of the images to train on.
        val_data: The text of those to evaluate on; None: some of the others, so both are one data set.
        options: How images are read.
        val_left_out: Names of images to evaluate on that are left out; those to train on are in the options.

    Raises:
        DataError: As `open_dataset`; or images are to be left out of those to evaluate on, which are none of their own.
    """
    if val_data is None and val_left_out:
        raise DataError("--skip-val-image leaves out images of --val-data; of those of --data, --skip-image does")
    dataset = open_dataset(data, options)
    return dataset, dataset if val_data is None else open_other(val_data, options, dataset, left_out=val_left_out)


def open_other(
    val_data: str, options: DataOptions, like: ImageDataset, *, left_out: Sequence[str] = ()
) -> ImageDataset:
    """The images to evaluate on that `open_both` returns, with those to train on at hand.

    Raises:
        DataError: As `open_dataset`.
    """
    return open_dataset(val_data, options.model_copy(update={"skipped_images": tuple(left_out)}), like=like)


def _open_torchvision(spec: str, where: str, options: DataOptions, left_out: Sequence[str]) -> ImageDataset:
    return TorchvisionImages(spec, where, options.pixel_range, left_out)


_KINDS: dict[str, _Kind] = {
    "digits": _Kind(
        "digits", "1,797 handwritten digits of 8 x 8 pixels, embedded in scikit-learn", lambda *_: Digits()
    ),
    "folder": _Kind(
        "folder:DIR", "one folder per class: DIR/class/image.png; without labels: DIR/image.png", open_folder, _OF_FILES
    ),
    "files": _Kind(
        "files:DIR", "all images of a folder and the folders in it, without labels", open_files, ("skipped_images",)
    ),
    "parquet": _Kind(
        "parquet:FILE",
        "a table, a folder or a pattern of them, with encoded images and, if any, labels: columns image, label",
        open_parquet,
        ("image_column", "label_column", *_OF_FILES),
    ),
    "archive": _Kind("archive:FILE", "a zip or tar archive with one folder per class", open_archive, _OF_FILES),
    "webdataset": _Kind(
        "webdataset:GLOB",
        "tar archives with key.jpg beside key.cls or key.json",
        open_webdataset,
        ("label_column", *_OF_FILES),
    ),
    "torchvision": _Kind(
        "torchvision:NAME:ROOT", "a set of torchvision that is on disk already", _open_torchvision, _OF_FILES
    ),
    "random": _Kind("random", "normally distributed pixels and uniform labels, no files", lambda *_: RandomImages()),
}
