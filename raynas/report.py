"""One self-contained page from a run folder: what was searched, what was found, what failed, and where the time went.

The page holds its data as JSON and draws itself; it loads nothing and works from a file. What it says follows from the
run folder alone, so writing it twice gives the same bytes. Neither torch nor Ray is imported here.
"""

from __future__ import annotations

import html
import json
import re
from collections.abc import Mapping
from importlib.resources import files
from pathlib import Path
from typing import Any

from raynas.report_data import report_data
from raynas.store import write_text

__all__ = ["page", "report_data", "write_report"]

_SCRIPTS = ("values.js", "pictures.js", "plot.js", "scatter.js", "courses.js", "tables.js", "page.js")
_PLACEHOLDER = re.compile(r"\{\{(\w+)\}\}")


def write_report(folder: Path) -> Path:
    """Write report.html into a run folder, finished or not.

    Args:
        folder: Of the run.

    Returns:
        The page.

    Raises:
        StoreError: The folder holds no run, or cannot be written.
    """
    from raynas.api import load_run

    run = load_run(folder)
    path = run.folder / "report.html"
    write_text(path, page(report_data(run)))
    return path


def page(data: Mapping[str, Any]) -> str:
    """The page as HTML.

    Args:
        data: From `report_data`; may hold any text, none of which becomes markup.
    """
    source = files("raynas") / "report_page"
    parts = {
        "title": html.escape(str(data["title"])),
        "css": (source / "page.css").read_text(encoding="utf-8"),
        # In a script element, only "<" can begin something else than data.
        "data": json.dumps(data, separators=(",", ":"), allow_nan=False).replace("<", "\\u003c"),
        "scripts": "\n".join((source / name).read_text(encoding="utf-8") for name in _SCRIPTS),
    }
    template = (source / "template.html").read_text(encoding="utf-8")
    return _PLACEHOLDER.sub(lambda match: parts[match[1]], template)
