"""A whole search as one Ray Tune trial: the trial's side."""

from __future__ import annotations

import signal
import threading
import traceback
from _thread import interrupt_main
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from time import sleep
from typing import Any

from ray import tune

from raynas.errors import StoreError, error_line
from raynas.interruption import Interrupted
from raynas.searchers.base import SearcherClass
from raynas.searchers.registered import searchers
from raynas.searching.plan import Plan
from raynas.searching.run import SearchListener, execute
from raynas.storage.files import append_text, make_folder, write_text
from raynas.storage.locks import wait_for_predecessor
from raynas.sweeps.config import LOGS
from raynas.sweeps.folder import is_finished
from raynas.trials.mark import Mark, MarkWatch
from raynas.trials.reach import check_seen

_LOOK_S = 0.5


@dataclass(frozen=True)
class SearchJob:
    """What all trials of a sweep are given.

    Args:
        mark: The mark of the session in the folder of the sweep.
        plans: The plans of the searches by name.
        searchers: Classes of searchers by name, for those that only the driver's program registers.
        reuse: Folders of other runs whose scores are taken.
    """

    mark: Mark
    plans: Mapping[str, Plan]
    searchers: Mapping[str, SearcherClass]
    reuse: tuple[Path, ...]

    @property
    def folder(self) -> Path:
        """The folder of the sweep, as an absolute path."""
        return self.mark.folder

    def log_file(self, name: str) -> Path:
        """The file with what a search has to say to people."""
        return self.folder / LOGS / f"{name}.log"

    def error_file(self, name: str) -> Path:
        """The file with the last error of a search, in full."""
        return self.folder / LOGS / f"{name}.error"


class SearchTrial(tune.Trainable):  # type: ignore[misc]
    """The trial: its one step is the search. Steps run in the process's main thread, as signals need it."""

    def setup(self, config: dict[str, Any], job: SearchJob) -> None:
        """Get ready for the searches of a sweep, of which the config names the first."""
        self._job = job
        for name, searcher in job.searchers.items():
            if name not in searchers:
                searchers.register(name)(searcher)

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        """Take on another search; its process and what it has imported are kept."""
        return True

    def step(self) -> dict[str, Any]:
        """Search, from the start or from where the search was stopped."""
        return run_search(self._job, self.config["trial"])


def run_search(job: SearchJob, name: str) -> dict[str, Any]:
    """Carry out one search of a sweep in its own folder, as `raynas search --resume` would.

    Scores of the searches that have ended by now are taken where their keys are equal, which changes no value.

    Returns:
        `status`: completed, failed or interrupted; `error` of a failed one; `done` unless interrupted.
    """
    plan, folder, watch = job.plans[name], job.folder / name, MarkWatch(job.mark)
    try:
        check_seen(job.folder)
    except StoreError as error:
        return {"status": "failed", "error": str(error), "done": True}
    if watch.is_gone():
        sleep(_LOOK_S)  # Tune asks again at once
        return {"status": "interrupted"}
    if is_finished(folder, plan.config.budget):
        return {"status": "completed", "done": True}
    ended = [job.folder / other for other in job.plans if other != name and is_finished(job.folder / other)]
    listener = _TrialListener(job.log_file(name), watch)
    try:
        wait_for_predecessor(folder)
        execute(plan, folder, resume=True, reuse=[*job.reuse, *ended], listener=listener)
    except (Interrupted, KeyboardInterrupt):
        return {"status": "interrupted"}
    except Exception as error:  # whatever it is, the other searches go on
        told = traceback.format_exc().encode(errors="backslashreplace")  # which may hold what is no text of a file
        write_text(job.error_file(name), told.decode())
        return {"status": "failed", "error": error_line(error), "done": True}
    finally:
        listener.close()
    return {"status": "completed", "done": True}


class _TrialListener(SearchListener):
    """Keeps what a search says, and interrupts it when the sweep is to stop."""

    def __init__(self, log: Path, watch: MarkWatch) -> None:
        self._log = log
        self._watch = watch
        self._is_over = threading.Event()
        make_folder(log.parent)

    def on_start(self, folder: Path, budget: int) -> None:
        """Look out for the end from now on, since the run has the signals by now."""
        threading.Thread(target=self._interrupt_when_stopped, daemon=True).start()

    def on_log(self, line: str) -> None:
        """Keep the line; that it is interrupted, the sweep says for all."""
        if self._watch.is_gone():
            return
        append_text(self._log, line + "\n")

    def close(self) -> None:
        """No longer look out."""
        self._is_over.set()

    def _interrupt_when_stopped(self) -> None:
        while not self._is_over.wait(_LOOK_S):
            if self._watch.is_gone():
                interrupt_main(signal.SIGTERM)
                return
