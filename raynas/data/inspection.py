"""What is in a data set: looked at once, before anything starts, and kept with the run.

The headers of all images are read. All are decoded too, or, where they have more pixels together than a budget that
depends on nothing else, evenly spread ones, and all whose files do not end as files of their format do.
"""

from __future__ import annotations

import io
import shlex
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from itertools import islice
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

from raynas.cores import usable_cores
from raynas.data.dataset import ImageDataset, PassedOver
from raynas.data.decoding import Header, UndeclaredDepth, header_of, opened_image, range_hint, why_unreadable
from raynas.data.encoded import EncodedImages, Reader
from raynas.data.faults import Faults
from raynas.errors import DataError
from raynas.stats.thinning import spread
from raynas.wording import first_of, meant, plural

if TYPE_CHECKING:
    from PIL import Image

PIXEL_BUDGET = 800_000_000
"""Pixels that are decoded at most, unless everything is asked for: 16,000 images of 224 pixels a side."""

FAINT = 8
"""Levels, of 255, below which the pixels of an image are nearly alike."""

_UNREADY = 2_000  # images that are read at most where a set decodes them itself
_SEARCHED = 5_000  # images among whose names a misspelt one is looked for, in about 0.2 s
_AT_A_TIME = 512  # encoded images that are held in memory
_SHOWN = 10
_ENDS = {"PNG": b"IEND\xaeB`\x82", "JPEG": b"\xff\xd9", "MPO": b"\xff\xd9", "GIF": b";"}

_T = TypeVar("_T")


@dataclass(frozen=True)
class Inspection:
    """What was found.

    Args:
        data: The text that opened the data set.
        images: How many images it has.
        looked_at: How many of them had their headers read: all, or those that are used.
        tried: How many of these it was tried to decode, those among them that have no header to begin with.
        class_sizes: How many images each class has; empty where that is unknown.
        label_names: Names of the classes; empty if unknown.
        names_from: Where the names come from, in words; empty if unknown.
        modes: How many images there are of each of Pillow's modes.
        sizes: How many different sizes there are.
        smallest: Width and height of the image with the fewest pixels; None if no size is known.
        largest: Those of the image with the most.
        turned: How many images EXIF says to turn or mirror.
        with_alpha: How many may be transparent in parts.
        with_frames: How many have several frames.
        constant: Names of images whose pixels are all alike.
        faint: Names of others whose pixels differ by less than FAINT of 255 levels, such as masks of zeros and ones.
        undeclared: Names of images of more than 8 bits of which nothing says what is black and white.
        undeclared_range: The smallest and largest of their values.
        full_depth: How many images of 16 bits were scaled, as they declare a depth, or use their bits to the full.
        unreadable: Why images cannot be read, by their names.
        passed_over: What lies among the images and is not read.
        lacks_labels: Why there are no labels; empty where there are.
    """

    data: str
    images: int
    looked_at: int
    tried: int
    class_sizes: tuple[int, ...] = ()
    label_names: tuple[str, ...] = ()
    names_from: str = ""
    modes: Mapping[str, int] = field(default_factory=dict)
    sizes: int = 0
    smallest: tuple[int, int] | None = None
    largest: tuple[int, int] | None = None
    turned: int = 0
    with_alpha: int = 0
    with_frames: int = 0
    constant: tuple[str, ...] = ()
    faint: tuple[str, ...] = ()
    undeclared: tuple[str, ...] = ()
    undeclared_range: tuple[float, float] | None = None
    full_depth: int = 0
    unreadable: Mapping[str, str] = field(default_factory=dict)
    passed_over: tuple[PassedOver, ...] = ()
    lacks_labels: str = ""

    @property
    def decoded(self) -> int:
        """How many images were decoded without an error: those that were tried, without what cannot be read."""
        return self.tried - len(self.unreadable) - len(self.undeclared)

    def class_name(self, number: int) -> str:
        """What a class is called."""
        return self.label_names[number] if self.label_names else f"class {number}"

    @property
    def empty_classes(self) -> tuple[str, ...]:
        """The classes that no image belongs to."""
        return tuple(self.class_name(number) for number, size in enumerate(self.class_sizes) if not size)

    def extreme_classes(self) -> dict[str, dict[str, Any]]:
        """The smallest and the largest class that has images."""
        found = [(size, number) for number, size in enumerate(self.class_sizes) if size]
        if not found:
            return {}
        ends = {"smallest": min(found), "largest": max(found, key=lambda one: (one[0], -one[1]))}
        return {end: {"name": self.class_name(number), "images": size} for end, (size, number) in ends.items()}

    def per_class(self) -> list[dict[str, Any]]:
        """The name of each class, and how many images it has."""
        return [{"name": self.class_name(number), "images": size} for number, size in enumerate(self.class_sizes)]

    def plain(self) -> dict[str, Any]:
        """All but `per_class`, in values that YAML and JSON hold; of long lists the first names, but all unreadable."""
        return {
            "data": self.data,
            "images": self.images,
            "looked_at": self.looked_at,
            "tried": self.tried,
            "decoded": self.decoded,
            "classes": {
                "number": len(self.class_sizes),
                **self.extreme_classes(),
                "without_images": _some(self.empty_classes),
                "names_from": self.names_from,
                "lacks_labels": self.lacks_labels,
            },
            "modes": dict(self.modes),
            "sizes": {"number": self.sizes, "smallest": _listed(self.smallest), "largest": _listed(self.largest)},
            "turned": self.turned,
            "with_alpha": self.with_alpha,
            "with_frames": self.with_frames,
            "constant": _some(self.constant),
            "faint": _some(self.faint),
            "undeclared_depth": {**_some(self.undeclared), "range": _listed(self.undeclared_range)},
            "unreadable": dict(self.unreadable),
            "passed_over": [{"reason": one.reason, **_some(one.names)} for one in self.passed_over],
        }


def _listed(pair: Sequence[float] | None) -> list[float] | None:
    return None if pair is None else list(pair)


def _some(names: Sequence[str]) -> dict[str, Any]:
    return {"number": len(names), "names": list(names[:_SHOWN])}


def inspect(
    dataset: ImageDataset, rows: np.ndarray | None = None, *, everything: bool = False, budget: int = PIXEL_BUDGET
) -> Inspection:
    """Look at images, in threads.

    Args:
        dataset: The images.
        rows: Those to look at, such as those that are used; None: all.
        everything: Whether all of them are decoded, however many pixels they have.
        budget: How many pixels are decoded otherwise.

    Returns:
        What was found, also of images that cannot be read.

    Raises:
        DataError: What holds the images cannot be read.
    """
    rows = np.arange(len(dataset)) if rows is None else np.unique(rows)
    classes = dataset.classes
    about: dict[str, Any] = {
        "data": dataset.source,
        "images": len(dataset),
        "class_sizes": tuple(classes.sizes.tolist()) if classes is not None else (),
        "label_names": dataset.label_names,
        "names_from": classes.names_from if classes is not None else "",
        "passed_over": dataset.passed_over,
        "lacks_labels": dataset.lacks_labels,
    }
    if not isinstance(dataset, EncodedImages):
        return _inspected_by_reading(dataset, rows if everything else spread(rows, _UNREADY), len(rows), about)
    modes: Counter[str] = Counter()
    sizes: Counter[tuple[int, int]] = Counter()
    marks: Counter[str] = Counter()
    errors: dict[int, str] = {}
    readable: list[int] = []
    doubtful: list[int] = []
    deep: set[int] = set()
    for row, seen in _in_threads(_header, dataset.readers(rows)):
        if isinstance(seen, str):
            errors[row] = seen
            continue
        header, is_whole = seen
        readable.append(row)
        modes[header.mode] += 1
        sizes[header.size] += 1
        marks.update(turned=header.is_turned, with_alpha=header.has_alpha, with_frames=header.has_frames)
        if not is_whole:
            doubtful.append(row)
        if header.mode.startswith("I;16"):
            deep.add(row)
    chosen = np.array(readable, dtype=np.int64)
    pixels = sum(width * height * number for (width, height), number in sizes.items())
    if not everything and pixels > budget:
        evenly = spread(chosen, max(2, len(chosen) * budget // pixels))
        chosen = np.union1d(evenly, np.array(doubtful, dtype=np.int64))

    def look(row: int, reader: Reader) -> int | DataError:
        return _contrast(lambda: dataset.decoded(row, reader))

    full_depth = 0
    flat: list[tuple[int, int]] = []
    undeclared: list[str] = []
    extremes: list[float] = []
    for row, found in _in_threads(look, dataset.readers(chosen), with_row=True):
        if isinstance(found, UndeclaredDepth):
            undeclared.append(dataset.name(row))
            extremes += [found.least, found.most]
        elif isinstance(found, DataError):
            errors[row] = str(found).removeprefix(f"{dataset.where(row)} ").removeprefix("cannot be read: ")
        else:
            full_depth += row in deep
            flat += [(row, found)] if found < FAINT else []
    by_area = sorted(sizes, key=lambda size: (size[0] * size[1], size))
    return Inspection(
        **about,
        looked_at=len(rows),
        tried=len(chosen) + len(rows) - len(readable),
        modes=dict(modes.most_common()),
        sizes=len(sizes),
        smallest=by_area[0] if by_area else None,
        largest=by_area[-1] if by_area else None,
        turned=marks["turned"],
        with_alpha=marks["with_alpha"],
        with_frames=marks["with_frames"],
        **_named_flat(dataset, flat),
        undeclared=tuple(undeclared),
        undeclared_range=(min(extremes), max(extremes)) if extremes else None,
        full_depth=full_depth,
        unreadable={dataset.name(row): errors[row] for row in sorted(errors)},
    )


def _inspected_by_reading(dataset: ImageDataset, rows: np.ndarray, looked_at: int, about: dict[str, Any]) -> Inspection:
    """An inspection of a set that decodes its images itself, so that it has no headers to show."""
    flat, unreadable = [], {}
    for row in rows.tolist():
        seen = _contrast(partial(_read_one, dataset, row))
        if isinstance(seen, DataError):
            unreadable[dataset.name(row)] = str(seen)
        elif seen < FAINT:
            flat.append((row, seen))
    named = _named_flat(dataset, flat)
    return Inspection(**about, **named, looked_at=looked_at, tried=len(rows), unreadable=unreadable)


def _named_flat(dataset: ImageDataset, flat: Sequence[tuple[int, int]]) -> dict[str, Any]:
    """Names of images whose pixels are all alike, and nearly so, from rows with their contrasts."""
    return {
        "constant": tuple(dataset.name(row) for row, contrast in flat if contrast == 0),
        "faint": tuple(dataset.name(row) for row, contrast in flat if contrast > 0),
    }


def _read_one(dataset: ImageDataset, row: int) -> Image.Image:
    return dataset.read([row])[0][0]


def _in_threads(
    look: Callable[..., _T], readers: Iterable[tuple[int, Reader]], *, with_row: bool = False
) -> Iterator[tuple[int, _T]]:
    """What is seen of each row, in order, with few encoded images in memory at a time."""
    remaining = iter(readers)
    with ThreadPoolExecutor(usable_cores()) as pool:
        while some := list(islice(remaining, _AT_A_TIME)):
            rows, reading = zip(*some, strict=True)
            given = (rows, reading) if with_row else (reading,)
            yield from zip(rows, pool.map(look, *given, chunksize=1), strict=True)


def _header(reader: Reader) -> tuple[Header, bool] | str:
    """The header of an image, and whether its file ends as one of its format does; or why there is none."""
    try:
        content = reader()
        if not content:
            return "is empty"
        with opened_image(io.BytesIO(content)) as image:
            end = _ENDS.get(image.format or "")
            return header_of(image), end is None or content[-64:].rstrip(b"\0\n\r ").endswith(end)
    except DataError as error:
        return str(error)
    except Exception as error:  # Pillow's decoders raise what they like on broken files
        return why_unreadable(error)


def _contrast(read: Callable[[], Image.Image]) -> int | DataError:
    """How far the values of a channel go apart, in the channel where they go furthest; or why there is no image."""
    try:
        extremes: Any = read().getextrema()
    except DataError as error:
        return error
    return int(max(high - low for low, high in extremes))


def unknown_left_out(dataset: ImageDataset) -> str:
    """A line on names to leave out that no image has: misspelt ones, or those of images that are gone; or nothing."""
    missing = dataset.lacks_left_out if isinstance(dataset, EncodedImages) else ()
    if not missing:
        return ""
    is_searched = len(missing) == 1 and len(dataset) <= _SEARCHED
    hint = meant(missing[0], map(dataset.name, range(len(dataset)))) if is_searched else ""
    return f"data {dataset.source!r}: no image is named {first_of(missing, _SHOWN)}, which is to be left out.{hint}"


def check_readable(inspection: Inspection, *, skip: bool = False) -> None:
    """Refuse images that cannot be read, all at once.

    Args:
        inspection: What was found.
        skip: Whether those that are broken are left out, so that they are no error.

    Raises:
        DataError: There are such images; the message names them, and the options that go on.
    """
    faults = Faults()
    with faults.collected():
        _check_depth(inspection)
    with faults.collected():
        if not skip:
            _check_whole(inspection)
    faults.check()


def _check_depth(inspection: Inspection) -> None:
    """Refuse images of which nothing says what is black and white."""
    if inspection.undeclared and inspection.undeclared_range is not None:
        least, most = inspection.undeclared_range
        full = inspection.full_depth
        others = f", and those of {plural(full, 'other', 'others')} up to 65,535" if full else ""
        likely = 65_535 if full else most
        raise DataError(
            f"data {inspection.data!r}: {len(inspection.undeclared):,} of {inspection.tried:,} images "
            f"({first_of(inspection.undeclared, _SHOWN)}) have more than 8 bits and do not declare which values are "
            f"black and white; theirs go from {least:.6g} to {most:.6g}{others}: {range_hint(likely)}"
        )


def _check_whole(inspection: Inspection) -> None:
    """Refuse images that cannot be read."""
    if inspection.unreadable:
        named = [f"{name}: {reason}" for name, reason in inspection.unreadable.items()]
        way_on = ", --skip-unreadable goes on without them" if len(named) < inspection.looked_at else ""
        raise DataError(
            f"data {inspection.data!r}: {len(named):,} of {inspection.looked_at:,} images cannot be read "
            f"({first_of(named, _SHOWN, '; ')}); `raynas data {shlex.quote(inspection.data)}` "
            f"lists all{way_on}"
        )
