"""What the page of a training says of its images: which they are, and what was found in them before it started."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from raynas.data.inspection import FAINT
from raynas.data.opening import described
from raynas.data.options import DataOptions
from raynas.report.text import Rows
from raynas.wording import first_of, percent, setting_text, share_decoded, shown, span, told_apart

OF_IMAGES = (*DataOptions.model_fields, "skipped_val_images")
"""Settings that are shown with the images."""

_SHOWN = 5


def image_rows(
    config: Mapping[str, Any], model: Mapping[str, Any], summary: Mapping[str, Any], found: Mapping[str, Any] | None
) -> Rows:
    """Rows on the images of a training.

    Args:
        config: The configuration of the training.
        model: What run.yaml says of its model.
        summary: The content of summary.json.
        found: What run.yaml says of its images, where they are files: an `Inspection.plain` by `train` and, where they
            are others, `val`, and the counts `per_class`.
    """
    images, found = summary.get("images") or {}, found or {}
    spread = ", spread over the classes" if config.get("image_choice") == "spread" else ""
    held_out = f"{percent(config['val_fraction'], 0)} of the images, held out by the seed{spread}"
    rows = [
        ("to train on", described(str(config["data"]))),
        ("to evaluate on", described(str(config["val_data"] or held_out))),
        ("how many", f"{images['train']:,} and {images['val']:,}" if images else ""),
        ("image side", f"{model['img_size']} pixels"),
        ("eval_crop", "" if config.get("eval_crop", 1.0) == 1.0 else setting_text(config["eval_crop"])),
        ("classes", " ".join([shown(model["num_classes"]), names_of(model.get("label_names") or [])])),
        ("images of a class", _per_class(found.get("per_class") or {})),
    ]
    said = {name: config[name] for name in OF_IMAGES if config.get(name)}
    rows += [
        (name, f"{len(value):,} {names_of(value, _SHOWN)}" if name.startswith("skipped") else setting_text(value))
        for name, value in said.items()
    ]
    for part, suffix in (("train", "" if "val" not in found else ", to train on"), ("val", ", to evaluate on")):
        if part in found:
            rows += [(f"{term}{suffix}", text) for term, text in _found_rows(found[part])]
    return [(term, text.strip()) for term, text in rows if text.strip()]


def names_of(names: Sequence[Any], limit: int = 20) -> str:
    """Names in brackets, of many the first; nothing for none.

    Args:
        names: What is listed.
        limit: How many are shown.
    """
    return f"({first_of(names, limit)})" if names else ""


def _per_class(counts: Mapping[str, Mapping[str, int]]) -> str:
    words = {"train": "to train on", "val": "to evaluate on"}
    said = [f"{span(one['fewest'], one['most'])} {words[part]}" for part, one in counts.items() if part in words]
    return ", ".join(said)


def _found_rows(found: Mapping[str, Any]) -> Rows:
    """Rows on what was found in one data set, those of zero left out."""
    # Earlier versions wrote under "decoded" how many it was tried with.
    tried = found.get("tried", found["decoded"])
    decoded = found["decoded"] if "tried" in found else tried - len(found["unreadable"])
    share = share_decoded(tried, found["looked_at"], decoded)
    classes, sizes = found["classes"], found["sizes"]
    extremes = [(end, classes[end]) for end in ("smallest", "largest") if end in classes]
    ends = [f"{end} {told_apart(one['name'])} with {one['images']:,}" for end, one in extremes]
    rows = [
        ("looked at", f"{found['looked_at']:,} of {found['images']:,}, {share}"),
        ("classes found", ", ".join([f"{classes['number']:,}", *ends]) if classes["number"] else "no labels"),
        ("modes", ", ".join(f"{number:,} {mode}" for mode, number in found["modes"].items())),
    ]
    if sizes["smallest"] and sizes["largest"]:
        smallest, largest = (" × ".join(map(str, sizes[end])) for end in ("smallest", "largest"))  # noqa: RUF001
        rows.append(("sizes", smallest if sizes["number"] == 1 else f"{sizes['number']:,}, {smallest} to {largest}"))
    unreadable = list(found["unreadable"])
    rows += [
        ("cannot be read", f"{len(unreadable):,} {names_of(unreadable, _SHOWN)}" if unreadable else ""),
        *((f"passed over, {one['reason']}", _some(one)) for one in found["passed_over"]),
    ]
    counted = {"transparent in parts, white there": "with_alpha", "turned by EXIF": "turned", "of several frames, the "
               "first taken": "with_frames"}  # fmt: skip
    rows += [(term, f"{found[name]:,}" if found[name] else "") for term, name in counted.items()]
    return [
        *rows,
        ("without an image", f"{_some(classes['without_images'])}"),
        ("all pixels alike", _some(found["constant"])),
        (f"pixels within {FAINT} of 255 levels", _some(found["faint"])),
    ]


def _some(listed: Mapping[str, Any]) -> str:
    """A number with the first names; nothing for none."""
    names = names_of(listed["names"][:_SHOWN])
    return f"{listed['number']:,} {names}" if listed["number"] else ""
