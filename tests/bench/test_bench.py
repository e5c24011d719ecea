"""Benchmarks of proxies as runs: what they leave behind, and that it does not depend on how they came about."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from scipy import stats
from toy_bench import MISFIT, architectures, bench, bench_space, labels, write_table
from toy_scores import SLOPE, TOY, value

import raynas
from raynas.bench.config import BenchConfig
from raynas.bench.predictors import Kind, Predictor, idle_baselines, pending_baselines
from raynas.bench.run import make_bench_plan
from raynas.console.bench import show_bench
from raynas.errors import ConfigError, DataError, RaynasError, StoreError, UnknownNameError
from raynas.interruption import Interrupted
from raynas.proxies.probe import Proxy
from raynas.searching.run import SearchListener

CHOSEN = architectures(40, harm=("none", "none", "none", "raise", "none", "nan"))
LABELS = labels(CHOSEN)
ASKED: dict[str, Any] = {
    "proxies": [TOY, SLOPE, MISFIT],
    "combine": ["toy+slope", "toy+num_params:rank_sum"],
    "within": ["embed_dim"],
}


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_table(tmp_path_factory.mktemp("truth") / "trained.csv", CHOSEN, LABELS)


@pytest.fixture(scope="module")
def whole(table: Path, tmp_path_factory: pytest.TempPathFactory) -> raynas.Bench:
    return bench(table, tmp_path_factory.mktemp("runs") / "whole", **ASKED)


def timeless(found: pa.Table) -> list[dict[str, Any]]:
    return found.drop_columns(["seconds"]).to_pylist()


def row_of(found: raynas.Bench, proxy: str, label: str) -> dict[str, Any]:
    rows = found.correlations.to_pylist()
    return next(row for row in rows if (row["proxy"], row["label"], row["within"]) == (proxy, label, None))


def test_scores_labels_and_statuses_stand_in_one_table(whole: raynas.Bench) -> None:
    rows = pq.read_table(whole.folder / "scores.parquet").to_pylist()
    assert len(rows) == 40
    for architecture, row, top1 in zip(CHOSEN, rows, LABELS["top1"], strict=True):
        assert row["architecture_key"] == architecture.key
        assert row["field.num_heads"] == list(architecture["num_heads"])  # type: ignore[arg-type]
        assert row["label.top1"] == top1
        expected = {"none": "ok", "raise": "failed", "nan": "non_finite"}[str(architecture["harm"])]
        assert row["status.toy"] == expected
        assert row["score.toy"] == (value(architecture) if expected == "ok" else None)
        assert row["score.num_params"] == 100 * int(architecture["a"]) + 1
        assert row["score.depth"] == architecture["depth"]
        assert row["score.depth*width"] == architecture["depth"] * architecture["embed_dim"]  # type: ignore[operator]
        assert row["status.misfit"] == "not_applicable"


def test_correlations_are_of_stored_scores_in_their_directions(whole: raynas.Bench) -> None:
    ok = [i for i, a in enumerate(CHOSEN) if a["harm"] == "none"]
    toys = [value(CHOSEN[i]) for i in ok]
    slopes = [float(CHOSEN[i]["a"]) - float(CHOSEN[i]["b"]) for i in range(40)]  # type: ignore[arg-type]
    top1, loss = LABELS["top1"], LABELS["loss"]
    assert row_of(whole, "toy", "top1")["tau"] == pytest.approx(stats.kendalltau(toys, [top1[i] for i in ok]).statistic)
    assert row_of(whole, "toy", "loss")["tau"] == pytest.approx(
        -stats.kendalltau(toys, [loss[i] for i in ok]).statistic
    )
    # Lower is better: of the slope itself, and of the loss.
    assert row_of(whole, "slope", "top1")["tau"] == pytest.approx(-stats.kendalltau(slopes, top1).statistic)
    assert row_of(whole, "slope", "loss")["tau"] == pytest.approx(stats.kendalltau(slopes, loss).statistic)
    # More parameters count as better, though a search would minimise them.
    sizes = [int(a["a"]) for a in CHOSEN]
    assert row_of(whole, "num_params", "top1")["tau"] == pytest.approx(stats.kendalltau(sizes, top1).statistic)
    assert row_of(whole, "toy", "top1")["statuses"] == "27 ok, 7 failed, 6 non_finite"
    assert row_of(whole, "misfit", "top1")["statuses"] == "40 not_applicable"


def test_combinations_rank_all_architectures(whole: raynas.Bench) -> None:
    toys = np.array([value(a) if a["harm"] == "none" else -np.inf for a in CHOSEN])
    slopes = np.array([float(a["b"]) - float(a["a"]) for a in CHOSEN])  # type: ignore[arg-type]
    expected = sum(np.log(stats.rankdata(column) / 40) for column in (toys, slopes))
    assert np.allclose(whole.scores["score.toy+slope"].to_numpy(), expected)
    assert row_of(whole, "toy+slope", "top1")["n"] == 40
    assert row_of(whole, "toy+slope", "top1")["kind"] == "combination"
    added = stats.rankdata(toys) + stats.rankdata([int(a["a"]) for a in CHOSEN])
    assert np.allclose(whole.scores["score.toy+num_params:rank_sum"].to_numpy(), added)


def test_the_run_folder_stays_that_of_a_scoring_run(whole: raynas.Bench, tmp_path: Path) -> None:
    run = raynas.load_run(whole.folder)
    assert run.summary["evaluations"] == 40
    assert run.description["kind"] == "search"
    names = {"run.yaml", "summary.json", "bench.yaml", "truth.parquet", "correlations.parquet", "scores.parquet"}
    assert names <= {path.name for path in whole.folder.iterdir()}
    again = raynas.score(
        bench_space(), CHOSEN[:5], proxies=[TOY], out=tmp_path / "score", reuse=[whole.folder], workers=0,
        listener=SearchListener(),
    )  # fmt: skip
    assert again.summary["reused"] == sum(a["harm"] != "raise" for a in CHOSEN[:5])


@dataclass
class StopsAfter(SearchListener):
    """Sends a signal to the run after some evaluations."""

    count: int

    def on_tell(self, evaluation: Any, told: int, ranking: Any) -> None:
        if told == self.count:
            os.kill(os.getpid(), signal.SIGTERM)


def test_an_interrupted_benchmark_is_resumed_without_its_table_and_ends_as_a_whole_one(
    whole: raynas.Bench, table: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "run"
    with pytest.raises(Interrupted):
        bench(table, folder, listener=StopsAfter(10), **ASKED)
    part = raynas.load_bench(folder)
    assert row_of(part, "slope", "top1")["n"] == 10
    assert "30 not_scored" in row_of(part, "slope", "top1")["statuses"]
    part.write()
    with pytest.raises(Interrupted):
        bench(None, folder, listener=StopsAfter(25), resume=True, proxies=ASKED["proxies"])
    done = bench(None, folder, resume=True, proxies=ASKED["proxies"])
    assert timeless(done.correlations) == timeless(whole.correlations)
    assert done.scores == whole.scores
    assert pq.read_table(folder / "scores.parquet").equals(whole.scores)


def test_baselines_of_which_too_few_values_are_known_yet_are_not_said_to_be_of_no_use(
    whole: raynas.Bench, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("run.yaml", "bench.yaml", "truth.parquet"):
        (tmp_path / name).write_bytes((whole.folder / name).read_bytes())
    (tmp_path / "evaluations").mkdir()  # it was killed before the first of them was stored
    begun = raynas.load_bench(tmp_path)
    assert (pending_baselines(begun.predictors), idle_baselines(begun.predictors)) == (["num_params", "macs"], {})
    show_bench(begun)
    told = capsys.readouterr().out
    assert "too few architectures are scored so far to compare with num_params, macs" in told
    assert "do not apply" not in told
    assert (pending_baselines(whole.predictors), idle_baselines(whole.predictors)) == ([], {})


@pytest.mark.parametrize(
    ("values", "statuses", "is_pending", "why_idle"),
    [
        ([5.0, 5.0, np.nan], ["ok", "ok", "not_scored"], True, None),
        ([5.0, 6.0, np.nan], ["ok", "ok", "not_scored"], False, None),
        ([5.0, 5.0, 5.0], ["ok", "ok", "ok"], False, "the same for all architectures"),
        ([np.nan, np.nan, np.nan], ["failed", "failed", "failed"], False, "no value"),
    ],
)
def test_what_is_not_scored_yet_may_tell_architectures_apart(
    values: list[float], statuses: list[str], is_pending: bool, why_idle: str | None
) -> None:
    found = [Predictor("macs", Kind.BASELINE, True, np.array(values), tuple(statuses))]
    assert pending_baselines(found) == (["macs"] if is_pending else [])
    assert idle_baselines(found).get("macs") == why_idle


@pytest.mark.slow
def test_workers_do_not_change_anything(whole: raynas.Bench, table: Path, tmp_path: Path) -> None:
    shared = bench(table, tmp_path / "run", **{**ASKED, "workers": 2})
    assert shared.run.summary["workers"] == 2
    assert timeless(shared.correlations) == timeless(whole.correlations)
    assert shared.scores == whole.scores


def test_other_questions_are_answered_without_scoring(table: Path, tmp_path: Path) -> None:
    log = tmp_path / "log"
    settings = {"toy": {"log": str(log)}}
    first = bench(table, tmp_path / "run", proxies=[TOY], labels=["top1"], settings=settings)
    before = log.read_text()
    assert len(before.splitlines()) == 40
    second = bench(
        None, tmp_path / "run", resume=True, proxies=[TOY], settings=settings,
        labels=["loss:min"], combine=["toy+macs"], within=["depth"], resamples=20, top=3,
    )  # fmt: skip
    assert log.read_text() == before
    assert row_of(second, "toy+macs", "loss")["k"] == 3
    assert {row["label"] for row in second.correlations.to_pylist()} == {"loss"}
    assert "depth" in second.correlations["within"].to_pylist()
    assert row_of(first, "toy", "top1")["k"] == 10
    # What is stored is of the second question, and is not computed again to be read.
    loaded = raynas.load_bench(tmp_path / "run")
    loaded.__dict__["predictors"] = None
    assert timeless(loaded.correlations) == timeless(second.correlations)


def test_a_sample_of_the_rows_is_drawn_by_the_seed(table: Path, tmp_path: Path) -> None:
    drawn = [
        bench(table, tmp_path / f"{i}", rows=15, seed=seed).scores["row"].to_pylist()
        for i, seed in enumerate([3, 3, 4])
    ]
    assert len(drawn[0]) == 15
    assert drawn[0] == drawn[1] != drawn[2]
    with pytest.raises(StoreError, match="seed was 3 and is now 4"):
        bench(table, tmp_path / "0", rows=15, seed=4, resume=True)


def test_rows_without_a_label_are_left_out_of_it_alone(tmp_path: Path) -> None:
    gaps: dict[str, Any] = {**LABELS, "loss": ["" if i < 5 else x for i, x in enumerate(LABELS["loss"])]}
    found = bench(write_table(tmp_path / "t.csv", CHOSEN, gaps), tmp_path / "run")
    assert row_of(found, "slope", "top1")["n"] == 40
    assert row_of(found, "slope", "loss")["n"] == row_of(found, "slope", "loss")["n_label"] == 35


@dataclass(frozen=True)
class Taught(Proxy):
    """A proxy that needs what nobody gave."""

    needs_teacher: bool = True


def test_all_means_everything_that_has_what_it_needs(table: Path) -> None:
    taught = Taught("taught", TOY.function)
    config = BenchConfig.make({"space": "toy-bench", "truth": str(table), "labels": ["top1"], "proxies": ["all"]})
    plan = make_bench_plan(config, space=bench_space(), own_proxies=[TOY, taught])
    names = [proxy.name for proxy in plan.plan.proxies]
    assert "toy" in names
    assert {"length_distortion", "ntk_condition"} <= set(names)
    assert "taught" not in names
    assert plan.about["left_out"]["taught"] == "needs a teacher"
    assert [score.name for score in plan.plan.scores][-2:] == ["num_params", "macs"]
    assert plan.about["left_out"]["latency"] == "depends on the clock"
    both = make_bench_plan(config.resolved(proxies=("all", "latency")), space=bench_space())
    assert "latency" in [proxy.name for proxy in both.plan.proxies]
    assert "latency" not in both.about["left_out"]


def test_without_proxies_the_baselines_are_measured(table: Path, tmp_path: Path) -> None:
    found = bench(table, tmp_path / "run", proxies=["depth", "macs"])
    names = [one.name for one in found.predictors]
    assert names == ["num_params", "macs", "depth", "width", "depth*width"]
    assert {row["kind"] for row in found.correlations.to_pylist()} == {"baseline"}


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"labels": []}, ConfigError, "name a label of .*trained.csv: top1, loss"),
        ({"labels": ["top5"]}, UnknownNameError, "trained.csv has no label 'top5'.*: top1, loss"),
        ({"labels": ["top1:up"]}, ConfigError, "a label is NAME"),
        ({"within": ["width"]}, ConfigError, "toy-bench has no field 'width' to look within"),
        ({"within": ["num_heads"], "rows": 4}, ConfigError, "no value of 'num_heads' is that of 4 architectures"),
        ({"combine": ["toy+dss"]}, UnknownNameError, "combination 'toy.dss': 'dss' is not computed.*toy, slope, num_p"),
        ({"combine_by": "median"}, ConfigError, "combine_by: .*got 'median'"),
        ({"proxies": ["luck"]}, UnknownNameError, "unknown proxy 'luck'"),
        ({"rows": 3}, ConfigError, "rows: .*greater than or equal to 4, got 3"),
        ({"truth": None}, ConfigError, "needs a truth table: --truth FILE.csv"),
        ({"truth": "none.csv"}, DataError, "cannot read none.csv"),
        ({"lables": ["top1"]}, ConfigError, r"unknown key 'lables'\. Did you mean labels"),
    ],
)
def test_bad_input_is_refused_before_anything_is_written(
    table: Path, tmp_path: Path, change: dict[str, Any], error: type[RaynasError], message: str
) -> None:
    with pytest.raises(error, match=message):
        bench(change.pop("truth", table), tmp_path / "run", **change)
    assert list(tmp_path.iterdir()) == []


def test_a_folder_without_a_benchmark_is_named(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match=r"holds no benchmark of proxies: it has no bench\.yaml"):
        raynas.load_bench(tmp_path)


@pytest.mark.parametrize("heavy", ["torch", "ray"])
def test_reading_and_reporting_need_neither_torch_nor_ray(whole: raynas.Bench, heavy: str) -> None:
    script = (
        "import sys, raynas.report.page, raynas.bench.folder\n"
        f"raynas.report.page.write_report(__import__('pathlib').Path({str(whole.folder)!r}))\n"
        f"assert {heavy!r} not in sys.modules, 'imported'"
    )
    subprocess.run([sys.executable, "-c", script], check=True)
