"""raynas report and raynas list."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from raynas.cli.options import JsonOption

REPORT_EXAMPLES = "Example:\n\n    raynas report runs/first"
LIST_EXAMPLES = "Examples:\n\n    raynas list proxies\n\n    raynas list spaces --json"


class Kind(StrEnum):
    """What `raynas list` lists."""

    SPACES = "spaces"
    MODELS = "models"
    PROXIES = "proxies"
    SEARCHERS = "searchers"
    DATASETS = "datasets"


def report(
    run: Annotated[Path, typer.Argument(help="A run folder, finished or not.")],
) -> None:
    """Write report.html, one self-contained page, into a run folder."""
    from raynas.report.page import write_report

    typer.echo(write_report(run))


def list_(kind: Annotated[Kind, typer.Argument(help="What to list.")], as_json: JsonOption = False) -> None:
    """List spaces, models, proxies, searchers or data sets."""
    from raynas.cli.commands import show_list

    show_list(kind.value, as_json=as_json)
