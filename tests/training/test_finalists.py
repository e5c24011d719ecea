"""The best of a search, trained against each other under Ray Tune."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from toy_trainings import largest_difference, trained, weights

import raynas
from raynas.cluster import connect
from raynas.errors import ConfigError, StoreError
from raynas.run import Interrupted
from raynas.training.finalists import FinalistsConfig, finalists
from raynas.training.finalists_run import FinalistsListener, execute_finalists, make_finalists_plan
from raynas.training.folder import load_training

TRAINING = {
    "data": "digits",
    "max_images": 220,
    "batch_size": 32,
    "augment": "light",
    "lr": 1e-3,
    "threads": 1,
    "loader_processes": 0,
    "loggers": [],
    "epochs": 4,
}


@pytest.fixture(scope="module")
def searched(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("finalists") / "search"
    raynas.search(
        "as-vit",
        objectives=["macs:min", "length_distortion"],
        img_size=32,
        searcher="random",
        budget=12,
        workers=0,
        constraints=["num_params<=2.2e6"],
        settings={"length_distortion": {"repeats": 1, "points": 2}},
        out=folder,
    )
    return folder


def config(source: Path, **settings: Any) -> FinalistsConfig:
    chosen = {"source": str(source), "top": 4, "training": TRAINING, **settings}
    return FinalistsConfig.make(chosen)


def test_finalists_are_ranked_front_by_front(searched: Path) -> None:
    found = finalists(searched, 8)
    rows = [member.scores for member in found]
    everything = [row for row in raynas.load_run(searched).table.to_pylist() if row["length_distortion"] is not None]
    assert all(row["num_params"] <= 2.2e6 for row in rows)

    def dominates(a: dict[str, float], b: dict[str, float]) -> bool:
        at_least = a["macs"] <= b["macs"] and a["length_distortion"] >= b["length_distortion"]
        return at_least and (a["macs"], a["length_distortion"]) != (b["macs"], b["length_distortion"])

    front = [row for row in everything if not any(dominates(other, row) for other in everything)]
    size = len(front)
    assert [row["macs"] for row in rows[:size]] == sorted(row["macs"] for row in front)[:8]
    for early, late in pairwise(rows):
        assert not dominates(late, early)
    assert len({member.name for member in found}) == 8


def test_too_few_and_other_folders_are_refused(searched: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="feasible architectures with all objectives; --top is 50"):
        finalists(searched, 50)
    with pytest.raises(StoreError, match="holds no run"):
        finalists(tmp_path, 2)
    trained(tmp_path / "training")
    with pytest.raises(ConfigError, match="holds a run of the kind training; finalists come from a search"):
        finalists(tmp_path / "training", 2)


@pytest.mark.parametrize(
    ("training", "message"),
    [
        ({**TRAINING, "workers": 2}, "each finalist is trained by one process"),
        ({**TRAINING, "num_classes": 7}, "num_classes is 7, but data 'digits' has 10 classes"),
        ({**TRAINING, "epochz": 7}, "unknown key 'epochz'"),
    ],
)
def test_trainings_are_checked_before_any_starts(searched: Path, training: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        make_finalists_plan(config(searched, training=training))


@pytest.fixture(scope="module")
def joined() -> Iterator[None]:
    disconnect = connect(None, min_cpus=2)
    yield
    disconnect()


def test_the_worst_are_stopped_early_and_the_others_are_trained_as_if_alone(
    searched: Path, tmp_path: Path, joined: None
) -> None:
    plan = make_finalists_plan(config(searched))
    summary = execute_finalists(plan, tmp_path / "run")
    assert summary["status"] == "completed"
    trials = summary["trials"]
    assert [trial["top1"] for trial in trials] == sorted((trial["top1"] for trial in trials), reverse=True)
    assert {trial["status"] for trial in trials} == {"completed", "stopped"}
    for trial in trials:
        assert (trial["epochs_done"] == 4) == (trial["status"] == "completed")
        assert trial["epochs_done"] >= 1
        assert load_training(tmp_path / "run" / trial["folder"]).summary["epochs_done"] == trial["epochs_done"]
    assert [best["name"] for best in summary["best"]] == [t["name"] for t in trials if t["status"] == "completed"]
    best = summary["best"][0]
    alone = trained(tmp_path / "alone", **TRAINING, architecture=json.dumps(best["architecture"]), img_size=32)
    assert largest_difference(weights(tmp_path / "run" / best["folder"]), alone) == 0

    again = execute_finalists(make_finalists_plan(config(searched)), tmp_path / "run", resume=True)
    assert again["trials"] == trials
    with pytest.raises(StoreError, match="grace was 1 and is now 2"):
        execute_finalists(make_finalists_plan(config(searched, grace=2)), tmp_path / "run", resume=True)


class Interrupts(FinalistsListener):
    """Sends this process a signal once a trial has ended: stopped early, or completed."""

    def __init__(self) -> None:
        self.ended: dict[str, tuple[str, int]] = {}

    def on_progress(self, trials: Sequence[Mapping[str, Any]]) -> None:
        if not self.ended and ended(trials):  # others are still to start then, as two run at once
            self.ended = ended(trials)
            os.kill(os.getpid(), signal.SIGINT)


def ended(trials: Sequence[Mapping[str, Any]]) -> dict[str, tuple[str, int]]:
    """Status and epochs of the trials that are over."""
    return {t["name"]: (t["status"], t["epochs_done"]) for t in trials if t["status"] in ("completed", "stopped")}


def check_resumed(folder: Path, made: FinalistsConfig, alone: Path, before: dict[str, tuple[str, int]]) -> None:
    """Going on keeps what has ended, and comes to the same weights as a training alone."""
    summary = execute_finalists(make_finalists_plan(made), folder, resume=True)
    assert summary["status"] == "completed"
    assert before.items() <= ended(summary["trials"]).items()
    best = summary["best"][0]
    assert best["epochs_done"] == made.training["epochs"]
    settings = {**made.training, "architecture": json.dumps(best["architecture"]), "img_size": 32}
    assert largest_difference(weights(folder / best["folder"]), trained(alone, **settings)) == 0


def epochs_done(folder: Path) -> int:
    try:
        return sum(trial["epochs_done"] for trial in json.loads((folder / "summary.json").read_text())["trials"])
    except (OSError, ValueError):
        return 0


def test_interrupted_finalists_write_checkpoints_and_go_on(searched: Path, tmp_path: Path, joined: None) -> None:
    folder, made = tmp_path / "run", config(searched, training={**TRAINING, "epochs": 16})
    listener = Interrupts()
    with pytest.raises(Interrupted):
        execute_finalists(make_finalists_plan(made), folder, listener=listener)
    summary = json.loads((folder / "summary.json").read_text())
    assert summary["status"] == "interrupted"
    assert listener.ended.items() <= ended(summary["trials"]).items()
    assert epochs_done(folder) < 4 * 16
    check_resumed(folder, made, tmp_path / "alone", listener.ended)
    assert len(list((folder / "tune").glob("experiment_state-*.json"))) == 2  # of the first and the restored Tuner


@pytest.mark.slow
def test_finalists_go_on_after_their_driver_was_killed(searched: Path, tmp_path: Path, joined: None) -> None:
    folder, made = tmp_path / "run", config(searched, top=2, training={**TRAINING, "epochs": 12})
    code = (
        "from pathlib import Path; from raynas.training.finalists import FinalistsConfig;"
        "from raynas.training.finalists_run import execute_finalists, make_finalists_plan;"
        f"execute_finalists(make_finalists_plan(FinalistsConfig.make({made.model_dump()!r})), Path({str(folder)!r}))"
    )
    environment = {name: value for name, value in os.environ.items() if not name.startswith("RAY_ADDRESS")}
    process = subprocess.Popen([sys.executable, "-c", code], env=environment)
    deadline = time.monotonic() + 240
    while epochs_done(folder) < 5 and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.1)
    assert process.poll() is None
    process.kill()
    process.wait()
    assert 0 < epochs_done(folder) < 24
    before = ended(json.loads((folder / "summary.json").read_text())["trials"])
    check_resumed(folder, made, tmp_path / "alone", before)  # at once, while processes of the killed one are ending
