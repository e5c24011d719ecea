"""raynas report and raynas list."""

from __future__ import annotations

import json
from enum import Enum
from pathlib import Path
from typing import Any

import typer

from raynas.cli.options import Parameters, argument, option

REPORT_EXAMPLES = "Example:\n\n    raynas report runs/first"
LIST_EXAMPLES = (
    "Examples:\n\n    raynas list proxies\n\n    raynas list spaces --json\n\n    raynas list runs s3://models/searches"
)

_ONLY_IN_JSON = ("outputs", "description", "batch_norm", "batch_norm_reason", "departures", "measured")
_ONLY_IN_JSON_OF = {
    "recipes": ("settings", "hardware", "source", "notes"),
    "runs": ("done", "total", "unit", "share", "left_s"),
}


def report_parameters() -> Parameters:
    """The folder whose page is written."""
    return [argument("run", Path, "A run folder, finished or not, or its URI in an object store.", is_required=True)]


def report(*, run: Path) -> None:
    """Write report.html, one self-contained page, into a run folder."""
    from raynas import api

    typer.echo(api.report(run))


def list_parameters() -> Parameters:
    """The kind that is listed, and whether it is printed for programs."""
    from raynas.api.lists import LISTS

    kinds = Enum("Kind", {name: name for name in LISTS})  # type: ignore[misc]
    return [
        argument("kind", kinds, "What to list.", is_required=True),
        argument("where", str, "Of runs: the folder they are below, or its URI in an object store. Default: runs."),
        option("as_json", bool, "Print JSON for programs.", "--json"),
    ]


def list_(*, kind: Any, where: str | None = None, as_json: bool = False) -> None:
    """List spaces, models, proxies, searchers, objectives of trainings, data sets, recipes, or runs."""
    from raynas.api.lists import listing
    from raynas.console.terminal import print_rows, say

    rows = listing(kind.value, where)
    if as_json:
        print(json.dumps(rows, indent=2))
        return
    if not rows:
        say(f"there are no {kind.value}" + (f" in {where}" if where else ""))
        return
    hidden = (*_ONLY_IN_JSON, *_ONLY_IN_JSON_OF.get(kind.value, ()))
    print_rows([{name: value for name, value in row.items() if name not in hidden} for row in rows])
