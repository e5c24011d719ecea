"""What becomes of errors in data-parallel workers: told, and not tried for ever. Runs in Ray Train's controller."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from ray.train import UserCallback

from raynas.cluster.ray_errors import in_words
from raynas.storage.files import exists, version_of, write_json
from raynas.storage.text_files import read_json
from raynas.training.folder import FAILURES

_TRIES = 3


class WorkerFailures(UserCallback):  # type: ignore[misc]
    """Writes into the training's folder why workers ended, before Ray Train starts them again.

    An error that comes again and again from one checkpoint is one of the code or of the memory, which more tries do
    not mend: it becomes the outcome, with which workers that start again end at once. What is lost with a machine is
    tried as often as Ray Train is told.

    Args:
        folder: The folder of the training.
        checkpoint: The file of the checkpoint that workers go on from.
        outcome: The file that ends the training.
        token: The token of the session.
    """

    def __init__(self, folder: Path, checkpoint: Path, outcome: Path, token: str) -> None:
        self._folder, self._checkpoint, self._outcome, self._token = folder, checkpoint, outcome, token
        self._lines: list[str] = []
        self._counts: dict[str, int] = {}
        self._from: str | None = None

    def after_exception(self, run_context: Any, worker_exceptions: dict[int, Exception]) -> None:
        """Called once for each time that the workers are started again, or given up."""
        if exists(self._outcome):
            return
        reached = version_of(self._checkpoint)
        if reached != self._from:
            self._from = reached
            self._counts.clear()
        lost = {rank: error for rank, error in worker_exceptions.items() if _is_of_ray(error)}
        # Where a process was lost, what the others raise is of that, such as a connection that is closed.
        told = {rank: in_words(error) for rank, error in sorted((lost or worker_exceptions).items())}
        if not lost:
            self._give_up(told.values())
        # After the outcome, so that who reads a line knows whether it was the last.
        self._lines.append("; ".join(f"worker {rank}: {text}" for rank, text in told.items()))
        write_json(self._folder / FAILURES, {"lines": self._lines})

    def _give_up(self, texts: Iterable[str]) -> None:
        for text in set(texts):
            self._counts[text] = self._counts.get(text, 0) + 1
            if self._counts[text] == _TRIES:
                error = f"a worker failed {_TRIES} times at the same place: {text}"
                write_json(self._outcome, {"token": self._token, "error": error, "kind": "TrainingError"})


def told_failures(folder: Path) -> list[str]:
    """What was written so far, a line for each time that workers ended."""
    try:
        return [str(line) for line in read_json(folder / FAILURES)["lines"]]
    except (OSError, ValueError, KeyError, TypeError):
        return []


def _is_of_ray(error: Exception) -> bool:
    """Whether an error is one by which Ray says that a process was lost."""
    return type(error).__module__.split(".")[0] == "ray"
