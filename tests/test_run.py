"""The loop: when it asks and tells, what it stores, how it goes on."""

from __future__ import annotations

import dataclasses
import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest
import torch
import yaml
from toy_scores import SLOPE, TOY, toy, toy_space, value

import raynas
import raynas.run
from raynas import Architecture, Choice
from raynas.config import RunConfig
from raynas.errors import ConfigError, StoreError, UnknownNameError
from raynas.plan import Plan, make_plan
from raynas.pool import Job, Result
from raynas.proxies.probe import Proxy
from raynas.results import Candidate, Evaluation
from raynas.run import Listener
from raynas.store import TIMING_COLUMNS


def content(run: raynas.Run) -> list[dict[str, Any]]:
    rows = run.evaluations.drop_columns(list(TIMING_COLUMNS)).to_pylist()
    return sorted(rows, key=lambda row: (row["architecture_key"], row["proxy"]))


def search(folder: Path | None, **settings: Any) -> raynas.Run:
    chosen: dict[str, Any] = {"searcher": "regularized_evolution", "budget": 60, "window": 8, "workers": 0, **settings}
    proxies = chosen.pop("proxies", [TOY, SLOPE])
    return raynas.search(chosen.pop("space", toy_space()), proxies=proxies, objectives=["toy"], out=folder, **chosen)


class Course(Listener):
    """Keeps what was told."""

    def __init__(self) -> None:
        self.told: list[Evaluation] = []

    def on_tell(self, evaluation: Evaluation, told: int, ranking: Any) -> None:
        self.told.append(evaluation)


class LoggedSearcher:
    """Asks for given numbers of candidates, fewer than wanted at times, and logs every call."""

    def __init__(self, log: list[tuple[str, int]], stingy: bool) -> None:
        self.log = log
        self.stingy = stingy
        self.asked = self.told = 0

    def ask(self, n: int) -> list[Candidate]:
        if self.stingy and self.told % 3:
            return []
        candidates = []
        for _ in range(n):
            self.log.append(("ask", self.told))
            candidates.append(Candidate(self.asked, Architecture({"a": self.asked % 40, "b": 1, "harm": "none"})))
            self.asked += 1
        return candidates

    def tell(self, evaluations: Sequence[Evaluation]) -> None:
        (evaluation,) = evaluations
        assert evaluation.id == self.told
        self.told += 1


@pytest.mark.parametrize("window", [1, 4, 100])
@pytest.mark.parametrize("order", ["first", "last"])
def test_candidate_k_is_asked_when_max_0_k_minus_window_plus_1_are_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, window: int, order: str
) -> None:
    log: list[tuple[str, int]] = []
    monkeypatch.setattr(Plan, "searcher", lambda plan: LoggedSearcher(log, stingy=False))
    _answer_in_order(monkeypatch, order)
    search(tmp_path / "run", window=window, budget=30)
    assert log == [("ask", max(0, k - window + 1)) for k in range(30)]


def test_a_searcher_that_gives_fewer_is_asked_again_after_each_tell(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    log: list[tuple[str, int]] = []
    monkeypatch.setattr(Plan, "searcher", lambda plan: LoggedSearcher(log, stingy=True))
    run = search(tmp_path / "run", window=6, budget=30)
    assert run.summary["evaluations"] == 30
    # Asked in full whenever the number told is a multiple of 3, and never in between.
    assert [told for _, told in log] == sorted([0] * 6 + [3 * (i // 3) for i in range(3, 27)])


def _answer_in_order(monkeypatch: pytest.MonkeyPatch, order: str) -> None:
    """Make the pool in this process hand out the first or the last job first, many at a time."""
    from raynas.pool import SerialPool

    def poll(pool: SerialPool, timeout_s: float) -> list[Result]:
        jobs: list[Job] = list(pool._queue)
        pool._queue.clear()
        if order == "last":
            pool._queue.extend(jobs[: len(jobs) // 2])
            jobs = jobs[len(jobs) // 2 :]
        return [Result(job, pool._evaluator(job.architecture, job.wanted)) for job in jobs]

    monkeypatch.setattr(SerialPool, "poll", poll)


def test_the_order_of_results_does_not_change_the_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    expected = content(search(tmp_path / "plain"))
    for order in ("first", "last"):
        with monkeypatch.context() as patch:
            _answer_in_order(patch, order)
            assert content(search(tmp_path / order)) == expected


def test_evaluations_are_on_disk_before_they_are_told(tmp_path: Path) -> None:
    folder = tmp_path / "run"

    class Checks(Listener):
        def on_tell(self, evaluation: Evaluation, told: int, ranking: Any) -> None:
            keys = set(raynas.load_run(folder).evaluations["architecture_key"].to_pylist())
            assert evaluation.architecture.key in keys

    search(folder, budget=20, listener=Checks())


def test_scores_are_those_of_the_proxies(tmp_path: Path) -> None:
    course = Course()
    search(tmp_path / "run", listener=course, score_seed=5)
    assert len(course.told) == 60
    for evaluation in course.told:
        architecture = evaluation.architecture
        assert evaluation.scores == {
            "toy": value(architecture, seed=5),
            "slope": architecture["a"] - architecture["b"],
            "num_params": 100 * architecture["a"] + 1,
            "macs": 1000 * architecture["b"] + 1,
        }


def test_no_architecture_is_scored_twice(tmp_path: Path) -> None:
    log = tmp_path / "log"
    space = toy_space(a=Choice(1, 2, 3), b=Choice(1, 2), harm=Choice("none"))
    run = search(tmp_path / "run", space=space, searcher="reinforce", window=4, settings={"toy": {"log": str(log)}})
    scored = log.read_text().split("\n")[:-1]
    assert run.summary["evaluations"] == 60
    assert len(scored) == len(set(scored)) <= 6


def test_an_exhausted_space_ends_the_run(tmp_path: Path) -> None:
    space = toy_space(a=Choice(1, 2, 3), b=Choice(1, 2), harm=Choice("none"))
    run = search(tmp_path / "run", space=space, searcher="random")
    assert run.summary["status"] == "exhausted"
    assert run.summary["evaluations"] == 6
    assert run.table.num_rows == 6


def test_a_run_says_what_it_was_and_what_is_best(tmp_path: Path) -> None:
    run = search(tmp_path / "run", searcher="random", constraints=["macs<=20001"])
    rows = run.table.to_pylist()
    rows.sort(key=lambda row: -row["toy"])
    assert run.summary["status"] == "completed"
    assert [entry["scores"]["toy"] for entry in run.best] == [row["toy"] for row in rows[:10]]
    assert [json.dumps(entry["architecture"], sort_keys=True, separators=(",", ":")) for entry in run.best] == [
        row["architecture"] for row in rows[:10]
    ]
    assert all(row["macs"] <= 20001 for row in rows)
    assert run.description["config"]["budget"] == 60
    assert set(run.description["versions"]) >= {"python", "raynas", "torch", "ray", "timm"}


def test_pareto_front_of_several_objectives(tmp_path: Path) -> None:
    run = raynas.search(
        toy_space(), proxies=[TOY, SLOPE], objectives=["toy", "macs:min"], searcher="nsga2", budget=80, workers=0,
        out=tmp_path / "run",
    )  # fmt: skip
    points = {(row["toy"], row["macs"]) for row in run.table.to_pylist()}
    front = {p for p in points if not any(q[0] >= p[0] and q[1] <= p[1] and q != p for q in points)}
    assert {(entry["scores"]["toy"], entry["macs"]) for entry in run.best} == front


# -- constraints -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("searcher", ["random", "regularized_evolution", "reinforce", "nsga2", "tpe"])
def test_a_constraint_on_a_cost_is_never_violated_by_a_scored_candidate(tmp_path: Path, searcher: str) -> None:
    log = tmp_path / "log"
    run = search(
        tmp_path / "run", searcher=searcher, constraints=["num_params<=1001"], settings={"toy": {"log": str(log)}}
    )
    scored = {line.split()[0] for line in log.read_text().split("\n")[:-1]}
    params = {row["architecture_key"]: row["num_params"] for row in run.table.to_pylist()}
    assert scored
    assert all(params[key] <= 1001 for key in scored)
    assert all(entry["num_params"] <= 1001 for entry in run.best)


@pytest.mark.parametrize("searcher", ["random", "regularized_evolution", "reinforce", "nsga2", "tpe"])
def test_a_constraint_on_a_score_makes_evaluations_infeasible(tmp_path: Path, searcher: str) -> None:
    course = Course()
    run = search(tmp_path / "run", searcher=searcher, constraints=["slope<=0"], listener=course)
    infeasible = [e for e in course.told if not e.is_feasible]
    assert infeasible
    assert all(e.scores["slope"] > 0 and e.violations == {"slope<=0": e.scores["slope"]} for e in infeasible)
    assert all(entry["scores"]["slope"] <= 0 for entry in run.best)


def test_every_searcher_survives_failures(tmp_path: Path) -> None:
    space = toy_space(a=Choice(*range(20)), b=Choice(*range(5)), harm=Choice("none", "raise", "nan"))
    for searcher in ("random", "regularized_evolution", "reinforce", "nsga2", "tpe"):
        run = search(tmp_path / searcher, space=space, searcher=searcher)
        statuses = {row["status"] for row in run.evaluations.to_pylist() if row["proxy"] == "toy"}
        assert statuses == {"ok", "failed", "non_finite"}
        assert run.summary["failed"] > 0
        assert all(entry["architecture"]["harm"] == "none" for entry in run.best)


# -- resuming ----------------------------------------------------------------------------------------------------


def test_a_grown_budget_continues_the_same_course(tmp_path: Path) -> None:
    expected = content(search(tmp_path / "whole", budget=60))
    for budget in (1, 17, 40, 60):
        run = search(tmp_path / "grown", budget=budget, resume=True)
    assert content(run) == expected
    assert run.summary["evaluations"] == 60


@pytest.mark.parametrize("searcher", ["random", "reinforce", "nsga2", "tpe"])
def test_a_budget_grown_once_gives_the_same_table_with_every_searcher(tmp_path: Path, searcher: str) -> None:
    expected = search(tmp_path / "whole", searcher=searcher)
    search(tmp_path / "grown", searcher=searcher, budget=10)
    grown = search(tmp_path / "grown", searcher=searcher, resume=True)
    assert content(grown) == content(expected)
    assert grown.summary["recommended"] == expected.summary["recommended"]
    assert (grown.summary["recommended"] is None) == (searcher != "reinforce")


def test_a_budget_does_not_shrink(tmp_path: Path) -> None:
    search(tmp_path / "run", budget=20)
    with pytest.raises(StoreError, match="holds 20 candidates; a budget may grow, not shrink to 10"):
        search(tmp_path / "run", budget=10, resume=True)
    assert raynas.load_run(tmp_path / "run").summary["evaluations"] == 20


def test_a_run_that_started_meanwhile_in_the_folder_is_not_mixed_in(tmp_path: Path) -> None:
    def other_run(*_: Any) -> tuple[Any, int]:
        monkeypatch.undo()
        search(tmp_path / "run", budget=5, score_seed=7)
        return start(*_)

    monkeypatch = pytest.MonkeyPatch()
    start = raynas.run.start_pool
    monkeypatch.setattr(raynas.run, "start_pool", other_run)
    with pytest.raises(StoreError, match="holds a run already"):
        search(tmp_path / "run", budget=5)
    assert {row["score_seed"] for row in raynas.load_run(tmp_path / "run").evaluations.to_pylist()} == {
        0,
        7,
    }  # costs: 0


@pytest.mark.parametrize("seed", range(6))
def test_the_recommendation_meets_the_constraints_on_costs(tmp_path: Path, seed: int) -> None:
    run = search(tmp_path / "run", searcher="reinforce", constraints=["num_params<=501"], seed=seed, budget=30)
    chosen = run.summary["recommended"]
    assert chosen["num_params"] <= 501
    assert chosen["is_feasible"]
    assert chosen["scores"]["toy"] == value(chosen["architecture"])


@pytest.mark.parametrize("searcher", ["random", "regularized_evolution", "reinforce", "nsga2", "tpe"])
def test_lost_parts_are_scored_again_with_the_same_result(tmp_path: Path, searcher: str) -> None:
    folder = tmp_path / "run"
    expected = content(search(folder, searcher=searcher))
    parts = sorted((folder / "evaluations").iterdir())
    parts[0].unlink()
    parts[-1].write_bytes(parts[-1].read_bytes()[:-20])
    run = search(folder, searcher=searcher, resume=True)
    assert content(run) == expected


def test_resuming_scores_nothing_that_is_stored(tmp_path: Path) -> None:
    log = tmp_path / "log"
    settings = {"toy": {"log": str(log)}}
    search(tmp_path / "run", settings=settings, budget=30)
    before = log.read_text()
    search(tmp_path / "run", settings=settings, budget=30, resume=True)
    assert log.read_text() == before


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"seed": 1}, "seed was 0 and is now 1"),
        ({"window": 9}, "window was 8 and is now 9"),
        ({"searcher": "random"}, "searcher was 'regularized_evolution' and is now 'random'"),
        ({"constraints": ["macs<=2e4"]}, "constraints was"),
        ({"img_size": 16}, "img_size was 8 and is now 16"),
        ({"settings": {"toy": {"pause_s": 0.001}}}, "scores.toy.settings was"),
        ({"space": toy_space(a=Choice(1, 2), b=Choice(1), harm=Choice("none"))}, "space_fields was"),
    ],
)
def test_another_run_is_not_resumed(tmp_path: Path, change: dict[str, Any], message: str) -> None:
    run = search(tmp_path / "run", budget=10)
    before = {path: path.read_bytes() for path in sorted((tmp_path / "run").rglob("*")) if path.is_file()}
    with pytest.raises(StoreError, match=message):
        search(tmp_path / "run", budget=10, resume=True, **change)
    assert {path: path.read_bytes() for path in sorted((tmp_path / "run").rglob("*")) if path.is_file()} == before
    assert run.summary["evaluations"] == 10


def test_a_folder_that_holds_a_run_is_not_written_without_resume(tmp_path: Path) -> None:
    search(tmp_path / "run", budget=5)
    with pytest.raises(StoreError, match="--resume continues it"):
        search(tmp_path / "run", budget=5)


def test_a_folder_with_other_files_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").write_text("years of work")
    with pytest.raises(StoreError, match=r"thesis\.tex"):
        search(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.tex"]


def test_a_changed_folder_is_noticed(tmp_path: Path) -> None:
    search(tmp_path / "run", budget=20)
    other = search(tmp_path / "other", budget=20, seed=1)
    (part,) = sorted((other.folder / "evaluations").iterdir())[:1]
    for path in (tmp_path / "run" / "evaluations").iterdir():
        path.unlink()
    part.rename(tmp_path / "run" / "evaluations" / part.name)
    with pytest.raises(StoreError, match="the folder was changed"):
        search(tmp_path / "run", budget=20, resume=True)


# -- scores of other runs ----------------------------------------------------------------------------------------


def test_scores_of_another_run_are_reused_and_change_nothing(tmp_path: Path) -> None:
    log = tmp_path / "log"
    settings = {"toy": {"log": str(log)}}
    first = search(tmp_path / "first", settings=settings)
    scored = len(log.read_text().split("\n"))
    second = search(tmp_path / "second", settings=settings, reuse=[tmp_path / "first"])
    assert len(log.read_text().split("\n")) == scored
    assert [{**row, "reused": False} for row in content(second)] == content(first)
    assert second.summary["reused"] == second.table.num_rows
    assert search(tmp_path / "second", settings=settings, resume=True).summary["reused"] == second.table.num_rows


@pytest.mark.parametrize("change", [{"score_seed": 1}, {"settings": {"toy": {"pause_s": 1e-4}}}, {"img_size": 16}])
def test_scores_with_another_key_are_not_reused(tmp_path: Path, change: dict[str, Any]) -> None:
    search(tmp_path / "first", proxies=[TOY], budget=10)
    assert (
        search(tmp_path / "second", proxies=[TOY], budget=10, reuse=[tmp_path / "first"], **change).summary["reused"]
        == 0
    )


def test_failures_of_another_machine_are_not_reused(tmp_path: Path) -> None:
    space = toy_space(a=Choice(*range(10)), b=Choice(1), harm=Choice("none", "raise", "nan"))
    first = search(tmp_path / "first", space=space, searcher="random", budget=30)
    second = search(tmp_path / "second", space=space, searcher="random", budget=30, reuse=[tmp_path / "first"])
    reused = {row["architecture_key"]: row["reused"] for row in second.evaluations.to_pylist() if row["proxy"] == "toy"}
    for row in first.evaluations.to_pylist():
        if row["proxy"] == "toy":
            assert reused[row["architecture_key"]] == (row["status"] in ("ok", "non_finite"))


# -- bad input ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("settings", "error", "message"),
    [
        ({"space": "as-vitt"}, UnknownNameError, "unknown space 'as-vitt'. Did you mean 'as-vit'"),
        ({"objectives": ["length"]}, UnknownNameError, "unknown score 'length'.*Known scores: .*length_distortion"),
        ({"searcher": "annealing"}, UnknownNameError, "unknown searcher 'annealing'.*Known searchers: .*random"),
        ({"bugdet": 5}, ConfigError, "unknown key 'bugdet'. Known keys: .*budget"),
        ({"budget": 0}, ConfigError, "budget: .*greater than or equal to 1, got 0"),
        ({"img_size": 65}, ConfigError, "img_size of as-vit is a multiple of 32, not 65"),
        ({"constraints": ["macs<2<3"]}, ConfigError, "a constraint is NAME<=NUMBER"),
        ({"constraints": ["macs<=1000"]}, ConfigError, "meets macs<=1000: macs is from"),
        ({"constraints": ["macs>=1e99"]}, ConfigError, "meets macs>=1e"),
        ({"objectives": ["macs:up"]}, ConfigError, "an objective is NAME, NAME:max or NAME:min"),
        ({"objectives": []}, ConfigError, "searcher 'reinforce' needs an objective"),
        ({"objectives": ["macs", "macs"]}, ConfigError, "named twice"),
        (
            {"settings": {"length_distortion": {"point": 5}}},
            UnknownNameError,
            "no setting 'point'. Known settings: points",
        ),
        ({"settings": {"length_distortion": {"points": "x"}}}, ConfigError, "points is of type int, not 'x'"),
        ({"settings": {"length_distortion": {"repeats": 0}}}, ConfigError, "repeats is at least 1"),
        ({"settings": {"length_distortion": {"dtype": "float16"}}}, ConfigError, "dtype is one of float32, float64"),
        (
            {"settings": {"ntk_condition": {"repeats": 1}}},
            ConfigError,
            "'ntk_condition', which is not among the proxies",
        ),
        ({"settings": {"searcher": {"rate": 1}}}, UnknownNameError, "searcher 'reinforce' has no setting 'rate'"),
        ({"settings": {"searcher": {"learning_rate": -1.0}}}, ConfigError, "learning_rate"),
        ({"data": "parquet:missing.parquet", "proxies": ["ntk_condition"]}, raynas.RaynasError, "missing.parquet"),
        ({"workers": 0, "gpus_per_worker": 0.5}, ConfigError, "workers=0"),
        ({"architectures": ["8,2,3"]}, raynas.RaynasError, "8,2,3"),
    ],
)
def test_bad_input_is_refused_before_anything_is_written(
    tmp_path: Path, settings: dict[str, Any], error: type[Exception], message: str
) -> None:
    chosen: dict[str, Any] = {"space": "as-vit", "budget": 3, "workers": 0, **settings}
    with pytest.raises(error, match=message):
        raynas.search(chosen.pop("space"), out=tmp_path / "run", **chosen)
    assert list(tmp_path.iterdir()) == []


def test_a_configuration_comes_back_from_yaml_as_it_was() -> None:
    config = RunConfig.make({"space": "as-vit", "constraints": ["macs<=2e7"], "settings": {"searcher": {"history": 5}}})
    dumped = yaml.safe_dump(json.loads(config.model_dump_json()))
    assert RunConfig.make(yaml.safe_load(dumped)) == config


def test_input_enters_the_key_of_those_scores_that_see_it() -> None:
    plans = [
        make_plan(RunConfig.make({"space": "as-vit", "proxies": ["ntk_condition"], "data": data, "img_size": 32}))
        for data in ("digits", "random")
    ]
    first, second = ({score.name: score.identity.input_hash for score in plan.scores} for plan in plans)
    assert first["ntk_condition"] != second["ntk_condition"] != ""
    assert first["length_distortion"] == second["length_distortion"] == ""


# -- signals -----------------------------------------------------------------------------------------------------

DRIVER = """
import sys
from pathlib import Path
sys.path.insert(0, {tests!r})
from toy_scores import SLOPE, TOY, toy_space
import raynas
from raynas.run import Interrupted
try:
    raynas.search(toy_space(), proxies=[TOY, SLOPE], objectives=["toy"], out={out!r}, resume=True,
                  searcher="regularized_evolution", budget=150, window=16, workers={workers},
                  settings={{"toy": {{"pause_s": 0.02, "log": {log!r}}}}})
except Interrupted as error:
    sys.exit(128 + error.signum)
"""


def start_driver(folder: Path, log: Path, workers: int) -> subprocess.Popen[bytes]:
    script = DRIVER.format(tests=str(Path(__file__).parent), out=str(folder), log=str(log), workers=workers)
    return subprocess.Popen([sys.executable, "-c", script], start_new_session=True)


def wait_for_lines(log: Path, n: int, driver: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + 90
    while time.monotonic() < deadline and driver.poll() is None:
        if log.exists() and log.read_text().count("\n") >= n:
            return
        time.sleep(0.02)
    raise AssertionError(f"the driver ended with {driver.poll()} or did not score {n} in time")


@pytest.mark.parametrize("workers", [0, 2])
def test_a_driver_killed_at_several_moments_ends_with_the_same_table(tmp_path: Path, workers: int) -> None:
    folder, log = tmp_path / "run", tmp_path / "log"
    for moment in (3, 40, 90) if workers == 0 else (20, 80):
        driver = start_driver(folder, log, workers)
        wait_for_lines(log, moment, driver)
        os.kill(driver.pid, signal.SIGKILL)
        assert driver.wait() == -signal.SIGKILL
    driver = start_driver(folder, log, workers)
    assert driver.wait(timeout=120) == 0
    run = raynas.load_run(folder)
    whole = search(tmp_path / "whole", budget=150, window=16, settings={"toy": {"pause_s": 0.02, "log": str(log)}})
    assert content(run) == content(whole)
    assert run.summary["evaluations"] == 150
    assert run.summary["status"] == "completed"


@pytest.mark.parametrize(("signum", "workers"), [(signal.SIGINT, 0), (signal.SIGTERM, 0), (signal.SIGTERM, 2)])
def test_a_signal_stores_what_is_done_and_ends_the_run(tmp_path: Path, signum: signal.Signals, workers: int) -> None:
    folder, log = tmp_path / "run", tmp_path / "log"
    driver = start_driver(folder, log, workers)
    wait_for_lines(log, 30, driver)
    os.kill(driver.pid, signum)
    assert driver.wait(timeout=30) == 128 + signum
    run = raynas.load_run(folder)
    assert run.summary["status"] == "interrupted"
    lines = [line.split() for line in log.read_text().split("\n")[:-1]]
    stored = set(run.table["architecture_key"].to_pylist())
    if workers == 0:
        assert stored >= {key for key, _ in lines}
    else:
        assert len(stored) >= 10
    for pid in {int(pid) for _, pid in lines}:
        assert not psutil.pid_exists(pid) or psutil.Process(pid).status() == psutil.STATUS_ZOMBIE


def test_repeats_average_over_draws_and_a_bad_one_spoils_the_mean(tmp_path: Path) -> None:
    def by_repeat(probe: Any) -> float:
        bad = probe.architecture["a"] == 1 and probe.repeat == 2
        return float("inf") if bad else float(10**probe.repeat)

    run = raynas.score(
        toy_space(), [{"a": a, "b": 1, "harm": "none"} for a in (0, 1)],
        proxies=[Proxy("by_repeat", by_repeat, repeats=3)], workers=0, out=tmp_path / "run",
    )  # fmt: skip
    rows = {
        json.loads(row["architecture"])["a"]: row for row in run.evaluations.to_pylist() if row["proxy"] == "by_repeat"
    }
    assert rows[0]["value"] == pytest.approx(37.0, rel=1e-12)
    assert (rows[1]["status"], rows[1]["value"]) == ("non_finite", None)


def test_proxies_may_use_the_process_wide_generators(tmp_path: Path) -> None:
    def noisy(probe: Any) -> float:
        return float(torch.rand(1)) + np.random.random() + random.random()  # noqa: NPY002

    architectures = [{"a": a, "b": 1, "harm": "none"} for a in range(4)]
    found = []
    for order in (architectures, architectures[::-1]):
        run = raynas.score(
            toy_space(), order, proxies=[Proxy("noisy", noisy)], workers=0, out=tmp_path / str(len(found))
        )
        found.append({row["architecture"]: row["noisy"] for row in run.table.to_pylist()})
    assert found[0] == found[1]


def test_scoring_in_this_process_leaves_its_generators_as_they_were(tmp_path: Path) -> None:
    def draws() -> tuple[float, float, float]:
        return float(torch.rand(1)), np.random.random(), random.random()  # noqa: NPY002

    torch.manual_seed(1), np.random.seed(1), random.seed(1)  # noqa: NPY002
    expected = draws()
    torch.manual_seed(1), np.random.seed(1), random.seed(1)  # noqa: NPY002
    search(tmp_path / "run", budget=5)
    assert draws() == expected


@pytest.mark.parametrize("result", [None, "high", [1.0], {"odd": None}])
def test_a_proxy_that_returns_no_number_fails(tmp_path: Path, result: Any) -> None:
    run = raynas.score(
        toy_space(), [{"a": 1, "b": 1, "harm": "none"}], proxies=[Proxy("odd", lambda probe: result)], workers=0,
        out=tmp_path / "run",
    )  # fmt: skip
    (row,) = [row for row in run.evaluations.to_pylist() if row["proxy"] == "odd"]
    assert (row["status"], row["value"]) == ("failed", None)


def test_what_is_no_exception_is_a_failure_too(tmp_path: Path) -> None:
    class Panic(BaseException):
        pass

    def panics(probe: Any) -> float:
        raise Panic("from an extension")

    run = raynas.score(
        toy_space(), [{"a": 1, "b": 1, "harm": "none"}], proxies=[Proxy("panics", panics)], workers=0,
        out=tmp_path / "run",
    )  # fmt: skip
    assert "from an extension" in next(row["error"] for row in run.evaluations.to_pylist() if row["error"])


def test_how_a_space_builds_for_scoring_is_part_of_the_key(tmp_path: Path) -> None:
    scaled = dataclasses.replace(toy_space(), scoring={"scale": 5})
    search(tmp_path / "run", proxies=[TOY], budget=5)
    with pytest.raises(StoreError, match=r"scores\.toy\.init was 'model' and is now 'model, scale=5'"):
        search(tmp_path / "run", proxies=[TOY], budget=5, resume=True, space=scaled)


def test_a_proxy_is_not_named_like_a_cost(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="has the name of a cost: macs"):
        search(tmp_path / "run", proxies=[TOY, Proxy("macs", toy)])


def test_a_proxy_may_return_several_values(tmp_path: Path) -> None:
    both = Proxy("both", lambda probe: {"up": toy(probe), "down": -toy(probe)}, outputs=("up", "down"))
    run = raynas.search(
        toy_space(), proxies=[both], objectives=["down:max"], searcher="random", budget=10, workers=0,
        out=tmp_path / "run",
    )  # fmt: skip
    assert all(row["up"] == -row["down"] for row in run.table.to_pylist())
    assert set(run.best[0]["scores"]) == {"up", "down"}
