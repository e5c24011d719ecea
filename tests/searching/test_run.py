"""The loop: when it asks and tells, what it stores, what becomes of scores, constraints and failures."""

from __future__ import annotations

import dataclasses
import json
import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from toy_runs import Recorder, content, search
from toy_scores import SLOPE, TOY, toy, toy_space, value

import raynas
import raynas.searching.run
from raynas import Architecture, Choice
from raynas.console.runs import show_summary
from raynas.errors import ConfigError, NotApplicableError, StoreError
from raynas.proxies.probe import Proxy
from raynas.scoring.pool import Job, Result
from raynas.searching.plan import Plan
from raynas.searching.run import SearchListener
from raynas.space.results import Candidate, Constraint, Evaluation
from raynas.storage.points import Points


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
    from raynas.scoring.pool import SerialPool

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

    class Checks(SearchListener):
        def on_tell(self, evaluation: Evaluation, told: int, ranking: Any) -> None:
            keys = set(raynas.load_run(folder).evaluations["architecture_key"].to_pylist())
            assert evaluation.architecture.key in keys

    search(folder, budget=20, listener=Checks())


def test_scores_are_those_of_the_proxies(tmp_path: Path) -> None:
    recorder = Recorder()
    search(tmp_path / "run", listener=recorder, score_seed=5)
    assert len(recorder.told) == 60
    for evaluation in recorder.told:
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


def test_nothing_is_transferred_in_one_process_which_scores_or_waits_for_the_search(tmp_path: Path) -> None:
    run = search(tmp_path / "run", searcher="random", settings={"toy": {"pause_s": 0.01}})
    spent = run.summary["worker_seconds"]
    assert {part for part, seconds in spent.items() if seconds} == {"scoring", "waiting"}
    assert sum(row["seconds"] for row in run.evaluations.to_pylist()) <= spent["scoring"] <= sum(spent.values())
    driver = run.summary["driver_seconds"]
    assert spent["scoring"] == pytest.approx(driver["wait"], rel=0.2)
    assert sum(spent.values()) >= sum(driver.values())


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
    recorder = Recorder()
    run = search(tmp_path / "run", searcher=searcher, constraints=["slope<=0"], listener=recorder)
    infeasible = [e for e in recorder.told if not e.is_feasible]
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


def misfit(probe: Any) -> float:
    if probe.architecture["b"] % 2:
        raise NotApplicableError("needs a class token")
    return 1.0


@pytest.mark.parametrize("constraints", [[], ["misfit>=0"]])
@pytest.mark.parametrize("others", [[], [TOY]])
def test_where_architectures_are_only_scored_a_score_that_does_not_apply_is_no_failure(
    tmp_path: Path, others: list[Proxy], constraints: list[str]
) -> None:
    """Unless it is bounded: then nobody knows whether the bound holds."""
    chosen = [{"a": a, "b": b, "harm": harm} for a, b, harm in [(1, 0, "none"), (2, 1, "none"), (3, 3, "raise")]]
    run = raynas.score(
        toy_space(a=Choice(*range(9)), b=Choice(*range(9)), harm=Choice("none", "raise")), chosen,
        proxies=[Proxy("misfit", misfit), *others], constraints=constraints, workers=0, out=tmp_path / "run",
    )  # fmt: skip
    failed = {2, 3} if constraints else {3} if others else set()
    assert run.summary["failed"] == len(failed)
    points = Points.of(run.evaluations, run.description["identity"]["scores"])
    states = points.states([], [Constraint.parse(text) for text in constraints])
    assert {json.loads(text)["a"] for text, state in zip(points.texts, states, strict=True) if state == 2} == failed


@pytest.mark.parametrize("bound", [0, 1, 1e9])
def test_the_summary_counts_what_is_infeasible_and_the_terminal_says_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], bound: float
) -> None:
    recorder = Recorder()
    space = toy_space(harm=Choice("none", "nan"), a=Choice(*range(12)), b=Choice(*range(10)))
    run = search(tmp_path / "run", space=space, constraints=[f"toy<={bound}"], listener=recorder)
    broken = sum(one.status == "ok" and one.scores["toy"] > bound for one in recorder.told)
    assert len(recorder.told) == 60
    assert run.summary["infeasible"] == broken
    assert run.summary["failed"] == sum(one.status != "ok" for one in recorder.told)
    show_summary(run.summary)
    said = capsys.readouterr().out
    assert f"{run.summary['failed']} failed" in said
    assert (f", {broken} infeasible" in said) == (broken > 0)


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


@pytest.mark.parametrize("seed", range(6))
def test_the_recommendation_meets_the_constraints_on_costs(tmp_path: Path, seed: int) -> None:
    run = search(tmp_path / "run", searcher="reinforce", constraints=["num_params<=501"], seed=seed, budget=30)
    chosen = run.summary["recommended"]
    assert chosen["num_params"] <= 501
    assert chosen["is_feasible"]
    assert chosen["scores"]["toy"] == value(chosen["architecture"])
