"""Sweeps without Ray: traces, statistics over seeds, what a folder tells, and what is refused at once."""

from __future__ import annotations

import json
import math
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from toy_runs import Recorder as Told
from toy_runs import search
from toy_scores import SLOPE, TOY, toy_space

import raynas
from raynas import Choice
from raynas.cli import main
from raynas.errors import ConfigError, RaynasError, StoreError
from raynas.searching.plan import make_plan
from raynas.searching.run import execute
from raynas.space.results import Evaluation
from raynas.stats.hypervolume import hypervolume_trace
from raynas.stats.quantiles import quantile, quartiles
from raynas.storage.files import write_json, write_text
from raynas.storage.run_folder import run_description
from raynas.sweeps.config import SearchName, SweepConfig
from raynas.sweeps.folder import load_sweep, sweep_data
from raynas.sweeps.plan import make_sweep_plan
from raynas.sweeps.traces import Measure, Trace, common_level, comparison, curves, milestones, read_traces

UP, DOWN = Measure("toy", True), Measure("slope", False)
SEARCHERS = ("random", "reinforce")
rng = np.random.default_rng(0)


# -- statistics -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("n", [1, 2, 3, 4, 5, 8])
@pytest.mark.parametrize("q", [0.0, 0.025, 0.25, 0.5, 0.75, 0.975, 1.0])
def test_quantiles_are_numpys(n: int, q: float) -> None:
    values = rng.normal(size=n).tolist()
    assert quantile(values, q) == float(np.quantile(values, q))


def test_quantiles_next_to_a_missing_value_are_missing() -> None:
    assert quartiles([1.0, 2.0, 3.0, 4.0, math.inf]) == {"median": 3.0, "low": 2.0, "high": 4.0}
    assert quartiles([1.0, 2.0, math.inf, math.inf]) == {"median": None, "low": 1.75, "high": None}
    assert quartiles([-math.inf, 1.0]) == {"median": None, "low": None, "high": None}
    assert quartiles([-math.inf, -math.inf, 5.0]) == {"median": None, "low": None, "high": None}
    assert quartiles([]) == {"median": None, "low": None, "high": None}


def walk(searcher: str, seed: int, maximize: bool, budget: int) -> tuple[Trace, list[float]]:
    """A trace from random values with failures in between, and its best value at every call, found the long way."""
    told = [None if rng.random() < 0.3 else float(rng.integers(30)) for _ in range(budget)]
    pick = max if maximize else min
    long = [pick((v for v in told[: i + 1] if v is not None), default=math.nan) for i in range(budget)]
    at = [i + 1 for i in range(budget) if not math.isnan(long[i]) and (i == 0 or long[i] != long[i - 1])]
    return Trace(SearchName(searcher, seed), at, [long[i - 1] for i in at], budget, reused=seed, seconds=2.0), long


@pytest.mark.parametrize("measure", [UP, DOWN])
@pytest.mark.parametrize("seeds", [1, 4, 5])
def test_searchers_are_compared_as_the_long_way_does(measure: Measure, seeds: int) -> None:
    budget = 60
    walks = {name: [walk(name, k, measure.maximize, budget) for k in range(seeds)] for name in ("a", "b", "c")}
    traces = [trace for found in walks.values() for trace, _ in found]
    found = comparison(traces, measure, budget=budget, level=15.0)
    sign = 1 if measure.maximize else -1
    worst = -math.inf * sign
    level = sign * min(
        sorted(sign * long[-1] for _, long in walks[name])[(seeds - 1) // 2] for name in walks
    )  # the lower one of two middle ones
    assert [one["value"] for one in found["levels"]] == [15.0, level]
    assert [row["searcher"] for row in found["rows"]] == ["a", "b", "c"]
    for row in found["rows"]:
        longs = np.array([long for _, long in walks[row["searcher"]]])
        for one in row["at"]:
            values = longs[:, one["calls"] - 1]
            if not np.isnan(values).any():
                expected = np.quantile(values, [0.25, 0.5, 0.75]).tolist()
                assert [one["low"], one["median"], one["high"]] == pytest.approx(expected, rel=1e-15)
            elif np.isnan(values).all():
                assert one["median"] is None
        assert row["best"]["median"] == np.median(longs[:, -1])
        for one in row["levels"]:
            with np.errstate(invalid="ignore"):
                is_there = np.where(np.isnan(longs), worst, longs) * sign >= one["value"] * sign
            calls = [int(there.argmax()) + 1 if there.any() else math.inf for there in is_there]
            assert one["reached"] == sum(map(math.isfinite, calls))
            assert one["of"] == seeds
            middle = float(np.median(calls))
            assert one["calls"] == (middle if math.isfinite(middle) else None)
        assert row["levels"][1]["reached"] > seeds / 2
        assert (row["evaluations"], row["seconds"]) == (budget * seeds, 2.0 * seeds)
        assert row["reused"] == sum(range(seeds))


def test_a_curve_is_the_median_at_every_call() -> None:
    walks = [walk("a", k, True, 40) for k in range(5)]
    (curve,) = curves([trace for trace, _ in walks], UP)
    longs = np.array([long for _, long in walks])
    for calls in range(1, 41):
        place = np.searchsorted(curve["at"], calls, side="right") - 1
        values = longs[:, calls - 1]
        if not np.isnan(values).any():
            assert curve["median"][place] == np.median(values)
            assert curve["high"][place] == np.quantile(values, 0.75)
    assert curve["at"][-1] == 40
    assert [one["seed"] for one in curve["searches"]] == [0, 1, 2, 3, 4]


def test_a_searcher_that_finds_nothing_keeps_no_level_from_the_others() -> None:
    nothing = [Trace(SearchName("a", k), [], [], 10) for k in range(3)]
    some = [Trace(SearchName("b", k), [k + 1], [float(k)], 10) for k in range(3)]
    assert common_level([*nothing, *some], UP) == 1.0
    assert common_level([*nothing, *some], DOWN) == 1.0
    assert common_level(nothing, UP) is None
    found = comparison([*nothing, *some], UP, budget=10, level=None)
    assert [row["best"]["median"] for row in found["rows"]] == [None, 1.0]
    assert [row["levels"][0]["reached"] for row in found["rows"]] == [0, 2]


def test_milestones_end_with_the_budget() -> None:
    assert milestones(1) == [1]
    assert milestones(5) == [1, 2, 5]
    assert milestones(130) == [1, 2, 5, 10, 20, 50, 100, 130]


# -- folders ----------------------------------------------------------------------------------------------------------


def write_sweep(folder: Path, told: dict[str, Told] | None = None, **settings: Any) -> Path:
    """A sweep's folder with its searches carried out one by one in this process."""
    space = settings.pop("space", toy_space())
    common = {"space": "toy", "proxies": ["toy", "slope"], "objectives": ["toy"], "searchers": SEARCHERS, "repeat": 3}
    config = SweepConfig.make({**common, "budget": 30, "window": 4, "workers": 0, **settings})
    plan = make_sweep_plan(config, space=space, own_proxies=[TOY, SLOPE])
    for name, one in plan.plans.items():
        listener = Told()
        execute(one, folder / str(name), listener=listener)
        if told is not None:
            told[str(name)] = listener
    write_text(folder / "run.yaml", run_description("sweep", plan.config.model_dump(), plan.identity()))
    return folder


@pytest.mark.parametrize("objective", ["toy:max", "slope:min"])
def test_traces_are_what_the_searches_were_told(tmp_path: Path, objective: str) -> None:
    told: dict[str, Told] = {}
    space = toy_space(a=Choice(*range(8)), b=Choice(*range(6)), harm=Choice("none", "raise", "nan"))
    bound = "macs<=4.5e3"
    folder = write_sweep(tmp_path, told, objectives=[objective], constraints=[bound, "slope<=6"], space=space)
    name, _, direction = objective.partition(":")
    sweep = load_sweep(folder)
    measure, traces = read_traces(folder, sweep.config.names)
    assert measure == Measure(name, direction == "max")
    assert [str(trace.name) for trace in traces] == list(told)
    pick = max if direction == "max" else min
    for trace in traces:
        evaluations: list[Evaluation] = told[str(trace.name)].told
        assert trace.evaluations == len(evaluations) == 30
        assert any(not one.is_feasible for one in evaluations)
        for calls in range(1, 31):
            found = [one.scores[name] for one in evaluations[:calls] if one.is_feasible]
            assert trace.best(calls) == (pick(found) if found else None)


def test_several_objectives_are_compared_by_the_hypervolume_in_the_box_of_all_searches(tmp_path: Path) -> None:
    told: dict[str, Told] = {}
    folder = write_sweep(tmp_path, told, objectives=["toy:max", "macs:min"], searchers=["nsga2", "reinforce"], repeat=2)
    measure, traces = read_traces(folder, load_sweep(folder).config.names)
    assert measure == Measure("hypervolume", True)
    points = {
        name: np.array([[-one.scores["toy"], one.scores["macs"]] for one in heard.told]) for name, heard in told.items()
    }
    every = np.concatenate(list(points.values()))
    corners = np.array([[every[:, 0].min(), every[:, 1].max()], [every[:, 0].max(), every[:, 1].min()]])
    for trace in traces:
        expected = hypervolume_trace(np.concatenate([corners, points[str(trace.name)]]))[-1][1]
        assert trace.values[-1] == pytest.approx(expected, rel=1e-12)
    data = sweep_data(folder)
    assert {one["reached"] for row in data["rows"] for one in row["levels"]} == {2}


def test_what_there_is_to_show_is_json_and_tells_of_searches_that_have_ended(tmp_path: Path) -> None:
    folder = write_sweep(tmp_path)
    stopped = folder / "random-seed2" / "summary.json"
    write_json(stopped, {**json.loads(stopped.read_text()), "status": "interrupted", "evaluations": 12})
    (folder / "reinforce-seed2" / "summary.json").unlink()
    data = sweep_data(folder)
    json.dumps(data, allow_nan=False)
    assert {one["name"]: one["status"] for one in data["searches"]} == {
        **{f"{searcher}-seed{seed}": "completed" for searcher in SEARCHERS for seed in (0, 1)},
        "random-seed2": "interrupted",
        "reinforce-seed2": "waiting",
    }
    assert [row["seeds"] for row in data["rows"]] == [[0, 1], [0, 1]]
    assert data["status"] == "unknown"
    assert (data["searchers"], data["seeds"], data["budget"]) == (list(SEARCHERS), [0, 1, 2], 30)
    assert [one["best"] is None for one in data["searches"]] == [False, False, False, False, True, True]
    for searcher, curve in zip(SEARCHERS, data["curves"], strict=True):
        assert curve["searcher"] == searcher
        assert len(curve["at"]) == len(curve["median"]) == len(curve["low"]) == len(curve["high"])
        assert [one["values"][-1] for one in curve["searches"]] == [
            one["best"] for one in data["searches"] if one["searcher"] == searcher and one["best"] is not None
        ]


def test_a_sweep_in_which_nothing_has_ended_can_be_shown(tmp_path: Path) -> None:
    config = SweepConfig.make({"space": "toy", "objectives": ["toy"], "searchers": SEARCHERS, "proxies": ["toy"]})
    plan = make_sweep_plan(config, space=toy_space(), own_proxies=[TOY])
    write_text(tmp_path / "run.yaml", run_description("sweep", plan.config.model_dump(), plan.identity()))
    data = sweep_data(tmp_path)
    assert (data["rows"], data["levels"], data["curves"]) == ([], [], [])
    assert {one["status"] for one in data["searches"]} == {"waiting"}
    assert load_sweep(tmp_path).runs == {}


def test_a_folder_with_another_run_is_no_sweep(tmp_path: Path) -> None:
    search(tmp_path / "run", budget=3)
    with pytest.raises(StoreError, match="holds a run of the kind search, not sweep"):
        sweep_data(tmp_path / "run")
    with pytest.raises(StoreError, match="holds no run"):
        sweep_data(tmp_path)


def test_reading_a_sweep_takes_neither_torch_nor_ray() -> None:
    script = "import sys, raynas.sweeps.folder\nassert not {'torch', 'ray'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", script], check=True)


# -- configuration ----------------------------------------------------------------------------------------------------


def test_searches_have_the_seeds_from_the_first_on_and_share_the_images() -> None:
    values = {"space": "as-vit", "searchers": SEARCHERS, "repeat": 2, "seed": 7}
    plan = make_sweep_plan(SweepConfig.make({**values, "proxies": ["ntk-condition"], "data": "digits"}))
    assert [str(name) for name in plan.plans] == ["random-seed7", "reinforce-seed7", "random-seed8", "reinforce-seed8"]
    assert [one.config.seed for one in plan.plans.values()] == [7, 7, 8, 8]
    assert [one.config.searcher for one in plan.plans.values()] == [*SEARCHERS, *SEARCHERS]
    assert [one.window for one in plan.plans.values()] == [64, 4, 64, 4]  # each searcher's own
    assert len({id(one.make_task.images) for one in plan.plans.values()}) == 1
    assert plan.config.workers == 1
    alone = make_plan(plan.config.search("reinforce", 8))
    assert plan.plans[SearchName("reinforce", 8)].identity() == alone.identity()


@pytest.mark.parametrize(
    ("objectives", "searcher"), [(["length_distortion"], "reinforce"), (["length_distortion", "macs"], "nsga2")]
)
def test_without_a_searcher_the_default_is_repeated(objectives: list[str], searcher: str) -> None:
    plan = make_sweep_plan(SweepConfig.make({"space": "as-vit", "objectives": objectives, "repeat": 3}))
    assert plan.config.searchers == (searcher,)
    assert len(plan.plans) == 3


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--repeat", "0"], "repeat: input should be greater than or equal to 1, got 0"),
        (["--searcher", "random", "--searcher", "luck"], "unknown searcher 'luck'"),
        (["--searcher", "random", "--searcher", "Random"], "searcher 'random' is named twice"),
        (
            ["--searcher", "reinforce", "--searcher", "regularized-evolution", "-o", "length_distortion", "-o", "macs"],
            "searcher 'regularized-evolution': this searcher takes one objective, not 2",
        ),
        (
            ["--searcher", "reinforce", "--searcher", "random", "--set", "searcher.history=9"],
            "searcher 'random' has no setting 'history'",
        ),
        (["--repeat", "2", "--set", "searcher.history=1"], "history is an integer of at least 2, not 1"),
        (["--repeat", "2", "--constraint", "macs<=10"], "raynas: no architecture of"),
        (["--repeat", "2", "--address", "ray://localhost:1"], "is the address of a Ray client"),
        (["--repeat", "2", "--workers", "0", "--gpus-per-worker", "1"], "workers=0 scores in the searches' own"),
        (["--level", "3"], "--level compares searches: give --repeat, or --searcher more than once"),
        (["--repeat", "2", "--level", "nan"], "level: input should be a finite number"),
        (["--repeat", "2", "--resume"], "--resume needs --out"),
        (["--repeat", "2", "-p", "luck"], "raynas: unknown proxy 'luck'"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_bad_input_is_one_line_and_leaves_nothing(
    arguments: list[str],
    message: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as ended:
        main(["search", "as-vit", *arguments])
    assert ended.value.code
    (line,) = capsys.readouterr().err.splitlines()
    assert message in line
    assert list(tmp_path.iterdir()) == []


def test_a_file_can_ask_for_a_sweep_and_not_for_architectures(tmp_path: Path) -> None:
    file = tmp_path / "sweep.yaml"
    values = {"space": "as-vit", "searchers": ["random", "luck"], "repeat": 2}
    file.write_text(yaml.safe_dump(values))
    with pytest.raises(RaynasError, match="unknown searcher 'luck'"):
        main_error(["search", "--config", str(file)])
    with pytest.raises(ConfigError, match="a list of architectures is scored once, by raynas score"):
        make_sweep_plan(SweepConfig.make({"space": "as-vit", "architectures": ["as-vit-small"]}))


def main_error(arguments: list[str]) -> None:
    """Run a command, and let its error through."""
    from raynas.cli import app

    app(arguments, standalone_mode=False)


def test_a_single_searcher_is_an_ordinary_search(tmp_path: Path) -> None:
    with pytest.raises(SystemExit) as ended:
        small = ["--budget", "2", "--img-size", "32", "--workers", "0", "--set", "length_distortion.repeats=1"]
        main(["search", "as-vit", "--searcher", "random", *small, "--out", str(tmp_path / "run")])
    assert not ended.value.code
    description = raynas.load_run(tmp_path / "run").description
    assert (description["kind"], description["config"]["searcher"]) == ("search", "random")


def test_a_sweep_does_not_go_on_in_the_folder_of_a_search(tmp_path: Path) -> None:
    search(tmp_path / "run", budget=3)
    before = sorted((tmp_path / "run").rglob("*"))
    with pytest.raises(StoreError, match="holds a run of the kind search, not sweep"):
        raynas.sweep(
            toy_space(),
            searchers=SEARCHERS,
            proxies=[TOY, SLOPE],
            objectives=["toy"],
            out=tmp_path / "run",
            resume=True,
        )
    assert sorted((tmp_path / "run").rglob("*")) == before
