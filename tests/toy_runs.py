"""Runs of the toy space, for tests of several files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from toy_scores import SLOPE, TOY, toy_space

import raynas
import raynas.searching.run
from raynas.searching.run import SearchListener
from raynas.space.results import Evaluation
from raynas.storage.result_store import TIMING_COLUMNS


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
