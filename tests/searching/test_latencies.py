"""Predicted latency in searches: names, bounds, keys; and the run that measures what is predicted from."""

from __future__ import annotations

import json
import os
import shlex
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import raynas
from raynas.cli import main
from raynas.errors import ConfigError, RaynasError, StoreError
from raynas.report.listing import runs_below
from raynas.report.page import page, report_data
from raynas.searching.config import RunConfig
from raynas.searching.plan import make_plan
from raynas.searching.run import SearchListener
from raynas.storage.latencies import PREDICTED, latency_predictor

QUICK = {"runs": 2, "warmup": 0, "seconds": 0.01, "img_size": 32, "measurements": 12}
SEARCH: dict[str, Any] = {"img_size": 32, "workers": 0, "listener": SearchListener()}


@pytest.fixture(scope="module")
def learned(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("latency") / "learned"
    raynas.learn_latency("vit", out=folder, listener=SearchListener(), **QUICK)
    return folder


def plan(**fields: Any) -> Any:
    return make_plan(RunConfig.make({"space": "vit", "img_size": 32, "workers": 0, **fields}))


def test_what_is_asked_for_reaches_the_score(learned: Path) -> None:
    rows = raynas.load_run(learned).evaluations.to_pylist()
    (settings,) = {row["settings"] for row in rows if row["proxy"].startswith("latency")}
    asked = {name: QUICK[name] for name in ("runs", "warmup", "seconds")}
    assert json.loads(settings) == {**asked, "batch_size": 1, "precision": "float32"}


def test_a_measured_latency_is_called_latency_without_a_folder() -> None:
    made = plan(objectives=("latency:min",), constraints=("latency<=100",))
    assert [str(one) for one in made.objectives] == ["latency_ms:min"]
    assert [str(one) for one in made.constraints] == ["latency_ms<=100"]


def test_a_predicted_latency_is_called_latency_with_one(learned: Path) -> None:
    for name in ("latency", "predicted_latency", PREDICTED):
        made = plan(objectives=(f"{name}:min",), constraints=(f"{name}<=1000",), latency=str(learned))
        assert [str(one) for one in made.objectives] == [f"{PREDICTED}:min"]
        assert [str(one) for one in made.constraints] == [f"{PREDICTED}<=1000"]
        assert made.proxies == ()  # nothing is measured


def test_a_predicted_one_without_a_folder_is_refused() -> None:
    with pytest.raises(ConfigError, match="predicted_latency_ms needs measurements to predict from: --latency takes"):
        plan(objectives=("predicted_latency:min",))


def test_bounds_on_it_are_met_by_everything_that_is_scored(learned: Path, tmp_path: Path) -> None:
    predictor = latency_predictor(learned)
    rng = np.random.default_rng(0)
    middle = float(np.median([predictor(predictor.space.sample(rng), 32, 10) for _ in range(50)]))
    run = raynas.search(
        "vit",
        out=tmp_path / "run",
        objectives=["num_params:max"],
        constraints=[f"latency<={middle}"],
        latency=str(learned),
        searcher="random",
        budget=20,
        **SEARCH,
    )
    rows = run.table.to_pylist()
    assert len(rows) == 20 and all(row[PREDICTED] <= middle for row in rows)
    assert run.summary["infeasible"] == 0
    for row in rows:  # what is stored is what the predictor says
        (one,) = raynas.predict_latency(learned, [json.loads(row["architecture"])])
        assert row[PREDICTED] == one.latency_ms and one.low_ms < one.latency_ms < one.high_ms


class Noting(SearchListener):
    """Keeps the lines that a person would see."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def on_log(self, line: str) -> None:
        self.lines.append(line)


def test_a_search_says_what_it_predicts_from_and_how_well(learned: Path, tmp_path: Path) -> None:
    noting = Noting()
    told: dict[str, Any] = {**SEARCH, "listener": noting, "objectives": ["latency:min"], "searcher": "random"}
    run = raynas.search("vit", latency=str(learned), budget=2, out=tmp_path / "run", **told)
    (line,) = [line for line in noting.lines if line.startswith(f"{PREDICTED} is predicted from 12 measurements on ")]
    assert (
        "Spearman's rho" in line and "median error" in line and "90 % intervals reach" in line and "batch_size" in line
    )
    stored = run.description["predicted"][PREDICTED]
    assert stored["measurements"] == 12 and stored["quality"] == latency_predictor(learned).quality()._asdict()
    data = report_data(run)
    (scores,) = [group["rows"] for group in data["groups"] if group["title"] == "Scores"]
    assert "a cost, predicted from 12 measurements" in dict(scores)[PREDICTED]
    assert f"{PREDICTED} is predicted, with 90 % intervals" in data["subline"]


def test_lists_call_it_by_its_command(learned: Path) -> None:
    (row,) = [row for row in runs_below(learned.parent) if row["folder"] == str(learned)]
    assert (row["kind"], row["found"]) == ("latency", "12 architectures measured")


def test_its_page_shows_how_well_it_predicts_and_what_to_do_with_it(learned: Path, tmp_path: Path) -> None:
    run = raynas.load_run(learned)
    data = report_data(run)
    assert data["headline"].startswith("vit: latency learned from 12 measurements in ")
    assert data["layout"] == "latency" and "How well it predicts" in page(data)
    shown, rows = data["prediction"], run.table.to_pylist()
    ratios = np.array([row["latency_ratio"] for row in rows])
    typical = np.median([row["latency_ms"] / row["latency_ratio"] for row in rows])  # passes of the reference
    assert sorted(shown["measured"]) == pytest.approx(sorted(ratios * typical))
    assert all(a < b < c for a, b, c in zip(shown["low"], shown["predicted"], shown["high"], strict=True))
    held = np.mean([a <= ms <= b for a, ms, b in zip(shown["low"], shown["measured"], shown["high"], strict=True)])
    assert dict(data["facts"])["in 90 % intervals"] == f"{100 * held:.1f} %"
    steps = [shlex.split(step["command"]) for step in data["next"]["steps"]]
    assert [words[:2] for words in steps] == [["raynas", "latency"], ["raynas", "search"]]
    ran = [*steps[1][1:-1], str(tmp_path / "run"), "--budget", "2", "--workers", "0", "--searcher", "random"]
    for words in (steps[0][1:], ran):
        with pytest.raises(SystemExit) as ended:
            main(words)
        assert ended.value.code == 0
    assert shlex.split(data["next"]["command"])[1:3] == ["latency", "vit"]


def test_a_page_of_too_few_measurements_says_that_nothing_is_predicted(tmp_path: Path) -> None:
    told = {"latency": {"runs": 2, "warmup": 0}, "searcher": {"img_size": 32, "num_classes": 10}}
    searched: dict[str, Any] = {**SEARCH, "searcher": "uncertainty", "settings": told, "window": 1, "budget": 2}
    run = raynas.search("vit", objectives=["latency_ms:min"], out=tmp_path / "run", **searched)
    assert "has measured 2 architectures" in report_data(run)["prediction"]["reason"]


def test_a_resumed_search_goes_on_and_another_folder_is_another_run(learned: Path, tmp_path: Path) -> None:
    told: dict[str, Any] = {**SEARCH, "objectives": ["latency:min"], "out": tmp_path / "run", "searcher": "random"}
    first = raynas.search("vit", latency=str(learned), budget=4, **told)
    longer = raynas.search("vit", latency=str(learned), budget=8, resume=True, **told)
    assert longer.table.to_pylist()[:4] == first.table.to_pylist()
    other = tmp_path / "other"
    raynas.learn_latency("vit", out=other, listener=SearchListener(), **QUICK)
    with pytest.raises(StoreError, match=PREDICTED):
        raynas.search("vit", latency=str(other), budget=8, resume=True, **told)


def test_an_architecture_that_the_space_does_not_have_is_not_predicted(learned: Path) -> None:
    (published,) = raynas.predict_latency(learned, ["deit-tiny"])
    assert published.latency_ms > 0
    for text, said in (
        ("p17-w192-d12-h3-m4", r"patch\S* is 17, not one of \[.*16"),
        ("p16-w200-d12-h4-m4", r"is 200, not one of \[.*192"),
    ):
        with pytest.raises(RaynasError, match=said):
            raynas.predict_latency(learned, [text])


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"img_size": 64}, "was measured with img_size 32, and this run has 64"),
        ({"num_classes": 7}, "was measured with num_classes 10, and this run has 7"),
        ({"space": "as-vit"}, "was measured with space vit, and this run has as-vit"),
        ({"constraints": ("latency<=1e-9",)}, "no architecture of .* meets predicted_latency_ms<=1e-09"),
    ],
)
def test_predictors_of_other_networks_and_bounds_that_nothing_meets_are_refused(
    fields: dict[str, Any], said: str, learned: Path
) -> None:
    with pytest.raises(RaynasError, match=said):
        plan(**{"objectives": ("latency:min",), "latency": str(learned), **fields})


def test_runs_without_latencies_or_with_too_few_are_refused(tmp_path: Path) -> None:
    raynas.score("vit", 3, proxies=["num_params"], out=tmp_path / "a", **SEARCH)
    with pytest.raises(StoreError, match="has no latencies to predict from"):
        latency_predictor(tmp_path / "a")
    told = {"latency": {"runs": 2, "warmup": 0}}
    raynas.score("vit", 3, proxies=["latency"], settings=told, out=tmp_path / "b", **SEARCH)
    with pytest.raises(StoreError, match="has measured 3 architectures; a predictor takes 10 at least"):
        latency_predictor(tmp_path / "b")


def test_a_run_of_another_kind_is_refused_with_what_is_meant(tmp_path: Path) -> None:
    (tmp_path / "run.yaml").write_text("kind: training\nconfig: {}\nidentity: {}\n")
    for refused in (lambda: latency_predictor(tmp_path), lambda: plan(latency=str(tmp_path))):
        with pytest.raises(StoreError, match=r"of the kind training; .* the folder of `raynas latency SPACE`"):
            refused()


def test_any_scores_of_latencies_can_be_predicted_from(tmp_path: Path) -> None:
    told = {"latency": {"runs": 2, "warmup": 0}}
    raynas.score("vit", 12, proxies=["latency"], settings=told, out=tmp_path / "a", **SEARCH)
    predictor = latency_predictor(tmp_path / "a")
    assert len(predictor.latencies_ms) == 12
    assert all(one.low_ms <= one.high_ms for one in predictor.left_out())


@pytest.mark.slow
def test_killed_and_resumed_it_measures_what_it_would_have_and_keeps_what_it_has(tmp_path: Path) -> None:
    """Choices depend on what is measured, so that a run that is resumed is told again what it had stored."""
    folder = tmp_path / "run"
    command = [sys.executable, "-m", "raynas.cli", "latency", "vit", "--img-size", "32", "--runs", "2", "--warmup", "0"]
    command += ["--seconds", "0", "--measurements", "40", "--out", str(folder)]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    end = time.monotonic() + 600
    while len(list((folder / "evaluations").glob("*.parquet"))) < 14 and time.monotonic() < end:
        assert process.poll() is None
        time.sleep(0.05)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    before = raynas.load_run(folder).table.to_pylist()
    assert 10 < len(before) < 40
    run = raynas.learn_latency(out=folder, resume=True, measurements=len(before) + 3, listener=SearchListener())
    after = run.table.to_pylist()
    assert after[: len(before)] == before and len(after) == len(before) + 3
