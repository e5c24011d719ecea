"""raynas search."""

from __future__ import annotations

from typing import Any

from raynas.cli.ending import options_again, repeated, resumable, say_folder, say_report
from raynas.cli.options import (
    CONFIG,
    OUT,
    RECIPE,
    RESUME,
    REUSE,
    SET,
    TRUST_CODE,
    Parameters,
    argument,
    description_of,
    grouped_settings,
    options,
)
from raynas.errors import RaynasError
from raynas.interruption import resuming_line
from raynas.storage.session import as_interrupted

EXAMPLES = """
Examples:

    raynas search

    raynas search as-vit --data digits -o length_distortion -o ntk_condition

    raynas search as-vit -c "num_params<=1.8e6" --budget 100 --out runs/a

    raynas search vit -o tvt --searcher random --teacher runs/teacher --data folder:train --batch-size 128

    raynas search --resume --out runs/a --budget 200

    raynas search vit-res-tiny --searcher evolution --band macs:1.74954e9:1.7944e9 --num-classes 1000 --budget 3350

    raynas search as-vit --searcher reinforce --searcher regularized_evolution --repeat 5
"""

_FIRST = ("objectives", "proxies", "constraints", "bands", "searchers", "repeat", "level", "budget", "window", "seed")
_NOT_HERE = ("space", "settings", "searcher", "architectures", "width_divisor")


def parameters() -> Parameters:
    """The parameters of a sweep, of which a single search is the simplest."""
    from raynas.sweeps.config import SweepConfig

    space = description_of(SweepConfig, "space") + " Without one: a built-in search of about a minute."
    return [
        argument("space", str, space),
        *options(SweepConfig, only=_FIRST),
        *options(SweepConfig, leave_out=(*_FIRST, *_NOT_HERE)),
        *(SET, OUT, RESUME, REUSE, RECIPE, CONFIG, TRUST_CODE),
    ]


def search(
    *, searchers: Any = (), repeat: Any = None, level: Any = None, settings: Any = (), reuse: Any = (), **more: Any
) -> None:
    """Find architectures, or compare searchers with --repeat or several --searcher."""
    from raynas import api

    more["settings"] = grouped_settings(settings)
    again = repeated("--reuse", reuse)
    where = {"config": more.get("config"), "out": more.get("out"), "resume": more.get("resume", False)}
    if api.is_sweep(searchers, repeat, level, **where):
        _sweep(again, searchers=searchers, repeat=repeat, level=level, reuse=reuse, **more)
        return
    with resumable("search", *again):
        run = api.search(searcher=searchers[0] if searchers else None, reuse=reuse, **more)

        from raynas.console.runs import show_best, show_failures, show_summary  # torch is behind it

        with as_interrupted(run.folder):
            show_summary(run.summary)
            show_best(run)
            show_failures(run.evaluations)
            say_report(run.folder)
    say_folder(run.folder)


def _sweep(again: list[str], **given: Any) -> None:
    from raynas import api

    with resumable("search", *again, has_report=False):
        sweep = api.sweep(**given)

    from raynas.console.sweeps import show_sweep  # torch is behind it

    show_sweep(sweep.summary)
    say_folder(sweep.folder)
    if error := sweep.summary["error"]:
        line = resuming_line("search", sweep.folder, *again, *options_again(sweep.folder))
        raise RaynasError(f"{error}. They are tried again with: {line}")
