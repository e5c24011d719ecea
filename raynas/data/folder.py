"""Images in folders, one for each class."""

from __future__ import annotations

import errno
import os
from collections.abc import Sequence
from pathlib import Path

from raynas.data.class_folders import HIDDEN, classes_of, gathered, is_hidden, why_passed_over
from raynas.data.encoded import EncodedImages
from raynas.data.options import DataOptions
from raynas.data.parts import Part, Parts
from raynas.errors import DataError, printable


def open_folder(spec: str, where: str, options: DataOptions, left_out: Sequence[str]) -> EncodedImages:
    """One folder for each class, with images in it or below: DIR/class/name.png; or DIR/name.png, without labels.

    Classes and files are sorted by name.

    Raises:
        DataError: The folder is missing, or has no images.
    """
    root = Path(where)
    if not root.is_dir():
        raise DataError(f"data {spec!r}: there is no folder {where!r}")
    found, passed, folders = images_below(root)
    classes, lacks_labels, images, beside = classes_of(spec, list(found), folders, where)
    parts = Parts([Part(found[name], name) for name in images])
    return EncodedImages(
        spec,
        parts,
        classes,
        options,
        lacks_labels=lacks_labels,
        passed_over=gathered([*passed, *beside]),
        left_out=left_out,
    )


def images_below(root: Path) -> tuple[dict[str, Path], list[tuple[str, str]], list[str]]:
    """What is in a folder and in the folders in it.

    Returns:
        Images by their names, which are their paths in the folder with / between and no line breaks; names of what is
        passed over, with the reasons; and names of the folders in it that may have images.
    """
    found: dict[str, Path] = {}
    passed: list[tuple[str, str]] = []
    folders = _look_below(root, "", (), found, passed)
    return found, passed, folders


def data_of_path(text: str) -> str | None:
    """How a folder, or a table, is typed that was named by its path alone; None if the text is the path of neither."""
    path = Path(text).expanduser()
    kind = "folder" if path.is_dir() else "parquet" if path.suffix == ".parquet" else None
    return kind and f"{kind}:{text}"


def _look_below(
    folder: Path, prefix: str, above: tuple[str, ...], found: dict[str, Path], passed: list[tuple[str, str]]
) -> list[str]:
    """Sort out what is in a folder and below, through links too, but for those to a folder that they are in.

    Args:
        folder: The folder to look into.
        prefix: What the names begin with: the path from the first folder to this one.
        above: Real paths of the folders that it is in.
        found: Receives the images by their names.
        passed: Receives what is passed over, with the reason.

    Returns:
        Names of the folders in it that may have images.
    """
    own = os.path.realpath(folder)
    if own in above:
        passed.append((prefix, "a link to a folder that it is in"))
        return []
    folders = []
    with os.scandir(folder) as entries:
        for entry in entries:
            name = f"{prefix}{printable(entry.name)}"
            is_folder, strange = _followed(entry)
            if not is_folder:
                if reason := why_passed_over(name) or strange:
                    passed.append((name, reason))
                else:
                    found[name] = folder / entry.name
            elif is_hidden(entry.name):
                passed.append((f"{name}/", HIDDEN))
            else:
                folders.append(printable(entry.name))
                _look_below(folder / entry.name, f"{name}/", (*above, own), found, passed)
    return folders


def _followed(entry: os.DirEntry[str]) -> tuple[bool, str]:
    """Whether an entry is or leads to a folder, and why it is none and no image either; nothing where it may be one.

    A link whose target is gone may have been an image: it is one that cannot be read.
    """
    try:
        if entry.is_dir() or entry.is_file():
            return entry.is_dir(), ""
        entry.stat()
    except (FileNotFoundError, NotADirectoryError):
        return False, ""
    except OSError as error:
        if error.errno != errno.ELOOP:
            raise
        return False, "a link that leads to itself"
    return False, "no regular file"  # one would wait for a pipe for ever
