"""Runs whose scores are measured by the clock: what is stored is what was measured, and measurements are alone."""

from __future__ import annotations

import os
import platform
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from toy_scores import toy_space

import raynas
from raynas import Choice
from raynas.cluster.joining import connect
from raynas.proxies.probe import Probe, Proxy
from raynas.scoring.device_types import device_type
from raynas.searching.run import SearchListener
from raynas.storage.runs import Run

RUNS = {"latency": {"runs": 5, "warmup": 1}}


@pytest.fixture(scope="module", autouse=True)
def local_ray(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    disconnect = connect(None, min_cpus=2)
    yield
    disconnect()


def searched(out: Path, **settings: Any) -> Run:
    chosen: dict[str, Any] = {
        "objectives": ["latency_ms", "num_params:max"],
        "constraints": ["latency_ms<=10e3", "num_params<=8e6"],
        "settings": RUNS,
        "img_size": 32,
        "workers": 2,
        "window": 4,
        **settings,
    }
    return raynas.search("vit", out=out, listener=SearchListener(), **chosen)


def latencies(run: Run) -> dict[str, tuple[float, float]]:
    rows = run.table.to_pylist()
    return {row["architecture_key"]: (row["latency_ms"], row["latency_spread"]) for row in rows}


@pytest.mark.parametrize("workers", [0, pytest.param(2, marks=pytest.mark.long)])
def test_measured_values_are_objectives_and_bounds_and_are_kept_when_resumed_and_reused(
    workers: int, tmp_path: Path
) -> None:
    first = searched(tmp_path / "first", budget=8, workers=workers)
    before = latencies(first)
    assert len(before) == 8
    assert first.description["config"]["searcher"] == "nsga2"
    assert all(0 < ms <= 10e3 and spread >= 0 for ms, spread in before.values())
    (stored,) = {row["device_type"] for row in first.evaluations.to_pylist() if row["proxy"].startswith("latency")}
    assert stored == first.description["platform"]["device_type"]
    assert stored == device_type("cpu") + f" of {processor()}"

    resumed = latencies(searched(tmp_path / "first", budget=12, resume=True, workers=workers))
    assert {key: resumed[key] for key in before} == before
    assert len(resumed) == 12

    taken = searched(tmp_path / "taken", budget=12, reuse=[tmp_path / "first"], workers=0)
    assert latencies(taken) == resumed
    assert taken.summary["reused"] == 12
    elsewhere = searched(tmp_path / "threads", budget=2, reuse=[tmp_path / "first"], workers=0, threads=2)
    assert elsewhere.summary["reused"] == 0
    other_passes = searched(
        tmp_path / "other", budget=2, reuse=[tmp_path / "first"], workers=0, settings={"latency": {"runs": 4}}
    )
    assert other_passes.summary["reused"] == 0


def processor() -> str:
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    return next((line.split(":")[1].strip() for line in lines if line.startswith("model name")), platform.machine())


def test_latencies_of_another_processor_are_not_taken_and_scores_beside_them_are(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings: dict[str, Any] = {
        "searcher": "random", "objectives": ["latency_ms"], "proxies": ["synflow"], "constraints": [], "workers": 0,
    }  # fmt: skip
    here = searched(tmp_path / "here", budget=3, **settings)
    alone = searched(tmp_path / "alone", budget=3, **{**settings, "objectives": ["synflow"], "settings": {}})
    monkeypatch.setattr("raynas.scoring.device_types.processor", lambda: "another one")
    there = searched(tmp_path / "there", budget=3, reuse=[tmp_path / "here"], **settings)
    names = ["architecture", "synflow", "num_params"]
    assert there.table.select(names) == here.table.select(names)
    assert latencies(there).keys() == latencies(here).keys() and latencies(there) != latencies(here)
    own = device_type("cpu")
    found = [{(row["proxy"], row["device_type"]) for row in run.evaluations.to_pylist()} for run in (there, alone)]
    costs = {("num_params", ""), ("macs", "")}
    measured = {(name, f"{own} of another one") for name in ("latency_ms", "latency_spread", "latency_ratio")}
    assert found == [{*measured, ("synflow", own), *costs}, {("synflow", own), *costs}]
    assert there.summary["reused"] == 3  # their other score


def test_what_is_too_slow_is_infeasible(tmp_path: Path) -> None:
    run = searched(tmp_path / "run", budget=4, constraints=["latency_ms<=1e-6"], workers=0)
    assert run.summary["infeasible"] == 4
    assert run.summary["failed"] == 0


def noted(probe: Probe, log: str = "", pause_s: float = 0.0, processes: int = 1) -> float:
    """Take some time, and write down from when to when, and where; not before so many processes have come so far."""
    path, started = Path(log), time.monotonic()
    with path.with_suffix(".processes").open("a") as file:
        file.write(f"{os.getpid()}\n")
    while len(set(path.with_suffix(".processes").read_text().split())) < processes:
        assert time.monotonic() < started + 120, "the other processes have not come"
        time.sleep(0.01)
    time.sleep(pause_s)
    with path.open("a") as file:
        file.write(f"{started} {time.monotonic()}\n")
    return 1.0


def spans(path: Path) -> list[tuple[float, float]]:
    return [tuple(map(float, line.split())) for line in path.read_text().splitlines()]  # type: ignore[misc]


@pytest.mark.slow
def test_no_worker_computes_while_another_one_measures(tmp_path: Path) -> None:
    measuring, beside = tmp_path / "measuring.txt", tmp_path / "beside.txt"
    own = [
        # The one that only computes comes first. In it both workers wait for each other, so that both take part, and
        # must be let compute at once.
        Proxy("busy", noted, settings={"log": str(beside), "pause_s": 0.05, "processes": 2}),
        Proxy("timed", noted, settings={"log": str(measuring), "pause_s": 0.03}, is_measured=True),
    ]
    space = toy_space(a=Choice(*range(40)), b=Choice(*range(30)), harm=Choice("none"))
    run = raynas.score(
        space, 24, proxies=own, workers=2, out=tmp_path / "run", listener=SearchListener(),
    )  # fmt: skip
    assert run.summary["failed"] == 0
    alone, others = spans(measuring), spans(beside)
    assert len(alone) == len(others) == 24
    for number, (start, end) in enumerate(alone):
        for other_start, other_end in [*others, *alone[number + 1 :]]:
            assert not (start < other_end and other_start < end)


@pytest.mark.long
def test_waiting_for_others_is_no_time_of_a_candidate(tmp_path: Path) -> None:
    own = [
        Proxy("timed", noted, settings={"log": str(tmp_path / "log.txt"), "pause_s": 0.0}, is_measured=True),
        Proxy("busy", noted, settings={"log": str(tmp_path / "other.txt"), "pause_s": 0.4}),
    ]
    run = raynas.score(toy_space(), 8, proxies=own, workers=2, out=tmp_path / "run", listener=SearchListener())
    seconds = [row["seconds"] for row in run.evaluations.to_pylist() if row["proxy"] == "timed"]
    assert max(seconds) < 0.2


def test_runs_that_measure_nothing_lock_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "temporary"))
    (tmp_path / "temporary").mkdir()
    for name, given in (("plain", ["naswot"]), ("measured", ["latency"])):
        raynas.score(
            "vit", 1, proxies=given, settings=RUNS if name == "measured" else {}, img_size=32, workers=0,
            out=tmp_path / name, listener=SearchListener(),
        )  # fmt: skip
        locks = list((tmp_path / "temporary").glob("raynas-*.lock"))
        assert bool(locks) == (name == "measured")
