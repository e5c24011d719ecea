"""What is in a data set, as a person reads it."""

from __future__ import annotations

from collections.abc import Mapping

from raynas.data.inspection import FAINT, Inspection
from raynas.errors import printable
from raynas.wording import first_of, plural, share_decoded, span, told_apart


def images_block(inspection: Inspection, title: str, *, most: int = 20) -> list[str]:
    """Lines on what was found in a data set: first how much there is, then all that a person may not expect.

    Args:
        inspection: What was found.
        title: What the images are for, such as "images to train on".
        most: How many images that cannot be read are named.
    """
    one = inspection
    looked = "" if one.looked_at == one.images else f", of which {one.looked_at:,} are used and were looked at"
    share = share_decoded(one.tried, one.looked_at, one.decoded)
    lines = [f"{title}: {one.data}, {plural(one.images, 'image', 'images')}{looked}, {share}"]
    if one.class_sizes:
        ends = one.extreme_classes()
        said = ", ".join(f"{end} {told_apart(found['name'])} with {found['images']:,}" for end, found in ends.items())
        lines.append(f"  {plural(len(one.class_sizes), 'class', 'classes')}: {said}; {_names(one)}")
    else:
        lines.append(f"  no labels: {one.lacks_labels}" if one.lacks_labels else "  no labels")
    if one.modes:
        modes = ", ".join(f"{number:,} {mode}" for mode, number in one.modes.items())
        lines.append(f"  {modes}; {_sizes(one)}")
    if one.empty_classes:
        lines.append(f"  classes without images: {first_of(one.empty_classes)}")
    if one.with_alpha:
        lines.append(f"  {one.with_alpha:,} may be transparent in parts; white is seen there")
    if one.turned:
        lines.append(f"  {plural(one.turned, 'is', 'are')} turned or mirrored as EXIF says")
    if one.with_frames:
        lines.append(f"  {plural(one.with_frames, 'has', 'have')} several frames, of which the first is taken")
    if one.constant:
        lines.append(f"  all pixels alike in {len(one.constant):,}: {first_of(one.constant)}")
    if one.faint:
        lines.append(
            f"  pixels nearly alike, within {FAINT} of 255 levels, in {len(one.faint):,}: {first_of(one.faint)}"
        )
    if one.undeclared and one.undeclared_range is not None:
        low, high = one.undeclared_range
        lines.append(
            f"  more than 8 bits, from {low:.6g} to {high:.6g}, with no depth declared, in {len(one.undeclared):,}: "
            f"{first_of(one.undeclared)}; --pixel-range says what is black and white"
        )
    unreadable = [f"  cannot be read: {name}: {reason}" for name, reason in one.unreadable.items()]
    lines += unreadable[:most]
    if len(unreadable) > most:
        lines.append(f"  and {len(unreadable) - most:,} more that cannot be read, which `raynas data` lists")
    lines += [f"  passed over, {passed.reason}: {first_of(passed.names)}" for passed in one.passed_over]
    return [printable(line) for line in lines]  # names of classes and images may hold anything


def training_images_block(
    inspections: Mapping[str, Inspection], class_counts: Mapping[str, Mapping[str, int]]
) -> list[str]:
    """Lines on the images of a training; none where they come from no files.

    Args:
        inspections: What was found, by `train` and `val`.
        class_counts: The fewest and the most images of a class, by `train` and `val`.
    """
    train, val = inspections.get("train"), inspections.get("val")
    is_one = train is not None and val is train
    lines = [] if train is None else images_block(train, "images" if is_one else "images to train on")
    lines += [] if val is None or is_one else images_block(val, "images to evaluate on")
    if train is not None and val is not None and bool(train.label_names) != bool(val.label_names):
        lines.append("  only one of the two names its classes: they are matched by their numbers")
    if lines and class_counts:
        said = [span(counts["fewest"], counts["most"]) for counts in class_counts.values()]
        lines.append(f"  per class: {said[0]} to train on, {said[1]} to evaluate on")
    return lines


def _names(inspection: Inspection) -> str:
    if not inspection.label_names:
        return "they have no names"
    return f"names from {inspection.names_from}: {first_of(inspection.label_names)}"


def _sizes(inspection: Inspection) -> str:
    if inspection.smallest is None or inspection.largest is None:
        return ""
    (width, height), (wide, high) = inspection.smallest, inspection.largest
    if inspection.sizes == 1:
        return f"{width} x {height} pixels"
    return f"{inspection.sizes:,} sizes from {width} x {height} to {wide} x {high} pixels"
