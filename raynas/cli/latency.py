"""raynas latency."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import typer

from raynas.cli.ending import resumable, say_folder, say_report
from raynas.cli.options import OUT, RESUME, TRUST_CODE, Parameters, argument, option, options
from raynas.errors import ConfigError

EXAMPLES = """
Examples:

    raynas latency runs/exported --batch-size 1 --batch-size 16

    raynas latency vit --architecture deit-tiny --engine torch --engine compile --threads 1 --threads 2

    raynas latency timm:mobilenetv3_small_100 --img-size 224 --json

    raynas latency vit --img-size 64 --out runs/latency

    raynas latency runs/latency --predict "p16-w192-d12-h3-m4"

    raynas search vit --img-size 64 --latency runs/latency -o naswot -c "latency<=5"
"""

_SOURCE = (
    "A network: the folder of an export or of a run, an architecture, timm:NAME, or a space with --architecture. Or a "
    "space alone, whose architectures are measured until all others can be predicted; or the folder of that."
)
_OF_NETWORKS = ("engines", "rounds", "checkpoint", "device")
_OF_SPACES = ("measurements", "seconds", "seed", "out", "resume")
_SINGLE = {"batch_sizes": "batch_size", "threads": "threads", "precisions": "precision"}
"""What a network is measured with in several values, and a space in one."""


def parameters() -> Parameters:
    """Arguments of `raynas.measure_latency`, `raynas.learn_latency` and `raynas.predict_latency`."""
    from raynas.latency.config import LatencyConfig, LearnConfig

    return [
        argument("source", str, _SOURCE),
        option("architecture", str, "JSON, the space's text, or a name.", "--architecture", "-a"),
        option("predict", list[str], "An architecture to predict the latency of. Repeatable."),
        *options(LatencyConfig),
        *options(LearnConfig, only=("measurements", "seconds", "seed")),
        option("pick", list[str], 'Which architecture of a run, such as "num_params<=3e6". Repeatable.'),
        option("space", str, "The space of an architecture that several can read."),
        option("as_json", bool, "Print JSON for programs.", "--json"),
        *(OUT, RESUME, TRUST_CODE),
    ]


def latency(
    *,
    source: str | None = None,
    predict: Sequence[str] = (),
    as_json: bool = False,
    trust_code: bool = False,
    **given: Any,
) -> None:
    """Measure how long a network takes on this device, or learn to predict it over a space."""
    from raynas.space.registered import spaces
    from raynas.storage.latencies import holds_predictor
    from raynas.storage.sources import existing_path

    if source is None and not given.get("resume"):
        raise ConfigError("name what to measure: a network, or a space")
    folder = None if source is None else existing_path(source)
    if predict or (folder is not None and holds_predictor(folder)):
        _predict(str(source), predict, as_json, trust_code, given)
    elif source is None or (folder is None and source in spaces and "architecture" not in given):
        _learn(source, as_json, trust_code, given)
    else:
        _measure(source, as_json, trust_code, given)


def _measure(source: str, as_json: bool, trust_code: bool, given: dict[str, Any]) -> None:
    from raynas import api

    _refuse(given, _OF_SPACES, f"a space alone, and {source!r} is a network")
    found = api.measure_latency(source, trust_code=trust_code, **given)
    if as_json:
        typer.echo(json.dumps(found.plain(), indent=2))
        return

    from raynas.console.latency import show_latency  # torch is behind it

    show_latency(found)


def _learn(space: str | None, as_json: bool, trust_code: bool, given: dict[str, Any]) -> None:
    from raynas import api

    _refuse(given, (*_OF_NETWORKS, "pick", "space"), "a network, and a space is measured without")
    for several, single in _SINGLE.items():
        values = given.pop(several, ())
        if len(values) > 1:
            raise ConfigError(
                f"--{single.replace('_', '-')} is given {len(values)} times; a space is measured in one way"
            )
        if values:
            given[single] = values[0]
    with resumable("latency"):
        run = api.learn_latency(space, trust_code=trust_code, **given)

        from raynas.storage.latencies import latency_predictor

        predictor = latency_predictor(run)
        if as_json:
            typer.echo(json.dumps({"folder": str(run.folder), **predictor.quality()._asdict()}, indent=2))
        else:
            from raynas.console.latency import show_predictor  # torch is behind it

            show_predictor(predictor)
        say_report(run.folder)
    say_folder(run.folder)


def _predict(folder: str, texts: Sequence[str], as_json: bool, trust_code: bool, given: dict[str, Any]) -> None:
    from raynas import api
    from raynas.storage.latencies import latency_predictor
    from raynas.storage.paths import as_path
    from raynas.storage.run_folder import holds_run

    _refuse(given, tuple(given), "measurements, and nothing is measured to predict")
    if not holds_run(as_path(folder)):
        raise ConfigError(f"--predict takes the folder of `raynas latency SPACE`, and {folder!r} is none")
    if not texts:
        from raynas.console.latency import show_predictor  # torch is behind it

        predictor = latency_predictor(Path(folder))
        if as_json:
            typer.echo(json.dumps(predictor.quality()._asdict(), indent=2))
        else:
            show_predictor(predictor)
        return
    found = api.predict_latency(folder, texts, trust_code=trust_code)
    if as_json:
        rows = [{"architecture": text, **one._asdict()} for text, one in zip(texts, found, strict=True)]
        typer.echo(json.dumps(rows, indent=2))
        return

    from raynas.console.latency import show_predictions

    show_predictions(texts, found)


def _refuse(given: dict[str, Any], names: Sequence[str], of: str) -> None:
    """Refuse options that do not go with what is done."""
    if found := [f"--{_FLAGS.get(name, name).replace('_', '-')}" for name in names if name in given]:
        raise ConfigError(f"{', '.join(found)} {'go' if len(found) > 1 else 'goes'} with {of}")


_FLAGS = {"engines": "engine", "batch_sizes": "batch_size", "precisions": "precision"}
