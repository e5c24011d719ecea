"""raynas bench."""

from __future__ import annotations

from typing import Any

import typer

from raynas.cli.ending import repeated, resumable, say_folder, say_report
from raynas.cli.options import (
    CONFIG,
    OUT,
    RESUME,
    REUSE,
    SET,
    TRUST_CODE,
    Parameters,
    add_command,
    grouped_settings,
    options,
)
from raynas.storage.session import as_interrupted

EXAMPLES = """
Examples:

    raynas bench proxies --space vit --truth trained.csv --label top1 -p ntk_condition -p length_distortion

    raynas bench proxies --space vit --truth trained.csv --label top1 -p all --rows 100 --within embed_dim

    raynas bench proxies --resume --out runs/bench --label top5 --combine "length_distortion+macs"
"""

_FIRST = ("space", "truth", "labels", "proxies", "combine", "combine_by", "within", "rows", "top", "resamples", "title")
_NOT_HERE = (
    "settings",
    "objectives",
    "constraints",
    "bands",
    "searcher",
    "budget",
    "architectures",
    "window",
    "width_divisor",
    "supernet",
    "holdout",
    "test_data",
    "compare",
)

app = typer.Typer(help="Measure what scores are worth.", no_args_is_help=True, rich_markup_mode="rich")


@app.callback()
def _group() -> None:
    """Measure what scores are worth."""


def parameters() -> Parameters:
    """The parameters of a scoring run, and those of what is asked of its scores."""
    from raynas.bench.config import BenchConfig

    return [
        *options(BenchConfig, only=_FIRST),
        *options(BenchConfig, leave_out=(*_FIRST, *_NOT_HERE, "level")),
        *(SET, OUT, RESUME, REUSE, CONFIG, TRUST_CODE),
    ]


def proxies(*, settings: Any = (), reuse: Any = (), **more: Any) -> None:
    """How well proxies rank what architectures reached once trained, with trivial baselines beside them."""
    from raynas import api

    with resumable("bench proxies", *repeated("--reuse", reuse)):
        bench = api.bench_proxies(settings=grouped_settings(settings), reuse=reuse, **more)

        from raynas.console.bench import show_bench
        from raynas.console.runs import show_failures  # torch is behind it

        with as_interrupted(bench.folder):
            show_bench(bench)
            show_failures(bench.run.evaluations)
            say_report(bench.folder)
    say_folder(bench.folder)


add_command(app, "proxies", proxies, parameters, EXAMPLES)
