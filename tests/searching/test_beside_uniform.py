"""The uniform networks of equal cost that a search scores beside what it found."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import Any

import pytest

import raynas
from raynas.console.runs import show_best
from raynas.interruption import Interrupted
from raynas.report.page import report_data
from raynas.searching.comparison import MOST_BESIDE, uniform_peers
from raynas.searching.run import SearchListener
from raynas.space.architecture import Architecture
from raynas.space.registered import spaces
from raynas.space.uniform import has_uneven
from searchspaces.as_vit import as_vit

SIZE = (32, 10)


def search(folder: Path, **settings: Any) -> raynas.Run:
    asked: dict[str, Any] = {
        "objectives": ["length_distortion"], "budget": 14, "workers": 0, "img_size": SIZE[0], "window": 2,
        "settings": {"length_distortion": {"repeats": 1}}, "listener": SearchListener(), "out": folder, **settings,
    }  # fmt: skip
    return raynas.search("as-vit", **asked)


@pytest.fixture(scope="module")
def searched(tmp_path_factory: pytest.TempPathFactory) -> raynas.Run:
    return search(tmp_path_factory.mktemp("runs") / "whole")


class Stop(SearchListener):
    def on_tell(self, evaluation: Any, told: int, ranking: Any) -> None:
        if told == 5:
            os.kill(os.getpid(), signal.SIGINT)


def test_each_of_the_best_and_the_recommendation_has_the_uniform_network_nearest_in_cost(searched: raynas.Run) -> None:
    beside = {Architecture(one["beside"]): one for one in searched.summary["uniform"]}
    found = [*(entry["architecture"] for entry in searched.best), searched.summary["recommended"]["architecture"]]
    assert beside.keys() == set(map(Architecture, found))
    assert as_vit.macs is not None
    assert as_vit.uniform is not None
    costs = [as_vit.macs(one, *SIZE) for one in as_vit.uniform(as_vit.fields)]
    for architecture, one in beside.items():
        target = as_vit.macs(architecture, *SIZE)
        assert one["macs"] == as_vit.macs(Architecture(one["architecture"]), *SIZE)
        assert abs(one["macs"] - target) == min(abs(cost - target) for cost in costs)


def test_they_are_scored_as_the_search_scores_and_are_no_evaluations_of_it(
    searched: raynas.Run, tmp_path: Path
) -> None:
    told = {one["text"]: one["scores"]["length_distortion"] for one in searched.summary["uniform"]}
    scored = raynas.score(
        "as-vit", list(told), proxies=["length_distortion"], workers=0, img_size=SIZE[0], out=tmp_path / "scored",
        settings={"length_distortion": {"repeats": 1}}, listener=SearchListener(),
    )  # fmt: skip
    assert scored.table["length_distortion"].to_pylist() == list(told.values())
    assert searched.summary["evaluations"] == 14
    assert set(searched.evaluations["candidate"].to_pylist()) <= set(range(14))


def test_a_resumed_search_has_the_same_ones(searched: raynas.Run, tmp_path: Path) -> None:
    with pytest.raises(Interrupted):
        search(tmp_path / "killed", listener=Stop())
    assert raynas.load_run(tmp_path / "killed").summary["uniform"] == []
    resumed = search(tmp_path / "killed", resume=True)
    assert resumed.summary["uniform"] == searched.summary["uniform"]


def test_of_a_front_some_have_one_and_the_table_shows_it(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = search(tmp_path / "front", objectives=["length_distortion", "macs:min"])
    beside = [one["beside"] for one in run.summary["uniform"]]
    assert 1 < len(beside) <= MOST_BESIDE
    assert run.best[0]["architecture"] in beside
    assert run.best[-1]["architecture"] in beside
    show_best(run)
    head, first, *_ = capsys.readouterr().out.splitlines()
    names = head.split()
    assert names[-2:] == ["uniform", "architecture"]
    assert first.split()[-2] == f"{run.summary['uniform'][0]['scores']['length_distortion']:.5g}"


def test_what_is_uniform_itself_has_none() -> None:
    assert as_vit.macs is not None and as_vit.uniform is not None
    alike = next(iter(as_vit.uniform(as_vit.fields)))
    beside = uniform_peers([alike, as_vit.named["seed"]], as_vit, lambda one: as_vit.macs(one, *SIZE))  # type: ignore[misc]
    assert list(beside) == [as_vit.named["seed"]]


@pytest.mark.parametrize(("name", "expected"), [("vit", False), ("pit-tiny", True), ("vit-elastic", True)])
def test_a_space_in_which_no_blocks_differ_has_none(name: str, expected: bool) -> None:
    assert has_uneven(spaces.get(name)) is expected


def test_a_search_of_such_a_space_sets_nothing_beside_and_offers_no_such_training(tmp_path: Path) -> None:
    run = raynas.search(
        "vit", objectives=["num_params:max"], budget=4, workers=0, img_size=SIZE[0], searcher="random",
        out=tmp_path / "vit", listener=SearchListener(),
    )  # fmt: skip
    assert run.summary["uniform"] == []
    lines = [step["command"] for step in report_data(run)["next"]["steps"]]
    assert lines and not any("uniform" in line for line in lines)


def test_scores_and_spaces_without_uniform_networks_have_none(tmp_path: Path) -> None:
    run = raynas.score("as-vit", ["seed"], proxies=["macs"], workers=0, out=tmp_path / "scores")
    assert run.summary["uniform"] == []
    file = Path(__file__).parents[2] / "examples" / "own_space.py"
    own = raynas.search(
        f"{file}:convnets", objectives=["synflow"], budget=2, workers=0, out=tmp_path / "own", listener=SearchListener()
    )
    assert own.summary["uniform"] == []
