"""Images in archives: one of them with a folder for each class, or the shards of a webdataset."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from raynas.data.class_folders import classes_of, gathered, is_hidden, why_passed_over
from raynas.data.encoded import EncodedImages
from raynas.data.labels import Classes, numbered, numbered_by_text, without_labels
from raynas.data.options import DataOptions
from raynas.data.parts import Part, Parts, members_of, read_part
from raynas.data.shards import check_regular, names_of, shards_of
from raynas.errors import DataError, error_words, on_one_line

_LABEL_FIELDS = ("label", "cls")  # of key.json, where none is named
_WHOLE = re.compile(r"-?\d+")
_DIGITS = 18  # that fit in 64 bits


def open_archive(spec: str, where: str, options: DataOptions, left_out: Sequence[str]) -> EncodedImages:
    """A zip or tar archive with a folder for each class, as `open_folder` reads them; folders around all are left away.

    Raises:
        DataError: It is missing, no archive, or has no images.
    """
    path = Path(where)
    check_regular(spec, path)
    members, passed = members_of(spec, path)
    parts = {}
    for part in members:
        reason = why_passed_over(part.name)
        if reason:
            passed.append((part.name, reason))
        else:
            parts[part.name] = part
    around = _around(list(parts))
    shorter = {name.removeprefix(around): part for name, part in parts.items()}
    folders = sorted({name.partition("/")[0] for name in shorter if "/" in name})
    classes, lacks_labels, images, beside = classes_of(spec, list(shorter), folders, where)
    store = Parts([shorter[name]._replace(name=name) for name in images])
    passed_over = gathered([*passed, *beside])
    return EncodedImages(
        spec, store, classes, options, lacks_labels=lacks_labels, passed_over=passed_over, left_out=left_out
    )


def _around(names: Sequence[str]) -> str:
    """The folders, with / at the end, that all images are in and below which they still have a folder each."""
    around = ""
    while names:
        firsts = {name[len(around) :].partition("/")[0] for name in names}
        if len(firsts) > 1 or any(name[len(around) :].count("/") < 2 for name in names):
            break
        around += f"{firsts.pop()}/"
    return around


def open_webdataset(spec: str, where: str, options: DataOptions, left_out: Sequence[str]) -> EncodedImages:
    """Tar archives in which key.jpg is an image and key.cls, or a field of key.json, its label; keys end at a dot.

    Labels are integers from 0, which files key.cls have as texts, or other texts or booleans, whose order then numbers
    the classes.

    Raises:
        DataError: There are no such archives, or no images in them; a label is missing, or of another form.
    """
    images: list[Part] = []
    found: list[Any] = []
    passed: list[tuple[str, str]] = []
    paths = shards_of(spec, where, ".tar")
    for path, shard in zip(paths, names_of(paths), strict=True):
        members, strange = members_of(spec, path)
        passed += [(f"{shard}/{name}", reason) for name, reason in strange]
        samples: dict[str, dict[str, Part]] = {}
        for part in members:
            folder, slash, name = part.name.rpartition("/")
            key, _, end = name.partition(".")
            if is_hidden(name):
                passed.append((f"{shard}/{part.name}", why_passed_over(part.name)))
            else:
                samples.setdefault(f"{folder}{slash}{key}", {})[f".{end.lower()}"] = part
        for key, files in samples.items():
            pictures = [part for end, part in files.items() if not why_passed_over(f"image{end}")]
            if len(pictures) != 1:
                reason = "a key without an image" if not pictures else "a key with several images"
                passed.append((f"{shard}/{key}", reason))
                continue
            images.append(pictures[0]._replace(name=f"{shard}/{pictures[0].name}"))
            found.append(_label(spec, f"{shard}/{key}", files, options.label_column))
    if not images:
        raise DataError(f"data {spec!r}: no images in it; expected archives with key.jpg, and key.cls or key.json")
    classes, lacks_labels = _classes(spec, images, found, options)
    return EncodedImages(
        spec,
        Parts(images),
        classes,
        options,
        lacks_labels=lacks_labels,
        passed_over=gathered(passed),
        left_out=left_out,
    )


def _label(spec: str, key: str, files: dict[str, Part], field: str | None) -> Any:
    """The label of a key as its files have it; None if they have none."""
    try:
        if ".cls" in files and field is None:
            return read_part(files[".cls"]).decode(errors="replace").strip()
        if ".json" not in files:
            return None
        content = json.loads(read_part(files[".json"]))  # which may have numbers that are not finite in other fields
    except (OSError, ValueError, RecursionError) as error:
        raise DataError(f"data {spec!r}: the label of {key} cannot be read: {error_words(error)}") from None
    if not isinstance(content, dict):
        return None
    return next((content[one] for one in ((field,) if field else _LABEL_FIELDS) if one in content), None)


def _classes(spec: str, images: Sequence[Part], found: Sequence[Any], options: DataOptions) -> tuple[Classes, str]:
    """The classes, and why there are no labels, or nothing."""
    field = options.label_column or "label"
    if all(label is None for label in found):
        return without_labels(len(found)), f"no file key.cls, and no field {field!r} in a file key.json"
    if None in found:
        name = images[found.index(None)].name
        raise DataError(f"data {spec!r}: {name} has no label, and others have one")
    for image, label in zip(images, found, strict=True):
        if not isinstance(label, int | str):
            told = "no text" if isinstance(label, dict | list) else repr(label)
            raise DataError(f"data {spec!r}: the label of {image.name} is {told}; expected a text or an integer")
    texts = [str(label).lower() if isinstance(label, bool) else str(label) for label in found]
    if not all(map(_WHOLE.fullmatch, texts)):
        return numbered_by_text(texts, "the labels, sorted"), ""
    for image, text in zip(images, texts, strict=True):
        if text.startswith("-") or len(text.lstrip("0")) > _DIGITS:
            raise DataError(
                f"data {spec!r}: the label of {image.name} is {on_one_line(text, 40)}; expected an integer from 0"
            )
    return numbered(spec, np.array([int(text[-_DIGITS:]) for text in texts], dtype=np.int64)), ""
