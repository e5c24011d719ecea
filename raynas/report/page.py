"""One self-contained page from a run folder: what was done, what came of it, what failed, and where the time went.

The page holds its data as JSON and draws itself; it loads nothing and works from a file. What it says of a run
that has ended follows from the run folder alone, so writing it twice gives the same bytes; of one that goes on, it says
when it was written. Neither torch nor Ray is imported here.
"""

from __future__ import annotations

import html
import json
import re
from base64 import b64encode
from collections.abc import Mapping
from hashlib import sha256
from pathlib import Path
from typing import Any

from raynas.errors import StoreError
from raynas.report.asset_files import asset, filled
from raynas.report.kinds import ReportedKind, layout_of
from raynas.report.search import report_data
from raynas.storage.files import write_text
from raynas.storage.kinds import run_kinds
from raynas.storage.locks import check_inside
from raynas.storage.paths import as_path
from raynas.storage.run_folder import kind_of, read_description, reading

__all__ = ["live_data", "page", "report_data", "write_report"]


_SECTION = re.compile(r'^  <section id="(\w+)".*?^  </section>\n', re.MULTILINE | re.DOTALL)


def write_report(folder: Path) -> Path:
    """Write report.html into a run folder, finished or not.

    The searches of a sweep, and the trainings of finalists and variants, get theirs too: its links lead somewhere.

    Args:
        folder: The folder of a search, a scoring run, a benchmark of proxies, a growth, a training, finalists, variants
            or a sweep.

    Returns:
        The page.

    Raises:
        StoreError: The folder holds no run, one of a kind that has no report, or cannot be written.
    """
    folder = as_path(folder)
    check_inside(folder)
    kind = _reported_kind(folder)
    path = folder / "report.html"
    with reading(folder):
        if kind.refresh is not None:
            kind.refresh(folder)
        text = page(kind.data(folder, write_report))
    write_text(path, text)
    return path


def live_data(folder: Path) -> dict[str, Any]:
    """What the page of a run shows, made anew; nothing is written anywhere.

    Args:
        folder: The run folder, finished or not.

    Raises:
        StoreError: It holds no run, one of a kind that has no report, or cannot be read.
    """
    folder = as_path(folder)
    check_inside(folder)
    kind = _reported_kind(folder)
    with reading(folder):
        return kind.data(folder, _looked_at)


def _looked_at(part: Path) -> Path:
    """The folder of a run that is part of another, if a page can be made of it."""
    _reported_kind(part)
    return part


def _reported_kind(folder: Path) -> ReportedKind:
    name = kind_of(read_description(folder))
    kind = run_kinds.get(name) if name in run_kinds else None
    if not isinstance(kind, ReportedKind):
        known = ", ".join(known for known in run_kinds if isinstance(run_kinds.get(known), ReportedKind))
        raise StoreError(f"{folder} holds a run of the kind {name!r}; there are reports of the kinds {known}")
    return kind


def page(data: Mapping[str, Any]) -> str:
    """The page as HTML.

    Args:
        data: What the function of a kind of run returns, such as `raynas.report.search.report_data`, with the name of
            its layout as `layout` unless it is that of a search; may hold any text, none of which becomes markup. With
            `live`, the page asks the server that it is from how its runs stand: {state, version, home, runs}.
    """
    layout = layout_of(data.get("layout", "search"))
    is_live = "live" in data
    scripts, styles = [*layout.scripts, *["live.js"] * is_live], [*layout.styles, *["live.css"] * is_live]
    script = f'\n"use strict";\n(() => {{\n{asset(*scripts)}\n}})();\n'
    sections = {match[1]: match[0] for match in _SECTION.finditer(asset(*layout.markup))}
    parts = {
        "title": html.escape(str(data["title"])),
        "css": asset(*styles),
        "sections": "".join(sections[name] for name in layout.sections),
        "first": layout.sections[0],
        # In a script element, only "<" can begin something else than data.
        "data": json.dumps(data, separators=(",", ":"), allow_nan=False).replace("<", "\\u003c"),
        "script": script,
        "asks": "; connect-src 'self'" if is_live or data.get("layout") == "runs" else "",
        # Whatever stands in the data, the page runs this script alone.
        "hash": f"sha256-{b64encode(sha256(script.encode()).digest()).decode()}",
    }
    return filled("template.html", parts)
