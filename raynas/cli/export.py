"""raynas export."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

EXAMPLES = """
Examples:

    raynas export runs/trained --out found

    raynas export runs/trained --checkpoint best --onnx

    raynas export runs/finalists --pick "num_params<=3e6"

    raynas export runs/grown --pick "num_params<=30e6" --untrained --num-classes 10

    raynas export as-vit-small --untrained
"""


def export(
    source: Annotated[
        str,
        typer.Argument(
            help="The folder of a training, or of finalists, of which the most accurate is taken; with --untrained any "
            "run folder, architecture or published name."
        ),
    ],
    out: Annotated[
        Path | None,
        typer.Option(help="New or empty. Default: runs/SPACE-export-DATE-TIME.", show_default=False),
    ] = None,
    checkpoint: Annotated[
        str | None, typer.Option(help="Of the training: last or best. Default last.", show_default=False)
    ] = None,
    onnx: Annotated[bool, typer.Option("--onnx", help="Write model.onnx too.")] = False,
    pick: Annotated[
        list[str] | None, typer.Option(help='Which architecture of a run, such as "num_params<=30e6". Repeatable.')
    ] = None,
    space: Annotated[str | None, typer.Option(help="Of an architecture that several spaces can read.")] = None,
    img_size: Annotated[int | None, typer.Option(min=1, help="Without training: image side. Default 224.")] = None,
    num_classes: Annotated[int | None, typer.Option(min=1, help="Without training: outputs. Default 1000.")] = None,
    untrained: Annotated[bool, typer.Option("--untrained", help="Export fresh weights.")] = False,
    seed: Annotated[int, typer.Option(min=0, help="Of fresh weights.")] = 0,
) -> None:
    """Write a model as plain code and weights that need no raynas."""
    from raynas.exporting.export import export as write

    folder = write(
        source,
        out,
        checkpoint=checkpoint,
        onnx=onnx,
        pick=pick or (),
        space=space,
        img_size=img_size,
        num_classes=num_classes,
        untrained=untrained,
        seed=seed,
    )
    typer.echo(folder)
