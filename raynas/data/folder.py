"""Images in folders, one for each class."""

from __future__ import annotations

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
    folders = [printable(entry.name) for entry in os.scandir(root) if entry.is_dir() and not is_hidden(entry.name)]
    found: dict[str, Path] = {}
    passed: list[tuple[str, str]] = []
    try:
        _look_below(root, "", (), found, passed)
    except OSError as error:
        raise DataError(f"data {spec!r}: cannot read {error.filename}: {error.strerror}") from None
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


def _look_below(
    folder: Path, prefix: str, above: tuple[str, ...], found: dict[str, Path], passed: list[tuple[str, str]]
) -> None:
    """Sort out what is in a folder and below, through links too, but for those to a folder that they are in.

    Args:
        folder: The folder to look into.
        prefix: What the names begin with: the path from the first folder to this one.
        above: Real paths of the folders that it is in.
        found: Receives the images by their names.
        passed: Receives what is passed over, with the reason.
    """
    own = os.path.realpath(folder)
    if own in above:
        passed.append((prefix, "a link to a folder that it is in"))
        return
    with os.scandir(folder) as entries:
        for entry in entries:
            name = f"{prefix}{printable(entry.name)}"
            if not entry.is_dir():
                reason = why_passed_over(name)
                if reason:
                    passed.append((name, reason))
                else:
                    found[name] = folder / entry.name
            elif is_hidden(entry.name):
                passed.append((f"{name}/", HIDDEN))
            else:
                _look_below(folder / entry.name, f"{name}/", (*above, own), found, passed)
