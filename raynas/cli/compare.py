"""raynas compare."""

from __future__ import annotations

import json
from pathlib import Path

import typer

from raynas.cli.options import Parameters, argument, option

EXAMPLES = """
Examples:

    raynas compare runs/first runs/second

    raynas compare runs/train-* --out compared.html

    raynas compare runs/first s3://models/searches/second --json
"""


def parameters() -> Parameters:
    """Arguments of `raynas.compare`."""
    return [
        argument(
            "runs", list[str], "Two run folders or more, finished or not, or URIs in an object store.", is_required=True
        ),
        option("out", Path, "FILE.html for a self-contained page."),
        option("as_json", bool, "Print JSON for programs.", "--json"),
    ]


def compare(*, runs: list[str], out: Path | None = None, as_json: bool = False) -> None:
    """Set runs side by side: what they came to, and what differs between their settings."""
    from raynas import api

    found = api.compare(runs, out=out)
    if as_json:
        typer.echo(json.dumps(found.plain(), indent=2))
        return

    from raynas.console.comparisons import show_comparison_of_runs
    from raynas.console.terminal import say

    show_comparison_of_runs(found)
    if out is not None:
        say(f"page {out}")
