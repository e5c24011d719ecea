"""What a person sees of an analysis in a terminal or a log."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path

from raynas.analysis.folder import Analysis
from raynas.analysis.networks import AnalysedNetwork
from raynas.analysis.run import AnalysisListener
from raynas.console.bar import BarConsole
from raynas.console.terminal import print_rows
from raynas.wording import duration, percent, plural

_LINE_EVERY_S = 20.0


class AnalysisConsole(BarConsole, AnalysisListener):
    """A bar with the time left in a terminal, and now and then a line elsewhere, on standard error."""

    def __init__(self) -> None:
        super().__init__("analyze")
        self._started = self._last_line = time.monotonic()

    def on_start(self, folder: Path, networks: Sequence[AnalysedNetwork], images: int) -> None:
        """Say what is analysed."""
        self._started = self._last_line = time.monotonic()
        names = " against ".join(f"{network.name} ({network.weights})" for network in networks)
        self.on_log(f"analyses {names} on {plural(images, 'image', 'images')}")

    def on_progress(self, done: int, total: int) -> None:
        """Move the bar, or print a line if it is time."""
        passed = time.monotonic() - self._started
        state = f"about {duration(passed / done * (total - done))} left"
        if self._console.is_terminal:
            self._bar.update(self._task, total=total, completed=done, count=f"{done:,}/{total:,}", state=state)
        elif time.monotonic() - self._last_line > _LINE_EVERY_S:
            self._last_line = time.monotonic()
            self.on_log(f"{done:,} of {total:,} images, {state}")


def show_analysis(analysis: Analysis) -> None:
    """What came of an analysis, on standard output: each network by depth."""
    heads = analysis.attention.to_pylist()
    likeness = {
        row["point"]: row["cka"]
        for row in analysis.cka.to_pylist()
        if row["other_network"] == "against" and row["network"] == "model" and row["point"] == row["other_point"]
    }
    rows = []
    for row in analysis.layers.to_pylist():
        block = int(row["point"]) if row["point"].isdecimal() else None
        own = [head for head in heads if head["network"] == row["network"] and head["block"] == block]
        mean = {name: sum(head[name] for head in own) / len(own) for name in ("distance", "entropy") if own}
        shown = {
            "network": row["network"],
            "before block": row["point"],
            "effective rank": _text(row["effective_rank"], 1),
            "token likeness": _text(row["token_similarity"], 3),
            "distance": _text(mean.get("distance"), 2),
            "entropy": _text(mean.get("entropy"), 2),
        }
        if likeness:
            alike = likeness.get(row["point"]) if row["network"] == "model" else None
            shown["CKA with the other"] = _text(alike, 3)
        rows.append(shown)
    print_rows(rows)
    for name, top1 in (analysis.summary.get("knn_top1") or {}).items():
        print_rows([{"network": name, "top-1 by nearest neighbours": percent(top1)}])


def _text(value: float | None, digits: int) -> str:
    return "" if value is None else f"{value:.{digits}f}"
