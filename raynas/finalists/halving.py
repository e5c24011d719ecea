"""ASHA over trainings, with a memory: Tune restores trials, but not what their scheduler knew of them."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from typing import Any

from ray.tune.schedulers import ASHAScheduler

from raynas.errors import StoreError
from raynas.training.best_epoch import counted_top1
from raynas.training.folder import load_training


class Halving(ASHAScheduler):  # type: ignore[misc]
    """Successive halving that goes on where it was interrupted.

    Without the accuracies of earlier sessions, trials that had passed a rung would be judged there again, by those
    alone that are still running, and some of them stopped.
    """

    def on_trial_add(self, tune_controller: Any, trial: Any) -> None:
        """Learn what the trial had reported before it was restored; what it had not is still to be judged."""
        super().on_trial_add(tune_controller, trial)
        reported = int(trial.metric_analysis.get(self._time_attr, {"max": 0})["max"])
        if not reported:
            return
        rows: list[dict[str, Any]] = []
        with suppress(StoreError, OSError, ValueError):  # damaged: then it begins anew
            folder = Path(trial.storage.experiment_fs_path).parent / trial.config["trial"]
            rows = load_training(folder).metrics.to_pylist()
        for row in rows[:reported]:  # decisions were made then
            result = {self._time_attr: row["epoch"] + 1, self._metric: counted_top1(row)}
            self.on_trial_result(tune_controller, trial, result)
