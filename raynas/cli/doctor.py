"""raynas doctor."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from threading import Timer
from typing import TYPE_CHECKING, Any

import typer

from raynas.cli.options import Parameters, option, options

if TYPE_CHECKING:
    from raynas.examination.report import Examination

_LEAVES_S = 30.0
EXAMPLES = """
Examples:

    raynas doctor

    raynas doctor --address 10.0.0.7:6379 --out /shared/runs

    raynas doctor --address auto --out /shared/runs --json

    raynas doctor --address 10.0.0.7:6379 --join
"""


def parameters() -> Parameters:
    """Arguments of `raynas.doctor`."""
    from raynas.cluster.options import ClusterOptions

    join = "Make this machine a node of the cluster, without cores, while it is examined, if it is none."
    return [
        *options(ClusterOptions, only=("address", "join"), help={"join": join}),
        option(
            "out", Path, "Where runs are to be written: each node writes, locks and reads there, and leaves nothing."
        ),
        option("as_json", bool, "Print JSON for programs.", "--json"),
    ]


def doctor(*, as_json: bool = False, **given: Any) -> None:
    """See whether a cluster is ready for runs, and whether all its nodes can write to one place; fails where not."""
    from raynas import api

    with api.examined(**given) as found:
        if as_json:
            typer.echo(json.dumps(found.plain(), indent=2))
        else:
            from raynas.console.examination import show_examination

            show_examination(found)
        end = Timer(_LEAVES_S, _end_at_once, (found,))
        end.daemon = True
        end.start()
    end.cancel()
    found.check_ready()


def _end_at_once(found: Examination) -> None:
    """End this process where Ray would wait for minutes, to leave a cluster whose head it does not reach any more."""
    typer.echo(
        f"raynas: Ray does not leave the cluster at {found.address} within {_LEAVES_S:g} s, and is ended", err=True
    )
    sys.stdout.flush()
    os._exit(0 if found.is_ready else 1)
