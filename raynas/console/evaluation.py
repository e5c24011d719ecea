"""What a person sees of an evaluation in a terminal or a log."""

from __future__ import annotations

import time
from collections.abc import Mapping

from raynas.console.bar import BarConsole
from raynas.console.terminal import print_rows, say
from raynas.data.class_folders import HIDDEN
from raynas.evaluation.images import ChosenImages, EvaluatedImages
from raynas.evaluation.report import EvaluationReport
from raynas.evaluation.run import EvaluationListener
from raynas.evaluation.source import TrainedNetwork
from raynas.wording import duration, first_of, percent, plural

_LINE_EVERY_S = 20.0
_CLASSES = 20  # more are not shown, but for those that are classified worst
_WORST = 10


class EvaluationConsole(BarConsole, EvaluationListener):
    """A bar with the time left in a terminal, and now and then a line elsewhere, on standard error.

    Args:
        command: The command that evaluates, which stands before the bar.
    """

    def __init__(self, command: str = "evaluate") -> None:
        super().__init__(command)
        self.command = command
        self._last_line = time.monotonic()

    def on_start(self, network: TrainedNetwork, images: ChosenImages) -> None:
        """Say what is evaluated."""
        self._last_line = time.monotonic()
        counted = plural(len(images.rows), "image", "images")
        self.on_log(f"{self.command}s {network.text} of {network.source} on {counted} of {images.spec}")
        if isinstance(images, EvaluatedImages) and images.note:
            self.on_log(f"beware: {images.note}")

    def on_progress(self, done: int, total: int, images_per_s: float) -> None:
        """Move the bar, or print a line if it is time."""
        left = f", about {duration((total - done) / images_per_s)} left" if done < total else ""
        state = f"{images_per_s:,.0f} images/s{left}"
        if self._console.is_terminal:
            self._bar.update(self._task, total=total, completed=done, count=f"{done:,}/{total:,}", state=state)
        elif time.monotonic() - self._last_line > _LINE_EVERY_S:
            self._last_line = time.monotonic()
            self.on_log(f"{done:,} of {total:,} images, {state}")


class PredictionConsole(EvaluationConsole):
    """The same for predictions.

    Args:
        skipped: Why images that were skipped cannot be read, by their names.
    """

    def __init__(self, skipped: Mapping[str, str]) -> None:
        super().__init__("predict")
        self._skipped = skipped

    def on_start(self, network: TrainedNetwork, images: ChosenImages) -> None:
        """Name what is skipped and passed over, and say what is predicted."""
        if self._skipped:
            self.on_log(f"skips {plural(len(self._skipped), 'image', 'images')} that cannot be read:")
        for name, reason in self._skipped.items():
            self.on_log(f"  {name}: {reason}")
        left_out = {*self._skipped}
        for passed in images.data.passed_over:
            if passed.reason != HIDDEN and not left_out.issuperset(passed.names):
                counted = plural(len(passed.names), "file", "files")
                self.on_log(f"passes over {counted}, {passed.reason}: {first_of(passed.names)}")
        super().on_start(network, images)


def show_evaluation(report: EvaluationReport) -> None:
    """What came of an evaluation, on standard output; of many classes those that are classified worst."""
    low, high = percent(report.top1_low), percent(report.top1_high)
    row = {"images": report.images, "top-1": percent(report.top1), "95 % interval": f"{low} to {high}"}
    if report.top5 is not None:
        row["top-5"] = percent(report.top5)
    if report.ece is not None:
        row["calibration error"] = percent(report.ece)
    row |= {"loss": f"{report.loss:.4f}", "images/s": f"{report.images_per_s:,.0f}"}
    print_rows([row])
    shown = [one for one in report.classes if one.images]
    worst = ""
    if len(shown) > _CLASSES:
        worst = f"the {_WORST} of {len(shown)} classes that are classified worst; --out writes all"
        shown = sorted(shown, key=lambda one: (one.accuracy or 0.0, one.number))[:_WORST]
    print_rows(
        [
            {
                "class": one.name or str(one.number),
                "images": one.images,
                "accuracy": "" if one.accuracy is None else percent(one.accuracy),
            }
            for one in shown
        ]
    )
    if worst:
        say(worst, stderr=False)
