"""raynas data."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import typer

from raynas.cli.options import Parameters, argument, option, options
from raynas.errors import ConfigError

_OF_PAGE = ("img_size", "augmentation", "per_class", "seed")  # options of the page

_NEED_LABELS = (
    "search, score, scale, bench, train, finetune, distill, supernet, evaluate and export refuse images without "
    "labels; pretrain and analyze take them, as does a training by an objective of your own that needs none, and "
    "predict names their classes"
)

EXAMPLES = """
Examples:

    raynas data folder:train

    raynas data "parquet:train-*.parquet" --image-column img --label-column fine_label --json

    raynas data folder:xrays --pixel-range 0,4095 --img-size 224 --out xrays.html

    raynas data folder:train --augmentation strong --img-size 64 --out varied.html
"""


def parameters() -> Parameters:
    """The data set, how it is read, and what is made of it."""
    from raynas.config import MOST, MOST_SIDE
    from raynas.data.options import DataOptions

    return [
        argument("spec", str, "The images, as --data takes them; see `raynas list datasets`.", is_required=True),
        *options(DataOptions),
        option("decode_all", bool, "Decode all images, however many there are.", "--decode-all"),
        option("as_json", bool, "Print JSON for programs.", "--json"),
        option("out", Path, "Write a page with some images of each class, as a model sees them.", dir_okay=False),
        option("img_size", int, "Image side in pixels on that page. Default 224.", min=1, max=MOST_SIDE),
        option("augmentation", str, "Show images varied, too: strong, light or none, as trainings take it."),
        option("per_class", int, "Images of a class on that page. Default 4.", min=1, max=MOST),
        option("seed", int, "Seed of what is on that page. Default 0.", min=0),
    ]


def data(
    *,
    spec: str,
    decode_all: bool = False,
    as_json: bool = False,
    out: Path | None = None,
    **fields: Any,
) -> None:
    """Say what is in a data set, and show what a model sees of it; fails where a training would refuse the images.

    Images without labels are no failure: it says that there are none, and what needs them.
    """
    from raynas import api
    from raynas.console.images import images_block
    from raynas.console.terminal import say

    of_page = {name: fields.pop(name) for name in _OF_PAGE if name in fields}
    if of_page and out is None:
        raise ConfigError(f"{', '.join(of_page)} is of the page with images: say where to write it, by --out")
    found = api.inspect_data(spec, decode_all=decode_all or fields.get("skip_unreadable", False), **fields)
    if as_json:
        typer.echo(json.dumps({**found.plain(), "per_class": found.per_class()}, indent=2))
    else:
        for line in images_block(found, "images", most=len(found.unreadable)):
            say(line, stderr=False)
        if found.lacks_labels:
            say(f"  {_NEED_LABELS}", stderr=False)
    if out is not None:
        say(f"page {api.contact_sheet(spec, out, inspection=found, **of_page, **fields)}", stderr=as_json)
    api.check_data(found, **fields)
