"""What a person sees of a sweep in a terminal or a log."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any

from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from raynas.console.images import images_block
from raynas.console.terminal import print_rows, say, wide_console
from raynas.data.inspection import Inspection
from raynas.sweeps.config import FINISHED
from raynas.sweeps.run import SweepListener
from raynas.wording import duration, plural

_LINE_EVERY_S = 10.0


class SweepConsole(SweepListener):
    """Shows bars with the time left in a terminal, and a line now and then elsewhere, on standard error."""

    def __init__(self) -> None:
        self._console = wide_console(stderr=True)
        self._budget = self._searches = 0
        self._last_line: tuple[float, int] | None = None  # when it was printed, and the calls that it told
        self._bars = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            TextColumn("{task.fields[count]}"),
            TimeElapsedColumn(),
            TextColumn("left"),
            TimeRemainingColumn(),
            console=self._console,
            transient=True,
        )
        self._shown = self._bars if self._console.is_terminal else nullcontext()
        self._all = self._bars.add_task("sweep", total=None, count="starting")
        self._running: dict[str, TaskID] = {}

    def __enter__(self) -> SweepConsole:
        self._shown.__enter__()
        return self

    def __exit__(self, *details: Any) -> None:
        self._shown.__exit__(*details)

    def on_images(self, inspection: Inspection) -> None:
        """Say what is in the data set."""
        for line in images_block(inspection, "images"):
            self.on_log(line)

    def on_start(self, folder: Path, searches: int, budget: int) -> None:
        """Say where the results go."""
        self._budget, self._searches = budget, searches
        self._bars.update(self._all, total=searches * budget)
        counted = f"{plural(searches, 'search', 'searches')} of {plural(budget, 'call', 'calls')}"
        self.on_log(f"run folder {folder}, {counted}")

    def on_progress(self, searches: Sequence[Mapping[str, Any]]) -> None:
        """Move the bars, or print a line if it is time."""
        ended = sum(one["status"] in FINISHED for one in searches)
        calls = sum(self._budget if one["status"] in FINISHED else one["evaluations"] for one in searches)
        total = self._searches * self._budget
        count = f"{ended}/{self._searches} searches, {calls}/{total} calls"
        if self._console.is_terminal:
            self._bars.update(self._all, completed=calls, count=count)
            self._show_running(searches)
            return
        now = time.monotonic()
        if self._last_line is None:
            self._last_line = now, calls  # what was done before says nothing of the time left
        elif now - self._last_line[0] > _LINE_EVERY_S:
            seconds, gained = now - self._last_line[0], calls - self._last_line[1]
            self._last_line = now, calls
            left = f", about {duration(seconds / gained * (total - calls))} left" if gained > 0 else ""
            self.on_log(count + left)

    def on_end(self, search: Mapping[str, Any]) -> None:
        """Print a line on the search."""
        if search["status"] == "failed":
            self.on_log(f"{search['name']} failed: {search['error']}")
        else:
            calls = f"{search['evaluations']} calls in {duration(search['seconds'])}"
            self.on_log(f"{search['name']} {search['status']}, {calls}")

    def on_log(self, line: str) -> None:
        """Print the line above the bars."""
        self._console.print(line, highlight=False, markup=False)

    def _show_running(self, searches: Sequence[Mapping[str, Any]]) -> None:
        running = {one["name"]: one["evaluations"] for one in searches if one["status"] == "running"}
        for name in self._running.keys() - running.keys():
            self._bars.remove_task(self._running.pop(name))
        for name, calls in running.items():
            if name not in self._running:
                self._running[name] = self._bars.add_task(name, total=self._budget, count="")
            self._bars.update(self._running[name], completed=calls, count=f"{calls}/{self._budget}")


def show_sweep(summary: Mapping[str, Any]) -> None:
    """The searchers side by side, on standard output."""
    measure = summary["measure"]["name"]
    rows = [
        {
            "searcher": row["searcher"],
            "searches": len(row["seeds"]),
            f"median {measure}": row["best"]["median"],
            "quartiles": _between(row["best"]),
            **{f"calls to {one['value']:.5g}": _calls(one) for one in row["levels"]},
            "evaluations": row["evaluations"],
            "reused": row["reused"],
            "seconds": round(row["seconds"]),
        }
        for row in summary["rows"]
    ]
    if not rows:
        say("no search has ended", stderr=False)
        return
    print_rows(rows)
    for level in summary["levels"]:
        if level["label"] != "named":
            say(f"{level['value']:.5g}: {level['label']}", stderr=False)


def _between(best: Mapping[str, float | None]) -> str:
    low, high = ("-" if best[name] is None else f"{best[name]:.5g}" for name in ("low", "high"))
    return f"{low} to {high}"


def _calls(level: Mapping[str, Any]) -> str:
    calls = "-" if level["calls"] is None else f"{level['calls']:g}"
    return f"{calls} ({level['reached']} of {level['of']} seeds)"
