"""Images in: the embedded digits, Parquet tables, folders, torchvision sets and noise, as batches of NumPy arrays.

B images, C = 3 channels, S the image side.
"""

from __future__ import annotations

import inspect
import io
from collections.abc import Callable, Sequence
from difflib import get_close_matches
from hashlib import blake2b
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

import numpy as np

from raynas.errors import DataError

if TYPE_CHECKING:
    from PIL import Image

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)
_EXTENSIONS = (".bmp", ".gif", ".jpeg", ".jpg", ".pgm", ".png", ".ppm", ".tif", ".tiff", ".webp")


class Batch(NamedTuple):
    """Inputs of a score."""

    images: np.ndarray  # float32 (B, 3, S, S)
    labels: np.ndarray  # int64 (B,)


class ImageDataset(Protocol):
    """Labelled images by row number."""

    source: str
    """The text that opened it."""
    num_classes: int
    label_names: tuple[str, ...]
    """In label order; empty if unknown."""

    def __len__(self) -> int: ...

    def read(self, indices: Sequence[int]) -> tuple[list[Image.Image], np.ndarray]:
        """RGB images and int64 labels of some rows, in the order asked for.

        Raises:
            DataError: An image cannot be read; the message names its row.
        """
        ...

    def labels(self, indices: Sequence[int] | np.ndarray) -> np.ndarray:
        """int64 labels of some rows, without their images where that is possible."""
        ...

    def hold(self) -> None:
        """Get ready for single rows in any order.

        Raises:
            DataError: The memory does not suffice.
        """
        ...


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


def load_batch(dataset: ImageDataset, *, batch_size: int, img_size: int, seed: int) -> Batch:
    """Draw rows without replacement and prepare them: bicubic to the image side, ImageNet mean and std.

    Random data are drawn directly: N(0, 1) pixels and uniform labels.

    Returns:
        images float32 (batch_size, 3, img_size, img_size) and labels int64 (batch_size,).

    Raises:
        DataError: The data set has fewer rows, or an image cannot be read.
    """
    if batch_size < 1 or img_size < 1:
        raise DataError(
            f"a batch has at least one image of one pixel, not batch_size={batch_size}, img_size={img_size}"
        )
    rng = np.random.default_rng(seed)
    if isinstance(dataset, RandomImages):
        pixels = rng.standard_normal((batch_size, 3, img_size, img_size), dtype=np.float32)
        return Batch(pixels, rng.integers(0, dataset.num_classes, size=batch_size))
    if batch_size > len(dataset):
        raise DataError(f"data {dataset.source!r}: a batch of {batch_size} from {len(dataset)} images")
    images, labels = dataset.read(rng.choice(len(dataset), size=batch_size, replace=False).tolist())
    return Batch(np.stack([normalised(image, img_size) for image in images]), labels)


def normalised(image: Image.Image, img_size: int) -> np.ndarray:
    """An RGB image as float32 (3, img_size, img_size): squeezed to a square (bicubic), ImageNet mean and std."""
    from PIL import Image

    pixels = np.asarray(image.resize((img_size, img_size), Image.Resampling.BICUBIC), dtype=np.float32) / 255
    scaled = (pixels - np.array(IMAGENET_MEAN, np.float32)) / np.array(IMAGENET_STD, np.float32)
    return np.ascontiguousarray(scaled.transpose(2, 0, 1))


def input_hash(images: np.ndarray, labels: np.ndarray) -> str:
    """32 hexadecimal digits that identify the values, types and shapes of a batch, wherever it came from."""
    digest = blake2b(digest_size=16)
    for array in (np.asarray(images), np.asarray(labels)):
        array = array.astype(array.dtype.newbyteorder("<"), copy=False)
        digest.update(f"{array.dtype.str}{array.shape}".encode())
        digest.update(np.ascontiguousarray(array).data)
    return digest.hexdigest()


# -- kinds of data -----------------------------------------------------------------------------------------------------


class _Held:
    """Images whose single rows are at hand as they are."""

    def hold(self) -> None:
        """Nothing is to be done."""


class RandomImages(_Held):
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


class Digits(_Held):
    """The 1,797 digits of 8 x 8 grey pixels that come with scikit-learn."""

    source = "digits"
    num_classes = 10
    label_names = tuple("0123456789")

    def __init__(self) -> None:
        from sklearn.datasets import load_digits

        data = load_digits()
        self._pixels = (data.images * (255 / 16)).round().astype(np.uint8)
        self._labels = data.target.astype(np.int64)

    def __len__(self) -> int:
        return len(self._labels)

    def read(self, indices: Sequence[int]) -> tuple[list[Image.Image], np.ndarray]:
        """See ImageDataset."""
        from PIL import Image

        rows = _checked(self, indices)
        return [Image.fromarray(self._pixels[i]).convert("RGB") for i in rows], self._labels[rows]

    def labels(self, indices: Sequence[int] | np.ndarray) -> np.ndarray:
        """See ImageDataset."""
        labels: np.ndarray = self._labels[_checked(self, indices)]
        return labels


class ParquetImages:
    """A table with the columns `image` (encoded bytes, or a struct with a field `bytes`) and `label` (integers).

    Labels are held in memory; images are read row group by row group, and only where rows are asked for. Label names,
    comma separated, are taken from the schema metadata under `label_names`.
    """

    def __init__(self, spec: str, where: str) -> None:
        import pyarrow as pa
        import pyarrow.parquet as pq

        self.source = spec
        if not Path(where).is_file():
            raise DataError(f"data {spec!r}: there is no file {where!r}")
        try:
            self._file = pq.ParquetFile(where)
            schema = self._file.schema_arrow
            for name in ("image", "label"):
                if name not in schema.names:
                    raise DataError(f"data {spec!r}: no column {name!r}; columns: {', '.join(schema.names) or 'none'}")
            labels = self._file.read(columns=["label"]).column("label")
        except (pa.ArrowException, OSError) as error:
            raise DataError(f"data {spec!r}: cannot be read as Parquet: {error}") from error
        if not len(labels):
            raise DataError(f"data {spec!r}: the table has no rows")

        image_type = schema.field("image").type
        self._is_struct = pa.types.is_struct(image_type) and image_type.get_field_index("bytes") >= 0
        encoded = image_type.field("bytes").type if self._is_struct else image_type
        if not (pa.types.is_binary(encoded) or pa.types.is_large_binary(encoded)):
            raise DataError(
                f"data {spec!r}: column 'image' has the type {image_type}; "
                "expected encoded images as binary, or a struct with a binary field 'bytes'"
            )
        if not pa.types.is_integer(labels.type):
            raise DataError(f"data {spec!r}: column 'label' has the type {labels.type}; expected integers")
        if labels.null_count:
            row = labels.is_null().index(True).as_py()
            raise DataError(f"data {spec!r}: label of row {row} is null; expected an integer from 0")
        names = (schema.metadata or {}).get(b"label_names", b"").decode()
        self.label_names = tuple(name.strip() for name in names.split(",")) if names else ()
        self._labels, self.num_classes = _labels(spec, labels.to_numpy(), len(self.label_names))
        sizes = [self._file.metadata.row_group(i).num_rows for i in range(self._file.num_row_groups)]
        self._group_ends = np.cumsum(sizes)
        self._held: Any = None

    def __len__(self) -> int:
        return len(self._labels)

    def read(self, indices: Sequence[int]) -> tuple[list[Image.Image], np.ndarray]:
        """See ImageDataset."""
        rows = _checked(self, indices)
        if self._held is not None:
            return [self._decoded(row, self._held[row].as_py()) for row in rows.tolist()], self._labels[rows]
        groups = np.searchsorted(self._group_ends, rows, side="right")
        images: dict[int, Image.Image] = {}
        for group in np.unique(groups):
            start = int(self._group_ends[group - 1]) if group else 0
            images |= self._read_group(int(group), start, np.unique(rows[groups == group]))
        return [images[row] for row in rows.tolist()], self._labels[rows]

    def labels(self, indices: Sequence[int] | np.ndarray) -> np.ndarray:
        """See ImageDataset."""
        labels: np.ndarray = self._labels[_checked(self, indices)]
        return labels

    def hold(self) -> None:
        """Read all encoded images into memory; processes that are forked from this one share it."""
        import psutil
        import pyarrow as pa
        import pyarrow.compute as pc

        if self._held is not None:
            return
        groups = [self._file.metadata.row_group(i) for i in range(self._file.num_row_groups)]
        needed = sum(group.total_byte_size for group in groups)
        free = psutil.virtual_memory().available
        if needed > 0.8 * free:
            raise DataError(
                f"data {self.source!r}: {needed / 2**30:.1f} GiB of encoded images must be held in memory, of which "
                f"{free / 2**30:.1f} GiB are free; folder:DIR reads images one by one"
            )
        try:
            column = self._file.read(columns=["image"]).column("image")
        except (pa.ArrowException, OSError) as error:
            raise DataError(f"data {self.source!r}: images cannot be read: {error}") from error
        column = pc.struct_field(column, "bytes") if self._is_struct else column
        # One array with 64-bit offsets, in which a row is found at once.
        self._held = column.cast(pa.large_binary()).combine_chunks()

    def _read_group(self, group: int, start: int, rows: np.ndarray) -> dict[int, Image.Image]:
        import pyarrow as pa

        images: dict[int, Image.Image] = {}
        # In slices, since a file may be one single group.
        slices = self._file.iter_batches(batch_size=1024, row_groups=[group], columns=["image"])
        while start <= rows[-1]:
            try:
                column = next(slices).column("image")
            except (pa.ArrowException, OSError) as error:
                raise DataError(f"data {self.source!r}: images from row {start} cannot be read: {error}") from error
            column = column.field("bytes") if self._is_struct else column
            for row in rows[(rows >= start) & (rows < start + len(column))].tolist():
                images[row] = self._decoded(row, column[row - start].as_py())
            start += len(column)
        return images

    def _decoded(self, row: int, encoded: bytes | None) -> Image.Image:
        if not encoded:
            raise DataError(f"data {self.source!r}: image of row {row} is {'null' if encoded is None else 'empty'}")
        return _rgb(io.BytesIO(encoded), f"data {self.source!r}: image of row {row}")


class FolderImages(_Held):
    """One folder per class, with images in it: DIR/class/name.png; classes and files are sorted by name."""

    def __init__(self, spec: str, where: str) -> None:
        self.source = spec
        root = Path(where)
        if not root.is_dir():
            raise DataError(f"data {spec!r}: there is no folder {where!r}")
        classes = sorted(entry for entry in root.iterdir() if entry.is_dir() and not entry.name.startswith("."))
        if not classes:
            raise DataError(f"data {spec!r}: no class folders in {where!r}; expected DIR/class/image.png")
        self.label_names = tuple(entry.name for entry in classes)
        self.num_classes = len(classes)
        found = [
            (path, label)
            for label, folder in enumerate(classes)
            for path in sorted(folder.iterdir())
            if path.suffix.lower() in _EXTENSIONS and not path.name.startswith(".")
        ]
        if not found:
            raise DataError(
                f"data {spec!r}: no images in the class folders {', '.join(self.label_names)}; "
                f"expected files ending with {', '.join(_EXTENSIONS)}"
            )
        self._paths = [path for path, _ in found]
        self._labels = np.array([label for _, label in found], dtype=np.int64)

    def __len__(self) -> int:
        return len(self._paths)

    def read(self, indices: Sequence[int]) -> tuple[list[Image.Image], np.ndarray]:
        """See ImageDataset."""
        rows = _checked(self, indices)
        where = f"data {self.source!r}: image of row"
        return [_rgb(self._paths[i], f"{where} {i} ({self._paths[i]})") for i in rows], self._labels[rows]

    def labels(self, indices: Sequence[int] | np.ndarray) -> np.ndarray:
        """See ImageDataset."""
        labels: np.ndarray = self._labels[_checked(self, indices)]
        return labels


class TorchvisionImages(_Held):
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
            raise DataError(f"data {spec!r}: cannot be opened in {root!r}: {error}") from error
        if not self._length:
            raise DataError(f"data {spec!r}: the data set has no images")
        names = getattr(self._rows, "classes", None) or ()
        self.label_names = tuple(name if isinstance(name, str) else str(name[0]) for name in names)  # or synonyms
        self.num_classes = len(names)
        if not names and (labels := self._known_labels()) is not None:
            self.num_classes = _labels(spec, labels, 0)[1]
        if not self.num_classes:
            raise DataError(f"data {spec!r}: torchvision's {name} has no class labels")

    def __len__(self) -> int:
        return self._length

    def read(self, indices: Sequence[int]) -> tuple[list[Image.Image], np.ndarray]:
        """See ImageDataset."""
        images, labels = [], []
        for row in _checked(self, indices).tolist():
            where = f"data {self.source!r}: image of row {row}"
            try:
                image, label = self._rows[row]
            except Exception as error:  # whatever the set's loader raises
                raise DataError(f"{where} cannot be read: {error}") from error
            images.append(_converted(image, where))
            labels.append(label)
        return images, _labels(self.source, np.asarray(labels), self.num_classes)[0]

    def labels(self, indices: Sequence[int] | np.ndarray) -> np.ndarray:
        """See ImageDataset; of a set that does not list its labels, the images are read too."""
        rows, known = _checked(self, indices), self._known_labels()
        labels = np.array([self._rows[row][1] for row in rows.tolist()]) if known is None else known[rows]
        return _labels(self.source, labels, self.num_classes)[0]

    def _known_labels(self) -> np.ndarray | None:
        attributes = (getattr(self._rows, name, None) for name in ("targets", "labels", "_labels"))
        found = next((attribute for attribute in attributes if attribute is not None), None)
        return None if found is None else np.asarray(found)


_KINDS: dict[str, tuple[str, str, Callable[[str, str], ImageDataset]]] = {
    "digits": ("digits", "1,797 handwritten digits of 8 x 8 pixels, embedded in scikit-learn", lambda *_: Digits()),
    "folder": ("folder:DIR", "one folder per class: DIR/class/image.png", FolderImages),
    "parquet": ("parquet:FILE", "a table with encoded images and integer labels: columns image, label", ParquetImages),
    "torchvision": ("torchvision:NAME:ROOT", "a set of torchvision that is on disk already", TorchvisionImages),
    "random": ("random", "normally distributed pixels and uniform labels, no files", lambda *_: RandomImages()),
}


# -- checks and conversions --------------------------------------------------------------------------------------------


def _checked(dataset: ImageDataset, indices: Sequence[int] | np.ndarray) -> np.ndarray:
    rows = np.asarray(indices, dtype=np.int64)
    outside = rows[(rows < 0) | (rows >= len(dataset))]
    if len(outside):
        raise DataError(f"data {dataset.source!r}: no row {outside[0]}; rows are 0 to {len(dataset) - 1}")
    return rows


def _labels(spec: str, labels: np.ndarray, num_names: int) -> tuple[np.ndarray, int]:
    """The labels as int64 (B,), and the number of classes; refuses what is no class number."""
    if labels.ndim != 1 or labels.dtype.kind not in "iu":
        raise DataError(f"data {spec!r}: labels are {labels.dtype} of shape {labels.shape}; expected one integer each")
    high = num_names or np.iinfo(np.int32).max
    wrong = np.flatnonzero((labels < 0) | (labels >= high))
    if len(wrong):
        raise DataError(
            f"data {spec!r}: label of row {wrong[0]} is {labels[wrong[0]]}; expected an integer from 0 to {high - 1}"
        )
    return labels.astype(np.int64), num_names or int(labels.max()) + 1


def _rgb(file: io.BytesIO | Path, where: str) -> Image.Image:
    from PIL import Image, UnidentifiedImageError

    try:
        with Image.open(file) as image:
            return _converted(image, where)
    except DataError:
        raise
    except Exception as error:  # Pillow's decoders raise what they like on broken files
        # Pillow's text for this names an object in memory.
        reason = "it is in no known format" if isinstance(error, UnidentifiedImageError) else error
        raise DataError(f"{where} cannot be read: {reason}") from error


def _converted(image: Any, where: str) -> Image.Image:
    """Any image of Pillow as RGB; transparency is dropped."""
    from PIL import Image

    if not isinstance(image, Image.Image):
        raise DataError(f"{where} is no image but {type(image).__name__}")
    if image.mode.startswith("I"):
        # 16-bit grey; Pillow would cut everything above 255 to white.
        image = Image.fromarray((np.asarray(image).astype(np.int64) >> 8).clip(0, 255).astype(np.uint8))
    elif image.mode == "P" and "transparency" in image.info:
        image = image.convert("RGBA")  # what Pillow asks for, with a warning, on the way to RGB
    converted: Image.Image = image.convert("RGB")
    return converted


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
