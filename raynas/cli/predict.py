"""raynas predict."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import typer

from raynas.cli.options import OVERWRITE, TRUST_CODE, Parameters, argument, option, options

EXAMPLES = """
Examples:

    raynas predict runs/found --images photos --out photos.csv

    raynas predict runs/trained --images photos --top-k 3 --skip-unreadable

    raynas predict runs/found --images photos/cat.jpg --all-probabilities

    raynas predict runs/finalists --pick "num_params<=3e6" --images scans --pixel-range 0,4095 --out scans.csv
"""

_FIRST = ("top_k", "all_probabilities")


def parameters() -> Parameters:
    """Arguments of `raynas.predict`."""
    from raynas.evaluation.config import OF_LABELS, PredictConfig

    return [
        argument(
            "source",
            str,
            "The folder of a training, of finalists or variants, of which the most accurate is taken, or of an export.",
            is_required=True,
        ),
        option(
            "images",
            str,
            "Folder of the images, or its URI in an object store; they may be in folders below. Or one image.",
            is_required=True,
        ),
        option("out", Path, "FILE.csv for what is predicted. Default: standard output."),
        OVERWRITE,
        *options(PredictConfig, only=_FIRST),
        option("pick", list[str], 'Which of the finalists or variants, such as "num_params<=3e6". Repeatable.'),
        option("space", str, "The space of the network, where it is not registered."),
        *options(PredictConfig, leave_out=(*_FIRST, *OF_LABELS)),
        TRUST_CODE,
    ]


def predict(*, source: str, images: str, out: Path | None = None, **given: Any) -> None:
    """Say of which classes images are, as CSV: a line for each, with its path in the folder."""
    from raynas import api
    from raynas.console.terminal import say

    found = api.predict(source, images, out=out, **given)
    if out is None:
        typer.echo(found.csv().encode(), nl=False)
    else:
        say(f"predictions {out}")
