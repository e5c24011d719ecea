"""Runs side by side in a terminal."""

from __future__ import annotations

from raynas.console.terminal import print_rows, say
from raynas.report.compared import Comparison, interval_text, value_text

_SHOWN_CHARACTERS = 100
_AS_COLUMNS = 4
"""How many runs are columns of the table of values at most; more are rows."""


def show_comparison_of_runs(found: Comparison) -> None:
    """The values of the runs, what differs between their settings, and what is to be known of it."""
    best = {name: found.best_of(name) for name in found.values}
    own: dict[str, list[str]] = {"status": [str(run.row["status"]) for run in found.runs]}
    if not found.is_of_one_family:
        own = {"kind": [str(run.row["kind"]) for run in found.runs], **own}
    for name, values in found.values.items():
        own[name] = [
            value_text(one) + (f" ({interval})" if (interval := interval_text(one)) else "") + " *" * (i in best[name])
            for i, one in enumerate(values)
        ]
    names = [run.name for run in found.runs]
    if len(names) <= _AS_COLUMNS:
        print_rows([{"": name, **dict(zip(names, texts, strict=True))} for name, texts in own.items()])
    else:
        print_rows([{"run": run, **{name: texts[i] for name, texts in own.items()}} for i, run in enumerate(names)])
    if any(best.values()):
        say("* the best", stderr=False)
    say("", stderr=False)
    if found.differences:
        print_rows([_setting(name, names, texts) for name, texts in found.difference_texts().items()])
    else:
        say("their settings are the same", stderr=False)
    for note in found.notes:
        say(note, stderr=False)


def _setting(name: str, runs: list[str], texts: list[str]) -> dict[str, str]:
    cut = [text if len(text) <= _SHOWN_CHARACTERS else f"{text[: _SHOWN_CHARACTERS - 1]}…" for text in texts]
    return {"setting": name, **dict(zip(runs, cut, strict=True))}
