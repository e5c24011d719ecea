"""Which images a training began with, by name, so that it goes on with them whatever becomes of the files around them.

A training that holds out or limits images draws them by their rows, and rows move when files come or go: of that draw
the record keeps what came out. It also says which images are no longer there, or are others by now.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import pyarrow as pa

from raynas.data.dataset import ImageDataset, rows_named
from raynas.data.encoded import EncodedImages
from raynas.errors import DataError, StoreError, error_words
from raynas.storage.files import write_atomically
from raynas.storage.parquet import metadata_of, parquet_file, write_parquet
from raynas.storage.run_folder import reading
from raynas.wording import first_of, plural

if TYPE_CHECKING:
    from PIL import Image

RECORD = "images.parquet"
"""Name of the file in a training's folder."""

COMPARED = 16
"""Images of either part whose pixels are compared: enough for another set, cheap with files of millions."""

_SCHEMA = pa.schema(
    [
        ("part", pa.dictionary(pa.int8(), pa.string())),
        ("name", pa.string()),
        ("row", pa.int64()),
        ("label", pa.int64()),
        ("bytes", pa.int64()),
        ("pixels", pa.string()),
    ]
)
"""Columns of the file: train or val; the image's name in its data set; the row that it had there when the training
began, which its variations follow from; its class number, -1 without labels; how many bytes its file has, -1 where it
has none; and a hash of its pixels, for some of the images."""


@dataclass(frozen=True)
class RecordedImages:
    """The images of one part, to train on or to evaluate on, in their order.

    Args:
        names: What the images are called in the data set.
        first_rows: (N,) the rows that they had there when the training began, int64.
        labels: (N,) class numbers, int64.
        sizes: (N,) bytes of their files, int64; -1 where they are none.
        pixels: Hashes of the pixels of some, by name.
    """

    names: Sequence[str]
    first_rows: np.ndarray
    labels: np.ndarray
    sizes: np.ndarray
    pixels: Mapping[str, str]


@dataclass(frozen=True)
class ImageRecord:
    """The images of a training.

    Args:
        hash: What stands for them in the identity of the training, from its first session on.
        train: Those to train on.
        val: Those to evaluate on.
    """

    hash: str
    train: RecordedImages
    val: RecordedImages


class FoundAgain(NamedTuple):
    """Where the images of a record are by now.

    Args:
        rows: (N,) rows of those that are still used, in the order of the record.
        first_rows: (N,) the rows that they had when the training began.
        left_out: Names of those that are left out now.
    """

    rows: np.ndarray
    first_rows: np.ndarray
    left_out: tuple[str, ...]


def recorded(dataset: EncodedImages, rows: np.ndarray, first_rows: np.ndarray) -> RecordedImages:
    """What a record says of images.

    Args:
        dataset: The data set that they are in.
        rows: (N,) the rows that they have there.
        first_rows: (N,) the rows that they had when the training began.

    Raises:
        DataError: Images whose pixels are compared cannot be read.
    """
    names = [dataset.name(row) for row in rows.tolist()]
    some = evenly_spaced(rows)
    images = dataset.read(some.tolist())[0]
    pixels = {dataset.name(row): _digest(image) for row, image in zip(some.tolist(), images, strict=True)}
    return RecordedImages(names, first_rows, dataset.labels(rows), _sizes(dataset, rows), pixels)


def evenly_spaced(rows: np.ndarray) -> np.ndarray:
    """Those of some rows whose pixels are compared."""
    return rows[np.linspace(0, len(rows) - 1, min(COMPARED, len(rows)), dtype=int)]


def _sizes(dataset: EncodedImages, rows: np.ndarray) -> np.ndarray:
    order = np.argsort(rows, kind="stable")
    sizes = np.empty(len(rows), dtype=np.int64)
    sizes[order] = dataset.sizes(rows[order])
    return sizes


def _digest(image: Image.Image) -> str:
    return blake2b(f"{image.size}".encode() + image.tobytes(), digest_size=8).hexdigest()


def knows(record: RecordedImages, dataset: ImageDataset) -> bool:
    """Whether a data set has the images of a record by their names, and not in another form of storage.

    Args:
        record: The images of one part.
        dataset: The data set that they may be from.
    """
    return isinstance(dataset, EncodedImages) and bool((rows_named(dataset, record.names) >= 0).any())


def found_again(record: RecordedImages, dataset: ImageDataset, left_out: Collection[str], way_on: str) -> FoundAgain:
    """The images that a training began with, without those that are left out now.

    Args:
        record: The images of one part.
        dataset: The data set, which `knows` the record.
        left_out: Names of images to leave out, which are no rows of the data set.
        way_on: What to do about images that are not there, for the message.

    Raises:
        DataError: Images are not there, have other labels, or none is left; or those that are there are others.
    """
    rows = rows_named(dataset, record.names)
    is_there = rows >= 0
    gone = [record.names[i] for i in np.flatnonzero(~is_there).tolist()]
    out = set(left_out)
    if lost := [name for name in gone if name not in out]:
        raise DataError(
            f"data {dataset.source!r}: {len(lost):,} of {len(rows):,} images that the training began with are not "
            f"there: {first_of(lost)}; {way_on}"
        )
    rows, labels = rows[is_there], record.labels[is_there]
    if not len(rows):
        raise DataError(f"data {dataset.source!r}: all {len(gone):,} images that the training began with are left out")
    if (others := np.flatnonzero(dataset.labels(rows) != labels)).size:
        named = first_of([dataset.name(row) for row in rows[others].tolist()])
        raise DataError(
            f"data {dataset.source!r}: {len(others):,} of {len(rows):,} images have other labels than when the "
            f"training began: {named}"
        )
    return FoundAgain(rows, record.first_rows[is_there], tuple(gone))


def changed(record: RecordedImages, dataset: ImageDataset, rows: np.ndarray) -> tuple[str, ...]:
    """Names of images whose files have other sizes, or whose pixels are others, as far as these are compared.

    Args:
        record: The images of one part.
        dataset: The data set that they are in.
        rows: The rows that `found_again` gives.

    Raises:
        DataError: More than half of the images that are compared have other pixels, so that they are another data set;
            or one cannot be read.
    """
    assert isinstance(dataset, EncodedImages)
    now = {dataset.name(row): row for row in rows.tolist()}
    compared = [name for name in record.pixels if name in now]
    images = dataset.read([now[name] for name in compared])[0] if compared else []
    others = [name for name, image in zip(compared, images, strict=True) if _digest(image) != record.pixels[name]]
    if 2 * len(others) > len(compared):
        raise DataError(
            f"data {dataset.source!r}: these are others than the images that the training began with: of "
            f"{len(compared)} that were compared, {len(others)} have other pixels, such as {others[0]}"
        )
    sizes = dict(zip(record.names, record.sizes.tolist(), strict=True))
    resized = [
        dataset.name(row)
        for row, size in zip(rows.tolist(), _sizes(dataset, rows).tolist(), strict=True)
        if size != sizes[dataset.name(row)]
    ]
    return tuple(dict.fromkeys([*resized, *others]))


def write_record(folder: Path, record: ImageRecord) -> None:
    """Keep the record in the folder of a training.

    Raises:
        StoreError: It cannot be written.
    """
    parts = {"train": record.train, "val": record.val}
    columns = {
        "part": np.repeat(list(parts), [len(part.names) for part in parts.values()]),
        "name": [name for part in parts.values() for name in part.names],
        "row": np.concatenate([part.first_rows for part in parts.values()]),
        "label": np.concatenate([part.labels for part in parts.values()]),
        "bytes": np.concatenate([part.sizes for part in parts.values()]),
        "pixels": [part.pixels.get(name) for part in parts.values() for name in part.names],
    }
    table = pa.table([pa.array(columns[field.name]).cast(field.type) for field in _SCHEMA], schema=_SCHEMA)
    try:
        with write_atomically(folder / RECORD) as file:
            write_parquet(file, table, {"hash": record.hash})
    except OSError as error:
        raise StoreError(f"cannot write {folder / RECORD}: {error_words(error)}") from error


def read_record(folder: Path) -> ImageRecord | None:
    """The record in the folder of a training; None where there is none, as of images that are no files.

    Raises:
        StoreError: It is damaged.
    """
    path = folder / RECORD
    try:
        with parquet_file(path) as file:
            said, table = metadata_of(file), file.read()
    except FileNotFoundError:
        return None
    except (OSError, pa.ArrowException) as error:
        raise StoreError(
            f"{path} is damaged ({error_words(error)}): it says which images the training began with; without the file "
            "they are chosen anew"
        ) from error
    with reading(folder):
        table = table.select(_SCHEMA.names).cast(_SCHEMA)
        of_part = table["part"].cast(pa.string()).to_numpy(zero_copy_only=False)
        parts = {name: _part(table.filter(pa.array(of_part == name))) for name in ("train", "val")}
        return ImageRecord(said[b"hash"].decode(), **parts)


def _part(table: pa.Table) -> RecordedImages:
    names = table["name"].to_pylist()
    pixels = {name: one for name, one in zip(names, table["pixels"].to_pylist(), strict=True) if one is not None}
    first_rows, labels, sizes = (table[name].to_numpy() for name in ("row", "label", "bytes"))
    return RecordedImages(names, first_rows, labels, sizes, pixels)


def changes_in_words(left_out: Sequence[str], others: Sequence[str]) -> list[str]:
    """Lines on images that a training goes on without, or that are others by now; none where there are none."""
    lines = []
    if left_out:
        images = plural(len(left_out), "image that it began with is", "images that it began with are")
        lines.append(f"{images} left out from now on: {first_of(left_out)}")
    if others:
        files = plural(len(others), "image has another file", "images have other files")
        lines.append(
            f"{files} than when this was trained last: {first_of(others)}; what is learned from now on is of the new "
            "ones"
        )
    return lines
