"""One self-contained page from a run folder: what was done, what came of it, what failed, and where the time went.

The page holds its data as JSON and draws itself; it loads nothing and works from a file. What it says follows from the
run folder alone, so writing it twice gives the same bytes. Neither torch nor Ray is imported here.
"""

from __future__ import annotations

import html
import json
import re
from collections.abc import Callable, Mapping
from importlib.resources import files
from pathlib import Path
from typing import Any, NamedTuple

from raynas.errors import StoreError
from raynas.report.search import report_data
from raynas.storage.files import write_text
from raynas.storage.run_folder import kind_of, read_description

__all__ = ["page", "report_data", "write_report"]


class _Layout(NamedTuple):
    """Sections of a page in order, and the scripts that draw them."""

    sections: tuple[str, ...]
    scripts: tuple[str, ...]
    styles: tuple[str, ...] = ("page.css", "lines.css")
    markup: tuple[str, ...] = ("sections.html",)


_SEARCH = ("best", "scatter", "progress", "policy", "failures", "correlation", "time", "setup")
_BASE = ("values.js", "pictures.js", "plot.js", "tables.js", "head.js")
_LINES = (*_BASE, "lines.js")
_DRAWN = (*_BASE, "scatter.js", "traces.js")

_LAYOUTS = {
    "search": _Layout(_SEARCH, (*_DRAWN, "page.js"), ("page.css",)),
    "growth": _Layout(
        ("growth", "steps", "family", *_SEARCH), (*_DRAWN, "lines.js", "towers.js", "growth.js", "page.js")
    ),
    "training": _Layout(("curves", "phases", "model", "epochs", "time", "setup"), (*_LINES, "training.js")),
    "sweep": _Layout(("traces", "levels", "searches", "setup"), (*_LINES, "sweep.js")),
    "bench": _Layout(
        ("ranking", "heat", "scatter", "among", "numbers", "strata", "failures", "time", "setup"),
        (*_LINES, "scatter.js", "bench_heat.js", "bench_scatter.js", "bench_table.js", "bench.js"),
        ("page.css", "lines.css", "bench.css"),
        ("sections.html", "bench.html"),
    ),
    "finalists": _Layout(
        ("finalists", "trials", "best", "scatter", "correlation", "setup"), (*_LINES, "scatter.js", "finalists.js")
    ),
}

_PLACEHOLDER = re.compile(r"\{\{(\w+)\}\}")
_SECTION = re.compile(r'^  <section id="(\w+)".*?^  </section>\n', re.MULTILINE | re.DOTALL)


def write_report(folder: Path) -> Path:
    """Write report.html into a run folder, finished or not.

    The searches of a sweep and the trainings of finalists get theirs too, so that its links lead somewhere.

    Args:
        folder: The folder of a search, a scoring run, a benchmark of proxies, a growth, a training, finalists or a
            sweep.

    Returns:
        The page.

    Raises:
        StoreError: The folder holds no run, one of a kind that has no report, or cannot be written.
    """
    folder = Path(folder)
    kind = kind_of(read_description(folder))
    if kind not in _READERS:
        raise StoreError(
            f"{folder} holds a run of the kind {kind!r}; there are reports of the kinds {', '.join(_READERS)}"
        )
    data = _READERS[kind](folder)
    path = folder / "report.html"
    write_text(path, page(data))
    return path


def page(data: Mapping[str, Any]) -> str:
    """The page as HTML.

    Args:
        data: From `report_data`, or of another kind, which it names as its `layout`; may hold any text, none of which
            becomes markup.
    """
    source = files("raynas.report") / "assets"

    def read(*names: str) -> str:
        return "\n".join((source / name).read_text(encoding="utf-8") for name in names)

    layout = _LAYOUTS[data.get("layout", "search")]
    sections = {match[1]: match[0] for match in _SECTION.finditer(read(*layout.markup))}
    parts = {
        "title": html.escape(str(data["title"])),
        "css": read(*layout.styles),
        "sections": "".join(sections[name] for name in layout.sections),
        "first": layout.sections[0],
        # In a script element, only "<" can begin something else than data.
        "data": json.dumps(data, separators=(",", ":"), allow_nan=False).replace("<", "\\u003c"),
        "scripts": read(*layout.scripts),
    }
    return _PLACEHOLDER.sub(lambda match: parts[match[1]], read("template.html"))


def _search(folder: Path) -> dict[str, Any]:
    from raynas.bench.folder import is_bench
    from raynas.storage.runs import load_run

    if is_bench(folder):
        from raynas.report.bench import bench_report_data

        return bench_report_data(folder)
    return report_data(load_run(folder))


def _training(folder: Path) -> dict[str, Any]:
    from raynas.report.training import training_report_data
    from raynas.training.folder import load_training

    return training_report_data(load_training(folder))


def _finalists(folder: Path) -> dict[str, Any]:
    from raynas.report.finalists import finalists_report_data

    return finalists_report_data(folder, write_report)


def _sweep(folder: Path) -> dict[str, Any]:
    from raynas.report.sweep import sweep_report_data

    return sweep_report_data(folder, write_report)


_READERS: Mapping[str, Callable[[Path], dict[str, Any]]] = {
    "search": _search,
    "training": _training,
    "finalists": _finalists,
    "sweep": _sweep,
}
