"""raynas evaluate."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import typer

from raynas.cli.ending import say_folder, say_report
from raynas.cli.options import OVERWRITE, TRUST_CODE, Parameters, argument, option, options
from raynas.interruption import Interrupted

EXAMPLES = """
Examples:

    raynas evaluate runs/trained

    raynas evaluate runs/trained --data folder:test --out runs/test

    raynas evaluate runs/trained --checkpoint best --data folder:val --eval-crop 0.875

    raynas evaluate runs/finalists --pick "num_params<=3e6" --data "parquet:test-*.parquet" --json

    raynas evaluate runs/found --data folder:val --img-size 280 --out result.json --predictions images.parquet
"""

_FIRST = ("data", "max_images", "seed", "shown_images")
_SOURCE = "The folder of a training, of finalists or variants, of which the most accurate is taken, or of an export."


def parameters() -> Parameters:
    """Arguments of `raynas.evaluate`."""
    from raynas.evaluation.config import EvaluateConfig

    return [
        argument("source", str, _SOURCE, is_required=True),
        option("pick", list[str], 'Which of the finalists or variants, such as "num_params<=3e6". Repeatable.'),
        option("space", str, "The space of the network, where it is not registered."),
        *options(EvaluateConfig, only=_FIRST),
        *options(EvaluateConfig, leave_out=_FIRST),
        option(
            "out",
            Path,
            "Where the result goes: a run folder, or its URI in an object store, with all of it and a page; FILE.json; "
            "or FILE.csv for the classes alone.",
        ),
        option("resume", bool, "Carry out again an evaluation in --out that was interrupted.", "--resume"),
        option("predictions", Path, "FILE.parquet for the name, label, prediction and probability of each image."),
        OVERWRITE,
        option("as_json", bool, "Print JSON for programs.", "--json"),
        TRUST_CODE,
    ]


def evaluate(*, source: str, as_json: bool = False, **given: Any) -> None:
    """Evaluate a trained network on labelled images; --out DIR makes a page of it.

    The page shows the accuracy of each class, what is taken for what, calibration, and the images that went wrong.
    """
    from raynas import api
    from raynas.storage.paths import as_path

    out = given.get("out")
    folder = None if out is None or out.suffix in (".json", ".csv") else as_path(out)
    with _repeatable():
        found = api.evaluate(source, **given)
        if as_json:
            typer.echo(json.dumps(found.plain(), indent=2))
        else:
            from raynas.console.evaluation import show_evaluation  # torch is behind it

            show_evaluation(found)
        if folder is not None:
            say_report(folder)
    if folder is not None:
        say_folder(folder)


@contextmanager
def _repeatable() -> Iterator[None]:
    """Say how an evaluation that is interrupted is carried out again.

    Raises:
        Interrupted: The error that came, once the line is said.
    """
    try:
        yield
    except Interrupted as error:
        from raynas.console.terminal import say
        from raynas.storage.run_folder import read_description

        say(f"continue with: {read_description(error.folder)['command']} --resume")
        raise
