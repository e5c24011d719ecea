"""A contact sheet: some images of each class of a data set on one self-contained page, as a model will see them."""

from __future__ import annotations

import base64
import html
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from raynas.data.inspection import Inspection
from raynas.report.asset_files import filled
from raynas.storage.files import write_text
from raynas.wording import plural


class SheetRow(NamedTuple):
    """The images of a class.

    Args:
        name: The class's name.
        images: How many images it has.
        unreadable: How many of them are known to be such that cannot be read.
        pictures: Captions, and PNG files, of those that are shown.
    """

    name: str
    images: int
    unreadable: int
    pictures: tuple[tuple[str, bytes], ...]


def write_contact_sheet(
    path: Path, inspection: Inspection, rows: Sequence[SheetRow], *, img_size: int, augmentation: str | None
) -> Path:
    """Write the page.

    Args:
        path: The page, in a folder that is there.
        inspection: What was found in the data set.
        rows: Classes that are shown.
        img_size: Side in pixels of what is shown.
        augmentation: How images are varied, by its name; None: they are not.

    Raises:
        StoreError: It cannot be written.
    """
    write_text(path, contact_sheet_page(inspection, rows, img_size=img_size, augmentation=augmentation))
    return path


def contact_sheet_page(
    inspection: Inspection, rows: Sequence[SheetRow], *, img_size: int, augmentation: str | None
) -> str:
    """The page as HTML; names of classes and files may hold any text, none of which becomes markup."""
    shown = f"{len(rows):,} of {plural(len(inspection.class_sizes) or 1, 'class', 'classes')}"
    varied = "" if augmentation is None else f", and varied by the augmentation {augmentation}"
    parts = {
        "title": html.escape(f"{inspection.data}, {_counted(inspection.images, len(inspection.unreadable))}"),
        "subline": html.escape(f"{shown}, images as a model sees them at {img_size} pixels{varied}"),
        "side": str(min(max(img_size, 64), 224)),
        "rows": "\n".join(map(_row, rows)),
    }
    return filled("contact_sheet.html", parts)


def _row(row: SheetRow) -> str:
    figures = "".join(
        f'<figure><img alt="{html.escape(caption)}" src="data:image/png;base64,{base64.b64encode(content).decode()}">'
        f"<figcaption>{html.escape(caption)}</figcaption></figure>"
        for caption, content in row.pictures
    )
    counted = _counted(row.images, row.unreadable)
    return f"<section><h2>{html.escape(row.name)} <small>{counted}</small></h2><div>{figures}</div></section>"


def _counted(images: int, unreadable: int) -> str:
    lacking = f", of which {unreadable:,} cannot be read" if unreadable else ""
    return plural(images, "image", "images") + lacking
