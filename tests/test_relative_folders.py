"""Folders as people type them: relative to where they are, which other processes need not be."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from toy_trainings import SMALL

import raynas
from raynas import api
from raynas.searching.run import SearchListener
from raynas.sweeps.run import SweepListener
from raynas.training.run import TrainingListener
from raynas.trials.run import TrialsListener

OUT = "runs/mine"
TRAINED: dict[str, Any] = {
    "architecture": SMALL, "data": "digits", "img_size": 32, "max_images": 64, "epochs": 1, "batch_size": 16,
    "augment": "none", "threads": 1, "loader_processes": 0, "loggers": [],
}  # fmt: skip
SCORED: dict[str, Any] = {
    "objectives": ["length_distortion"], "img_size": 32, "searcher": "random", "budget": 4,
    "settings": {"length_distortion": {"repeats": 1, "points": 2}},
}  # fmt: skip


def training() -> Any:
    return raynas.train("as-vit", out=OUT, workers=2, listener=TrainingListener(), **TRAINED)


def variants() -> Any:
    return api.variants("as-vit", out=OUT, vary={"lr": [1e-3, 1e-4]}, listener=TrialsListener(), **TRAINED)


def finalists() -> Any:
    raynas.search("as-vit", out="runs/found", workers=0, listener=SearchListener(), **SCORED)
    settings = {name: value for name, value in TRAINED.items() if name != "architecture"}
    return api.finalists("runs/found", out=OUT, top=2, listener=TrialsListener(), **settings)


def search() -> Any:
    return raynas.search("as-vit", out=OUT, workers=1, listener=SearchListener(), **SCORED)


def sweep() -> Any:
    shared = {**SCORED, "searchers": ["random"]}
    del shared["searcher"]
    return api.sweep("as-vit", out=OUT, repeat=2, listener=SweepListener(), **shared)


@pytest.mark.long
@pytest.mark.parametrize("undertaking", [finalists, search, sweep, training, variants])
def test_what_other_processes_work_on_may_be_named_relatively(
    undertaking: Callable[[], Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert undertaking().summary["status"] == "completed"
    assert (tmp_path / OUT / "summary.json").is_file()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["runs"]
