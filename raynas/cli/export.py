"""raynas export."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import typer

from raynas.cli.options import TRUST_CODE, Parameters, argument, option, options
from raynas.exporting.text import epochs_text
from raynas.exporting.words import int8_sentences, taken_words

EXAMPLES = """
Examples:

    raynas export runs/trained --out found

    raynas export runs/trained --checkpoint best --onnx --torch-export

    raynas export runs/trained --int8 --data folder:photos

    raynas export runs/trained --to hub-folder --license Apache-2.0

    raynas export runs/finalists --pick "num_params<=3e6"

    raynas export runs/grown --pick "num_params<=30e6" --untrained --num-classes 10

    raynas export as-vit-small --untrained
"""

_SOURCE = (
    "The folder of a training, or of finalists or variants, of which the most accurate is taken; with --untrained any "
    "run folder, architecture or published name."
)


def parameters() -> Parameters:
    """Arguments of `raynas.export`."""
    from raynas.exporting.config import ExportConfig

    return [
        argument("source", str, _SOURCE, is_required=True),
        option("out", Path, "Folder, new or empty. Default: runs/SPACE-export-DATE-TIME."),
        option("pick", list[str], 'Which architecture of a run, such as "num_params<=30e6". Repeatable.'),
        option("space", str, "The space of an architecture that several can read."),
        *options(ExportConfig),
        TRUST_CODE,
    ]


def export(*, source: str, **given: Any) -> None:
    """Write a model as plain code and weights that need no raynas."""
    from raynas import api
    from raynas.storage.text_files import read_json

    folder = api.export(source, **given)
    config = read_json(folder / "config.json")
    weights = config["weights"]
    if (taken := taken_words(config)) is not None:
        typer.echo(taken, err=True)
    if config["int8"] is not None:
        for sentence in int8_sentences(config["int8"]):
            typer.echo(sentence, err=True)
    if weights["trained"] and weights["epochs"] < weights["of_epochs"]:
        typer.echo(f"weights {epochs_text(weights)}", err=True)
    typer.echo(folder)
