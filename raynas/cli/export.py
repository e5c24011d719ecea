"""raynas export."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import typer

from raynas.cli.options import Parameters, argument, option

EXAMPLES = """
Examples:

    raynas export runs/trained --out found

    raynas export runs/trained --checkpoint best --onnx

    raynas export runs/finalists --pick "num_params<=3e6"

    raynas export runs/grown --pick "num_params<=30e6" --untrained --num-classes 10

    raynas export as-vit-small --untrained
"""

_SOURCE = (
    "The folder of a training, or of finalists, of which the most accurate is taken; with --untrained any run folder, "
    "architecture or published name."
)


def parameters() -> Parameters:
    """Arguments of `raynas.export`."""
    return [
        argument("source", str, _SOURCE, is_required=True),
        option("out", Path, "New or empty. Default: runs/SPACE-export-DATE-TIME."),
        option("checkpoint", str, "Of the training: last or best. Default last."),
        option("onnx", bool, "Write model.onnx too.", "--onnx"),
        option("pick", list[str], 'Which architecture of a run, such as "num_params<=30e6". Repeatable.'),
        option("space", str, "Of an architecture that several spaces can read."),
        option("img_size", int, "Without training: image side. Default: of the run, else 224.", min=1),
        option("num_classes", int, "Without training: outputs. Default: of the run, else 1000.", min=1),
        option("untrained", bool, "Export fresh weights.", "--untrained"),
        option("seed", int, "Of fresh weights. Default 0.", min=0),
    ]


def export(*, source: str, **given: Any) -> None:
    """Write a model as plain code and weights that need no raynas."""
    from raynas import api

    typer.echo(api.export(source, **given))
