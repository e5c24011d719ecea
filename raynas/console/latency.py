"""What a person sees of latencies in a terminal or a log."""

from __future__ import annotations

from collections.abc import Sequence

from raynas.console.bar import BarConsole
from raynas.console.terminal import print_rows, say
from raynas.latency.measuring import LatencyListener, LatencyReport, Measurement
from raynas.storage.latencies import LEVEL, LatencyPredictor, Prediction
from raynas.wording import duration, percent, plural


class LatencyConsole(BarConsole, LatencyListener):
    """A bar with the time left in a terminal, and lines elsewhere, on standard error."""

    def __init__(self) -> None:
        super().__init__("latency")

    def on_progress(self, done: int, total: int, doing: str, left_s: float | None = None) -> None:
        """Move the bar, or say what is prepared."""
        left = "" if left_s is None else f", about {duration(left_s)} left"
        if self._console.is_terminal:
            self._bar.update(self._task, total=total, completed=done, count=f"{done}/{total}", state=doing + left)
        elif doing.startswith("prepares"):
            self.on_log(doing)


def show_latency(report: LatencyReport) -> None:
    """What was measured of a network, on standard output, and why something was not, on standard error."""
    size = f"images of {report.img_size} x {report.img_size} pixels"
    say(f"{report.network}, {size}, on {report.device}", stderr=False)
    print_rows([_row(one) for one in report.measurements if one.median_ms is not None])
    missing = {(one.engine, one.precision): one.reason for one in report.measurements if one.reason is not None}
    for (engine, precision), reason in missing.items():
        say(f"not measured: {engine}, {precision}: {reason}")


def _row(one: Measurement) -> dict[str, object]:
    return {
        "engine": one.engine,
        "precision": one.precision,
        "threads": one.threads,
        "batch": one.batch_size,
        "median ms": one.median_ms,
        "10 to 90 % of passes, ms": f"{one.low_ms:.5g} to {one.high_ms:.5g}",
        "images/s": f"{one.images_per_s:,.1f}",
    }


def show_predictor(predictor: LatencyPredictor) -> None:
    """How well a predictor predicts what it has not seen, on standard output."""
    quality, n = predictor.quality(), len(predictor.latencies_ms)
    print_rows(
        [
            {
                "measured": plural(n, "architecture", "architectures"),
                "from ms": min(predictor.latencies_ms),
                "to ms": max(predictor.latencies_ms),
                "Spearman's rho": f"{quality.spearman_rho:.3f}",
                "median error": percent(quality.error),
                f"in {LEVEL:.0%} intervals": percent(quality.covered),
                "which reach above by": percent(quality.reach),
            }
        ]
    )
    say("each measurement is predicted from all others", stderr=False)


def show_predictions(texts: Sequence[str], found: Sequence[Prediction]) -> None:
    """Predictions with their intervals, on standard output."""
    print_rows(
        [
            {
                "architecture": text,
                "predicted ms": one.latency_ms,
                f"{LEVEL:.0%} interval, ms": f"{one.low_ms:.5g} to {one.high_ms:.5g}",
            }
            for text, one in zip(texts, found, strict=True)
        ]
    )
    say("as fast as the machine was, in the median, while it was measured; see docs/latency.md", stderr=False)
