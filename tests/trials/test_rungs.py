"""Synchronous halving: who goes on, by hand and against trainings alone."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from random_moments import killed_at, random_moments
from toy_finalists import best_of_search, epochs_done, finalists_config
from toy_trainings import largest_difference, trained, weights

from raynas.errors import StoreError
from raynas.finalists.plan import make_finalists_plan
from raynas.training.folder import load_training
from raynas.trials.run import TrialsListener, execute_trials
from raynas.trials.rungs import promoted, rungs

EPOCHS = 5  # with rungs after 1, 2 and 4


@pytest.mark.parametrize(
    ("grace", "reduction", "epochs", "expected"),
    [(1, 2, 9, [1, 2, 4, 8]), (1, 2, 8, [1, 2, 4]), (2, 3, 20, [2, 6, 18]), (5, 2, 5, []), (1, 4, 2, [1])],
)
def test_rungs_by_hand(grace: int, reduction: int, epochs: int, expected: list[int]) -> None:
    assert rungs(grace, reduction, epochs) == expected


def test_who_goes_on_by_hand() -> None:
    assert promoted({"a": 0.1, "b": 0.3, "c": 0.2, "d": 0.4, "e": 0.0}, 2) == ["b", "d"]
    assert promoted({"a": 0.1, "b": 0.1, "c": 0.1}, 2) == ["a"]  # the search's ranking decides
    assert promoted({"a": 0.1, "b": 0.2}, 4) == ["b"]
    assert promoted({"a": None, "b": 0.1, "c": 0.2, "d": None}, 2) == ["b", "c"]  # failures take no place
    assert promoted({"a": None, "b": None}, 2) == []


@given(st.lists(st.none() | st.integers(0, 5).map(lambda k: k / 5), max_size=12), st.integers(2, 4))
def test_nobody_goes_on_whom_enough_others_beat(accuracies: list[float | None], reduction: int) -> None:
    """One goes on if fewer than the places are better, or equal and ranked before."""
    names = [f"{k:02d}" for k in range(len(accuracies))]
    places = max(1, len(names) // reduction)
    expected = []
    for k, own in enumerate(accuracies):
        if own is None:
            continue
        ahead = [i for i, other in enumerate(accuracies) if other is not None and (other, -i) > (own, -k)]
        if len(ahead) < places:
            expected.append(names[k])
    assert promoted(dict(zip(names, accuracies, strict=True)), reduction) == expected


@pytest.fixture(scope="module")
def searched(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return best_of_search(tmp_path_factory.mktemp("rungs") / "search")


class Lines(TrialsListener):
    def __init__(self) -> None:
        self.lines: list[str] = []

    def on_log(self, line: str) -> None:
        self.lines.append(line)


def outcome(folder: Path) -> dict[str, Any]:
    """What came of each finalist, less times: its status, epochs and metrics."""
    summary = json.loads((folder / "summary.json").read_text())
    columns = ["epoch", "lr", "train_loss", "val_loss", "val_top1"]
    return {
        trial["name"]: (
            trial["status"],
            trial["rank"],
            load_training(folder / trial["folder"]).metrics.select(columns).to_pylist(),
        )
        for trial in summary["trials"]
    }


@pytest.fixture(scope="module")
def whole(searched: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Finalists that nobody kills."""
    folder = tmp_path_factory.mktemp("rungs") / "whole"
    listener = Lines()
    made = finalists_config(searched, epochs=EPOCHS, halving="synchronous")
    summary = execute_trials(make_finalists_plan(made), folder, listener=listener)
    assert (summary["status"], summary["error"]) == ("completed", None)
    told = [line for line in listener.lines if line.startswith("after epoch")]
    assert told == ["after epoch 1: 2 of 4 go on", "after epoch 2: 1 of 2 go on"]
    return folder


@pytest.mark.long
def test_the_worst_of_each_whole_rung_are_stopped(searched: Path, whole: Path, tmp_path: Path) -> None:
    plan = make_finalists_plan(finalists_config(searched, epochs=EPOCHS, halving="synchronous"))
    curves = {}
    for name, one in plan.plans.items():
        settings = {**plan.config.training, "architecture": one.architecture.to_json(), "img_size": 32}
        trained(tmp_path / name, **settings)
        curves[name] = load_training(tmp_path / name).metrics["val_top1"].to_pylist()
    alive, lengths = list(curves), {}
    for rung in (1, 2, 4):
        ordered = sorted(alive, key=lambda name: (-curves[name][rung - 1], list(curves).index(name)))
        stopped = ordered[max(1, len(alive) // 2) :]
        lengths |= dict.fromkeys(stopped, rung)
        alive = [name for name in alive if name not in stopped]
    (best,) = alive
    found = outcome(whole)
    assert {name: len(rows) for name, (_, _, rows) in found.items()} == {**lengths, best: EPOCHS}
    assert {name: status for name, (status, *_) in found.items()} == {
        **dict.fromkeys(lengths, "stopped"),
        best: "completed",
    }
    for name, (_, _, rows) in found.items():
        assert [row["val_top1"] for row in rows] == curves[name][: len(rows)]
    assert largest_difference(weights(whole / best), weights(tmp_path / best)) == 0
    with pytest.raises(StoreError, match="halving was 'synchronous' and is now 'asynchronous'"):
        other = finalists_config(searched, epochs=EPOCHS)
        execute_trials(make_finalists_plan(other), whole, resume=True)


@pytest.mark.long
def test_whenever_it_is_killed_the_same_are_stopped(searched: Path, whole: Path, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    made = finalists_config(searched, epochs=EPOCHS, halving="synchronous")
    code = (
        "from pathlib import Path; from raynas.finalists.config import FinalistsConfig;"
        "from raynas.finalists.plan import make_finalists_plan; from raynas.trials.run import execute_trials;"
        f"execute_trials(make_finalists_plan(FinalistsConfig.make({made.model_dump()!r})), Path({str(folder)!r}),"
        "resume=True)"
    )
    killed_at(random_moments(8, most=9), code, lambda: epochs_done(folder), spread_s=1.0)
    summary = execute_trials(make_finalists_plan(made), folder, resume=True)
    assert summary["status"] == "completed"
    assert outcome(folder) == outcome(whole)
    for name in outcome(whole):
        assert largest_difference(weights(folder / name), weights(whole / name)) == 0
