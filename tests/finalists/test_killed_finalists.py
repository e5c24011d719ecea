"""Finalists whose driver is killed at two moments, as small as they can be; many moments are tried by the long tests.

All drivers join one Ray, which takes less time than a Ray for each, as the long tests have it.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from random_moments import killed_at
from toy_finalists import best_of_search, epochs_done, finalists_config
from toy_trainings import largest_difference, trained, weights

from raynas.finalists.config import FinalistsConfig
from raynas.finalists.plan import make_finalists_plan
from raynas.training.folder import load_training
from raynas.trials.run import execute_trials

EPOCHS = 3  # with comparisons after 1 and 2


def made(source: Path, halving: str) -> FinalistsConfig:
    return finalists_config(source, epochs=EPOCHS, top=2, halving=halving)


@pytest.fixture(scope="module")
def searched(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return best_of_search(tmp_path_factory.mktemp("killed") / "search")


@pytest.fixture(scope="module")
def alone(searched: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Each finalist trained by itself, which nobody kills."""
    root = tmp_path_factory.mktemp("alone")
    plan = make_finalists_plan(made(searched, "synchronous"))
    for name, one in plan.plans.items():
        trained(root / name, **plan.config.training, architecture=one.architecture.to_json(), img_size=32)
    return {name: root / name for name in plan.plans}


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    """That of a node with room for both trials at once, which this process has joined."""
    import ray

    ray.init("local", num_cpus=2, include_dashboard=False, log_to_driver=False, logging_level="error")
    yield ray.get_runtime_context().gcs_address
    ray.shutdown()


def rows(folder: Path) -> list[dict[str, Any]]:
    columns = ["epoch", "lr", "train_loss", "val_loss", "val_top1"]
    found: list[dict[str, Any]] = load_training(folder).metrics.select(columns).to_pylist()
    return found


@pytest.mark.long
@pytest.mark.parametrize("halving", ["asynchronous", "synchronous"])
def test_finalists_killed_at_two_moments_come_out_as_if_nobody_had(
    searched: Path, alone: dict[str, Path], address: str, tmp_path: Path, halving: str
) -> None:
    folder, config = tmp_path / "run", made(searched, halving)
    elsewhere = {**config.model_dump(), "training": {**config.training, "address": address}}
    code = (
        "from pathlib import Path; from raynas.finalists.config import FinalistsConfig;"
        "from raynas.finalists.plan import make_finalists_plan; from raynas.trials.run import execute_trials;"
        f"execute_trials(make_finalists_plan(FinalistsConfig.make({elsewhere!r})), Path({str(folder)!r}),"
        "resume=True)"
    )
    killed_at((1, 2), code, lambda: epochs_done(folder))
    assert json.loads((folder / "summary.json").read_text())["status"] == "running"
    summary = execute_trials(make_finalists_plan(config), folder, resume=True)
    assert summary["status"] == "completed"
    trials = {trial["name"]: trial for trial in summary["trials"]}
    assert trials.keys() == alone.keys()
    for name, whole in alone.items():
        assert rows(folder / name) == rows(whole)[: trials[name]["epochs_done"]]
        if trials[name]["epochs_done"] == EPOCHS:
            assert largest_difference(weights(folder / name), weights(whole)) == 0
    lengths = [trials[name]["epochs_done"] for name in alone]
    if halving == "synchronous":  # by hand: of two, the better one after the first epoch goes on, at a draw the first
        first, second = (rows(whole)[0]["val_top1"] for whole in alone.values())
        assert lengths == ([EPOCHS, 1] if first >= second else [1, EPOCHS])
    else:  # who came first to a comparison follows from no seed, but one goes on
        assert max(lengths) == EPOCHS
    assert [trials[name]["status"] for name in alone] == [
        "completed" if length == EPOCHS else "stopped" for length in lengths
    ]
