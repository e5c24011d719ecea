"""What a person sees of trainings against each other in a terminal."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from raynas.console.images import training_images_block
from raynas.console.terminal import print_rows, wide_console
from raynas.data.inspection import Inspection
from raynas.trials.folder import search_scores
from raynas.trials.run import TrialsListener
from raynas.wording import duration, plural


class TrialsConsole(TrialsListener):
    """A line whenever an epoch of any training is done, on standard error."""

    def __init__(self) -> None:
        self._console = wide_console(stderr=True)
        self._told: tuple[Any, ...] = ()
        self._started, self._first = 0.0, -1

    def on_images(self, inspections: Mapping[str, Inspection], class_counts: Mapping[str, Mapping[str, int]]) -> None:
        """Say what is in the data sets."""
        for line in training_images_block(inspections, class_counts):
            self.on_log(line)

    def on_start(self, folder: Path, trials: int, epochs: int) -> None:
        """Say what is trained, and where the results go."""
        self._started = time.monotonic()
        counted = f"{plural(trials, 'training', 'trainings')} of up to {plural(epochs, 'epoch', 'epochs')}"
        self.on_log(f"run folder {folder}, {counted}")

    def on_progress(self, trials: Sequence[Mapping[str, Any]]) -> None:
        """Tell what is new."""
        ended = sum(trial["status"] in ("completed", "stopped", "failed") for trial in trials)
        done = sum(trial["epochs_done"] for trial in trials)
        if self._first < 0:
            self._first = done
        best = next((trial for trial in trials if trial["top1"] is not None), None)
        if best is None or (ended, done) == self._told:
            return
        self._told = ended, done
        # Those that end early leave epochs out.
        open_trials = [trial for trial in trials if trial["status"] in ("running", "waiting")]
        left = sum(trial["epochs"] - trial["epochs_done"] for trial in open_trials)
        passed = time.monotonic() - self._started
        rest = f", at most {duration(passed / (done - self._first) * left)} left" if done > self._first and left else ""
        epochs = plural(done, "epoch", "epochs")
        self.on_log(f"{ended}/{len(trials)} ended, {epochs}, best top-1 {best['top1']:.2%} ({best['name']}){rest}")

    def on_log(self, line: str) -> None:
        """Print the line."""
        self._console.print(line, highlight=False, markup=False)


def show_trials(summary: Mapping[str, Any]) -> None:
    """The trainings by accuracy, on standard output."""
    print_rows([_row(trial) for trial in summary["trials"]])
    if summary.get("comparison"):
        wide_console().print(summary["comparison"], highlight=False, markup=False)


def _row(trial: Mapping[str, Any]) -> dict[str, Any]:
    settings = {name: value for name, value in trial.get("settings", {}).items() if name != "epochs"}  # which are there
    return {
        "rank": trial["rank"],
        "top1": trial["top1"],
        "epochs": f"{trial['epochs_done']}/{trial['epochs']}",
        "status": trial["status"],
        "num_params": trial["num_params"],
        "macs": trial["macs"],
        "folder": trial["folder"],
        **{f"{name}_top1": value for name, value in trial.get("accuracies", {}).items()},
        **(settings if "settings" in trial else {"architecture": trial["text"]}),
        **search_scores(trial),
    }
