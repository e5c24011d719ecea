"""raynas scale."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

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
    grouped_settings,
    option,
    options,
)
from raynas.storage.session import as_interrupted

if TYPE_CHECKING:
    from raynas.storage.runs import Run

EXAMPLES = """
Examples:

    raynas scale runs/first --data digits --out runs/family

    raynas scale "8,2,3|4,1,2|4,1,4|4,1,6|32" --stop "num_params>=8e6"

    raynas scale --resume --out runs/family

    raynas scale runs/family --pick "num_params<=30e6" > member.json
"""

_NOT_HERE = (
    "space",
    "settings",
    "searcher",
    "budget",
    "architectures",
    "window",
    "seed",
    "teacher",
    "bands",
    "supernet",
    "holdout",
    "test_data",
    "compare",
)
_SOURCE = (
    "A run folder (what its search recommends; of a growth, the last member), a file with one architecture, JSON, a "
    "space's own text, or a published name."
)
_STOP = (
    'Grow until this cost is reached, counted at --img-size and --num-classes; "num_params>=80e6" for as-vit, other '
    'spaces need one. Also "macs>=4e9".'
)
_PICK = (
    'Print the largest member that meets, say, "num_params<=30e6" as JSON on standard output; of a growth that has '
    "ended without growing on. Repeatable: all must hold."
)
_HELP = {
    "objectives": "NAME, NAME:max or NAME:min, ranked in every step. Default: ntk_condition and length_distortion.",
    "constraints": 'Bound on a cost or a score; what exceeds it is not chosen. Default: "num_params<=110e6" for as-vit '
    "with its own --stop, else none.",
    "width_divisor": "Score networks with their width divided by it. Default: the space's own, 4 for as-vit.",
}


def parameters() -> Parameters:
    """The parameters of a search whose searcher grows; its defaults are the space's."""
    from raynas.searching.config import RunConfig

    first = ("objectives", "proxies", "constraints")
    return [
        argument("source", str, _SOURCE),
        option("space", str, "The space of the source, where several can read it; see `raynas list spaces`."),
        *options(RunConfig, only=first, help=_HELP),
        option("stop", str, _STOP),
        option(
            "rates",
            list[float],
            "Share of its width by which a step may widen a network. Default 0.05, 0.1, 0.15, 0.2. Repeatable.",
            "--rate",
        ),
        *options(RunConfig, only=["width_divisor"], help=_HELP),
        option("pick", list[str], _PICK),
        *options(RunConfig, leave_out=(*first, "width_divisor", *_NOT_HERE)),
        *(SET, OUT, RESUME, REUSE, CONFIG, TRUST_CODE),
    ]


def scale(*, source: Any = None, pick: Any = (), settings: Any = (), reuse: Any = (), **more: Any) -> None:
    """Grow an architecture in depth and width into a family of models."""
    from raynas import api

    if pick and source is not None and "resume" not in more and (grown := api.ended_growth(source)) is not None:
        _show_member(grown, api.family_member(grown, pick))
        return
    with resumable("scale", *repeated("--pick", pick), *repeated("--reuse", reuse)):
        run = api.scale(source, pick=pick, settings=grouped_settings(settings), reuse=reuse, **more)

        from raynas.console.runs import show_failures, show_family, show_summary  # torch is behind it

        with as_interrupted(run.folder):
            show_summary(run.summary, stderr=bool(pick))
            show_family(run, stderr=bool(pick))
            if pick:
                _show_member(run, api.family_member(run, pick))
            show_failures(run.evaluations)
            say_report(run.folder)
    say_folder(run.folder)


def _show_member(run: Run, member: Mapping[str, Any]) -> None:
    from raynas.console.runs import show_member

    show_member(run, member)
