"""What is an image, and of which class, by the name of its file: in folders and in archives alike."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import PurePosixPath

from raynas.data.dataset import PassedOver
from raynas.data.decoding import IMAGE_EXTENSIONS, readable_extensions
from raynas.data.labels import Classes, numbered_by_text, without_labels
from raynas.errors import DataError

_SYSTEM = ("__macosx", "thumbs.db", "desktop.ini", "@eadir", "$recycle.bin")  # left behind by systems, in small letters
SPLITS = frozenset(("train", "training", "val", "valid", "validation", "test", "testing"))
"""What parts of a data set are called, in small letters."""

HIDDEN = "hidden, or left behind by a system"
BESIDE_CLASSES = "beside the class folders, so of no class"


def is_hidden(name: str) -> bool:
    """Whether a file or folder by its own name is none of the user's images."""
    return name.startswith(".") or name.lower() in _SYSTEM


def why_passed_over(name: str) -> str:
    """Why a file is not read as an image; empty for images.

    Args:
        name: The path of the file in its folder or archive, with / between.
    """
    path = PurePosixPath(name)
    if any(is_hidden(part) for part in path.parts):
        return HIDDEN
    end = path.suffix.lower()
    if end not in IMAGE_EXTENSIONS:
        return "no image by the end of its name"
    return "" if end in readable_extensions() else f"the installed Pillow reads no {end}"


def in_order(names: Iterable[str]) -> list[str]:
    """Paths by their folders, then by their names."""
    return sorted(names, key=lambda name: name.split("/"))


def gathered(passed: Iterable[tuple[str, str]]) -> tuple[PassedOver, ...]:
    """What is passed over, by its reasons; pairs of a name and a reason."""
    by_reason: dict[str, list[str]] = {}
    for name, reason in passed:
        by_reason.setdefault(reason, []).append(name)
    return tuple(PassedOver(reason, tuple(in_order(names))) for reason, names in by_reason.items())


def classes_of(
    spec: str, names: Sequence[str], folders: Sequence[str], where: str
) -> tuple[Classes, str, list[str], list[tuple[str, str]]]:
    """Classes of images by the first folder of their paths.

    Args:
        spec: What the user asked for as data, for messages.
        names: Paths of the images, with / between.
        folders: Names of all first folders, also of those without images.
        where: The folder or archive, for messages.

    Returns:
        The classes; why there are no labels, or nothing; the names of the images in the order of the labels; and what
        is passed over beside, with the reason.

    Raises:
        DataError: There are no images, or the folders are parts of a data set rather than classes.
    """
    if not folders:
        lacks = f"no class folders in {where!r}; expected DIR/class/image.png"
        if not names:
            raise DataError(f"data {spec!r}: {lacks}")
        return without_labels(len(names)), lacks, in_order(names), []
    if len(folders) > 1 and {folder.lower() for folder in folders} <= SPLITS:
        raise DataError(
            f"data {spec!r}: {where!r} holds parts of a data set, {', '.join(sorted(folders))}, and no class folders; "
            "name one of them"
        )
    inside = in_order(name for name in names if "/" in name)
    if not inside:
        raise DataError(
            f"data {spec!r}: no images in the class folders {', '.join(sorted(folders))}; "
            f"expected files ending with {', '.join(readable_extensions())}"
        )
    classes = numbered_by_text([name.partition("/")[0] for name in inside], "the class folders", folders)
    return classes, "", inside, [(name, BESIDE_CLASSES) for name in names if "/" not in name]
