"""How many candidates are in flight where nobody says it, and that a run keeps the number with which it began."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from toy_scores import TOY, toy_space

import raynas
from raynas.searchers.registered import searchers
from raynas.searching.config import RunConfig
from raynas.searching.plan import make_plan
from raynas.searching.run import SearchListener
from raynas.searching.windows import default_window, idle_workers
from raynas.storage.result_store import TIMING_COLUMNS
from raynas.storage.run_folder import read_description


@pytest.mark.parametrize(
    ("searcher", "workers", "budget", "window"),
    [
        ("random", 1, 500, 64),
        ("random", 16, 500, 64),
        ("random", 17, 500, 68),
        ("random", 1000, 500, 4000),
        (None, 0, 10, 64),
        (None, 100, 10, 400),
        ("tpe", 2, 100, 16),
        ("tpe", 10, 100, 40),
        ("evolution", 2, 500, 150),
        ("reinforce", 0, 500, 4),
        ("reinforce", 1, 500, 4),
        ("reinforce", 2, 500, 8),
        ("reinforce", 16, 500, 62),
        ("reinforce", 16, 2000, 64),
        ("reinforce", 4, 100, 12),
        ("reinforce", 4, 20, 2),
        ("reinforce", 4, 3, 1),
    ],
)
def test_the_window_has_four_candidates_for_each_worker_and_reinforce_an_eighth_of_its_budget_at_most(
    searcher: str | None, workers: int, budget: int, window: int
) -> None:
    assert default_window(None if searcher is None else searchers.get(searcher), workers, budget).size == window


@pytest.mark.parametrize(
    ("workers", "size", "window"),
    [(None, None, None), ("all", (1, None), None), (3, (3, 3), 64), ("2:40", (2, 40), 160), ("40:40", (40, 40), 160),
     (" 7 ", (7, 7), 64), (0, (0, 0), 64)],
)  # fmt: skip
def test_workers_are_a_number_a_range_or_all_and_decide_the_window_where_they_are_known(
    workers: Any, size: tuple[int, int | None] | None, window: int | None
) -> None:
    config = RunConfig.make({"space": "vit", "objectives": ("num_params",), "searcher": "random", "workers": workers})
    assert config.pool_size == size
    assert make_plan(config).config.window == window
    asked = make_plan(config.resolved(window=5))
    assert (asked.config.window, asked.window_origin) == (5, "as asked for")


@pytest.mark.parametrize("workers", ["0:3", "3:2", "-1", "1:", ":4", "some", "2.5", 2.5, [1], "1:2:3", "", True, -1])
def test_other_workers_are_refused_in_a_line(workers: Any) -> None:
    with pytest.raises(raynas.errors.ConfigError, match="workers") as refused:
        RunConfig.make({"space": "vit", "workers": workers})
    assert "\n" not in str(refused.value)


def test_workers_that_a_window_leaves_idle_are_told() -> None:
    assert idle_workers(12, 16) == "a window of 12 leaves 25% of 16 workers idle"
    assert "some will wait for others" in idle_workers(20, 16)
    assert idle_workers(32, 16) == ""
    assert idle_workers(1, 1) == ""


class Lines(SearchListener):
    def __init__(self) -> None:
        self.lines: list[str] = []

    def on_log(self, line: str) -> None:
        self.lines.append(line)


def search(folder: Path, **settings: Any) -> raynas.Run:
    return raynas.search(
        toy_space(), proxies=[TOY], objectives=["toy"], searcher="reinforce", workers=0, out=folder, **settings
    )


def content(run: raynas.Run) -> list[dict[str, Any]]:
    rows = run.evaluations.drop_columns([*TIMING_COLUMNS, "settings"]).to_pylist()
    return sorted(rows, key=lambda row: row["architecture_key"])


def test_a_run_keeps_the_window_that_it_began_with_also_when_its_budget_grows(tmp_path: Path) -> None:
    search(tmp_path / "run", budget=16)
    assert read_description(tmp_path / "run")["identity"]["window"] == 2
    told = Lines()
    run = search(tmp_path / "run", budget=80, resume=True, listener=told)
    assert "up to 2 candidates at a time: as the run began" in told.lines
    assert content(run) == content(search(tmp_path / "whole", budget=80, window=2))
    with pytest.raises(raynas.errors.StoreError, match="window was 2 and is now 4"):
        search(tmp_path / "run", budget=80, window=4, resume=True)


def test_the_start_says_where_the_window_is_from(tmp_path: Path) -> None:
    told = Lines()
    search(tmp_path / "run", budget=16, listener=told)
    assert "up to 2 candidates at a time: 0.125 of the budget, as the searcher learns from every result" in told.lines


@pytest.mark.slow
def test_where_the_cluster_decides_on_workers_the_window_is_of_what_it_holds(tmp_path: Path) -> None:
    wanted: dict[str, Any] = {"proxies": [TOY], "objectives": ["toy"], "searcher": "random", "budget": 80}
    run = raynas.search(toy_space(), workers="all", out=tmp_path / "all", **wanted)
    stored = read_description(tmp_path / "all")
    assert stored["identity"]["window"] == stored["config"]["window"] == 64
    assert stored["config"]["workers"] == "all"
    assert run.summary["workers"] is None
    assert content(run) == content(raynas.search(toy_space(), workers=0, out=tmp_path / "one", **wanted))


class Noting(SearchListener):
    """Keeps the lines that a person would see."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def on_log(self, line: str) -> None:
        self.lines.append(line)


@pytest.mark.parametrize(("budget", "is_random"), [(20, True), (21, False)])
def test_a_budget_that_ends_before_a_searcher_has_learned_is_said_to_be_random(
    budget: int, is_random: bool, tmp_path: Path
) -> None:
    noting = Noting()
    raynas.search(
        "vit", objectives=["num_params:max"], searcher="nsga2", settings={"searcher": {"population": 20}},
        budget=budget, workers=0, img_size=32, out=tmp_path / "run", listener=noting,
    )  # fmt: skip
    said = "nsga2 draws its first 20 candidates at random, and the budget is 20: this is a random search"
    assert (said in noting.lines) == is_random
    assert any("random search" in line for line in noting.lines) == is_random
