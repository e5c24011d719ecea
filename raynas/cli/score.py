"""raynas score."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from raynas.cli.ending import repeated, resumable, say_folder, say_report
from raynas.cli.options import (
    CONFIG,
    OUT,
    RESUME,
    REUSE,
    SET,
    TRUST_CODE,
    Parameters,
    argument,
    description_of,
    grouped_settings,
    option,
    options,
)
from raynas.errors import ConfigError
from raynas.storage.session import as_interrupted

EXAMPLES = """
Examples:

    raynas score as-vit --samples 20 -p length_distortion -p macs

    raynas score as-vit -a as-vit-small -a "8,2,3|4,1,2|4,1,4|4,1,6|32"

    raynas score as-vit --file architectures.txt -p ntk_condition --data digits
"""

_NOT_HERE = ("space", "settings", "objectives", "constraints", "bands", "searcher", "budget", "architectures", "window")


def parameters() -> Parameters:
    """The parameters of a search without what a searcher needs; architectures are given or drawn."""
    from raynas.config import MOST
    from raynas.searching.config import RunConfig

    return [
        argument("space", str, description_of(RunConfig, "space")),
        *options(RunConfig, only=["proxies"]),
        option("architecture", list[str], "JSON, the space's text, or a name. Repeatable.", "--architecture", "-a"),
        option(
            "file",
            Path,
            "NAME.csv with a column per field, lists space-separated; any other: one architecture a line.",
        ),
        option("samples", int, "Draw this many, each once.", min=1, max=MOST),
        *options(RunConfig, leave_out=("proxies", "width_divisor", *_NOT_HERE)),
        *(SET, OUT, RESUME, REUSE, CONFIG, TRUST_CODE),
    ]


def score(
    *,
    space: Any = None,
    architecture: Any = None,
    file: Any = None,
    samples: Any = None,
    settings: Any = (),
    reuse: Any = (),
    **more: Any,
) -> None:
    """Score given or sampled architectures with any proxies."""
    from raynas import api

    given = [one for one in (architecture, file, samples) if one is not None]
    if len(given) > 1 or not (given or "resume" in more or "config" in more):
        raise ConfigError("give either --architecture, --file or --samples: what to score")
    what = given[0] if given else None
    with resumable("score", *repeated("--reuse", reuse)):
        run = api.score(space, what, settings=grouped_settings(settings), reuse=reuse, **more)

        from raynas.console.runs import show_failures, show_scores, show_summary  # torch is behind it

        with as_interrupted(run.folder):
            show_summary(run.summary)
            show_scores(run)
            show_failures(run.evaluations)
            say_report(run.folder)
    say_folder(run.folder)
