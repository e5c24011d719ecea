"""ASHA over trainings, with a memory: Tune begins anew in every session, knowing nothing of what was judged before."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from types import SimpleNamespace
from typing import Any

from ray.tune.schedulers import ASHAScheduler


class Halving(ASHAScheduler):  # type: ignore[misc]
    """Successive halving that goes on where it was interrupted.

    Without the accuracies of earlier sessions, trials that had passed a rung would be judged there again, by those
    alone that are still running, and some of them stopped. Trials are known by their names, which sessions share.

    Args:
        judged: Accuracies after each epoch, from the first on, of which earlier sessions have decided whether their
            training goes on, by the name of the training; of those that have ended, too.
        kept: Names of trainings that are neither stopped nor judged.
        settings: Keywords of `ASHAScheduler`.
    """

    def __init__(self, judged: Mapping[str, Sequence[float]], *, kept: Collection[str] = (), **settings: Any) -> None:
        super().__init__(**settings)
        self._judged = {name: accuracies for name, accuracies in judged.items() if name not in kept}
        self._kept = frozenset(kept)

    def on_trial_add(self, tune_controller: Any, trial: Any) -> None:
        """Take in a trial; before the first one, what earlier sessions have judged."""
        before, self._judged = self._judged, {}  # only now does Tune say what the metric is called
        for name, accuracies in before.items():
            super().on_trial_add(tune_controller, _Known(name))
            for epochs, top1 in enumerate(accuracies, start=1):
                result = {self._time_attr: epochs, self._metric: top1}
                super().on_trial_result(tune_controller, _Known(name), result)
        super().on_trial_add(tune_controller, _known(trial))

    def on_trial_result(self, tune_controller: Any, trial: Any, result: dict[str, Any]) -> str:
        """Whether the trial goes on."""
        known = _known(trial)
        if known.trial_id in self._kept:
            is_over = result.get(self._time_attr, 0) >= self._max_t
            return str(self.STOP if is_over else self.CONTINUE)
        return str(super().on_trial_result(tune_controller, known, result))

    def on_trial_complete(self, tune_controller: Any, trial: Any, result: dict[str, Any]) -> None:
        """Let go of a trial that has ended."""
        super().on_trial_complete(tune_controller, _known(trial), result)

    def on_trial_remove(self, tune_controller: Any, trial: Any) -> None:
        """Let go of a trial."""
        super().on_trial_remove(tune_controller, _known(trial))


class _Known(SimpleNamespace):
    """As much of a trial as ASHA looks at, its id, which is the name of the training."""

    def __init__(self, name: str) -> None:
        super().__init__(trial_id=name)


def _known(trial: Any) -> _Known:
    return _Known(str(trial.config["trial"]))
