"""Runs of the toy space, for tests of several files."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import Any

from toy_scores import SLOPE, TOY, toy_space

import raynas
import raynas.searching.run
from raynas.searching.run import SearchListener
from raynas.space.results import Evaluation
from raynas.storage.result_store import TIMING_COLUMNS

QUICK: dict[str, Any] = {"workers": 0, "img_size": 32, "settings": {"length_distortion": {"repeats": 1}}}
"""A search of a real space that takes seconds."""


def content(run: raynas.Run) -> list[dict[str, Any]]:
    rows = run.evaluations.drop_columns(list(TIMING_COLUMNS)).to_pylist()
    return sorted(rows, key=lambda row: (row["architecture_key"], row["proxy"]))


def search(folder: Path | None, **settings: Any) -> raynas.Run:
    chosen: dict[str, Any] = {"searcher": "regularized_evolution", "budget": 60, "window": 8, "workers": 0, **settings}
    proxies = chosen.pop("proxies", [TOY, SLOPE])
    return raynas.search(chosen.pop("space", toy_space()), proxies=proxies, objectives=["toy"], out=folder, **chosen)


class Recorder(SearchListener):
    """Keeps what was told."""

    def __init__(self) -> None:
        self.told: list[Evaluation] = []

    def on_tell(self, evaluation: Evaluation, told: int, ranking: Any) -> None:
        self.told.append(evaluation)


class Stop(SearchListener):
    """Ends a run after some evaluations: by a signal, or by an error."""

    def __init__(self, after: int, error: Exception | None = None) -> None:
        self.after, self.error = after, error

    def on_tell(self, evaluation: Evaluation, told: int, ranking: Any) -> None:
        if told == self.after:
            if self.error:
                raise self.error
            os.kill(os.getpid(), signal.SIGINT)
