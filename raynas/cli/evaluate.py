"""raynas evaluate."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import typer

from raynas.cli.options import TRUST_CODE, Parameters, argument, option, options

EXAMPLES = """
Examples:

    raynas evaluate runs/trained

    raynas evaluate runs/trained --checkpoint best --data folder:val --eval-crop 0.875

    raynas evaluate runs/finalists --pick "num_params<=3e6" --data "parquet:test-*.parquet" --json

    raynas evaluate runs/found --data folder:val --img-size 280 --out result --predictions result/images.parquet
"""

_SOURCE = "The folder of a training, of finalists or variants, of which the most accurate is taken, or of an export."


def parameters() -> Parameters:
    """Arguments of `raynas.evaluate`."""
    from raynas.evaluation.config import EvaluateConfig

    return [
        argument("source", str, _SOURCE, is_required=True),
        option("pick", list[str], 'Which of the finalists or variants, such as "num_params<=3e6". Repeatable.'),
        option("space", str, "The space of the network, where it is not registered."),
        *options(EvaluateConfig),
        option("out", Path, "Where the result goes: FILE.json, FILE.csv for the classes alone, or a folder with both."),
        option("predictions", Path, "FILE.parquet for the name, label, prediction and probability of each image."),
        option("as_json", bool, "Print JSON for programs.", "--json"),
        TRUST_CODE,
    ]


def evaluate(*, source: str, as_json: bool = False, **given: Any) -> None:
    """Evaluate a trained network on labelled images."""
    from raynas import api

    found = api.evaluate(source, **given)
    if as_json:
        typer.echo(json.dumps(found.plain(), indent=2))
        return

    from raynas.console.evaluation import show_evaluation  # torch is behind it

    show_evaluation(found)
