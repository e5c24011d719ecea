"""Sweeps as Ray Tune trials: equal to searches alone, killed at any place, resumed."""

from __future__ import annotations

import io
import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import time
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import pytest
from random_moments import random_moments
from toy_runs import content, search
from toy_scores import SLOPE, TOY
from toy_sweeps import PLACE, SEARCHERS, small_space, sweep

import raynas
from raynas.cli import main
from raynas.errors import StoreError
from raynas.sweeps.folder import Sweep, load_sweep, sweep_data
from raynas.sweeps.run import SweepListener

DRIVER = Path(__file__).parents[1] / "toy_sweeps.py"
NAMES = [f"{searcher}-seed{seed}" for seed in (0, 1) for searcher in SEARCHERS]


def rows(run: raynas.Run) -> list[dict[str, Any]]:
    """What a search has stored, without where it took it from."""
    return [{**row, "reused": False} for row in content(run)]


def alone(folder: Path, name: str, **settings: Any) -> raynas.Run:
    """The same search as an ordinary one."""
    searcher, seed = name.split("-seed")
    chosen = {"budget": 40, "window": 4, "space": small_space(), **settings}
    return search(folder / name, searcher=searcher, seed=int(seed), **chosen)


def check_equal_to_searches_alone(folder: Path, alone_in: Path, **settings: Any) -> None:
    for name, run in load_sweep(folder).runs.items():
        expected = alone(alone_in, name, **settings)
        assert rows(run) == rows(expected)
        assert run.table.equals(expected.table)
        assert run.summary["best"] == expected.summary["best"]
        assert run.summary["recommended"] == expected.summary["recommended"]


class Heard(SweepListener):
    """Keeps what it hears."""

    def __init__(self) -> None:
        self.ended: list[str] = []
        self.lines: list[str] = []

    def on_end(self, search: Any) -> None:
        self.ended.append(search["name"])

    def on_log(self, line: str) -> None:
        self.lines.append(line)


@dataclass(frozen=True)
class Done:
    """A sweep that was carried out, with what was heard of it."""

    sweep: Sweep
    heard: Heard
    settings: dict[str, Any]
    places: list[list[str]]
    printed: str


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> Done:
    """A sweep of two searchers and two seeds, with a worker for each search."""
    folder, heard, printed = tmp_path_factory.mktemp("done"), Heard(), io.StringIO()
    log = folder / "places"
    settings = {"proxies": [TOY, SLOPE, PLACE], "settings": {"toy": {"pause_s": 0.02}, "place": {"log": str(log)}}}
    with redirect_stdout(printed), redirect_stderr(printed):
        swept = sweep(folder / "sweep", listener=heard, **settings)
    return Done(swept, heard, settings, [line.split() for line in log.read_text().splitlines()], printed.getvalue())


@pytest.mark.slow
def test_each_search_of_a_sweep_gives_the_table_of_the_same_search_alone(done: Done, tmp_path: Path) -> None:
    assert list(done.sweep.runs) == NAMES
    check_equal_to_searches_alone(done.sweep.folder, tmp_path, **done.settings)


@pytest.mark.slow
def test_searches_take_the_scores_of_those_that_have_ended(done: Done) -> None:
    reused = [run.summary["reused"] for run in done.sweep.runs.values()]
    assert any(reused)
    assert not all(reused)  # the first have nobody to take from
    assert sum(reused) == sum(row["reused"] for row in done.sweep.summary["rows"])


@pytest.mark.slow
def test_workers_of_a_search_take_their_places_in_its_trial(done: Done) -> None:
    assert {is_grouped for _, is_grouped in done.places} == {"True"}
    assert len({pid for pid, _ in done.places}) == len(NAMES)
    assert {run.summary["workers"] for run in done.sweep.runs.values()} == {1}


@pytest.mark.slow
def test_a_sweep_tells_of_its_searches_and_tune_prints_nothing(done: Done) -> None:
    assert sorted(done.heard.ended) == sorted(NAMES)
    assert done.printed == ""
    summary = done.sweep.summary
    assert (summary["kind"], summary["status"], summary["error"]) == ("sweep", "completed", None)
    assert [(one["name"], one["status"], one["evaluations"]) for one in summary["searches"]] == [
        (name, "completed", 40) for name in NAMES
    ]
    best = {one["name"]: one["best"] for one in summary["searches"]}
    assert best == {name: run.best[0]["scores"]["toy"] for name, run in done.sweep.runs.items()}
    data = sweep_data(done.sweep.folder)
    assert [data[name] for name in ("measure", "levels", "rows")] == [
        summary[name] for name in ("measure", "levels", "rows")
    ]


@pytest.mark.slow
def test_a_finished_sweep_is_kept_as_it_is_also_in_another_place(done: Done, tmp_path: Path) -> None:
    folder = tmp_path / "moved"
    shutil.copytree(done.sweep.folder, folder)
    again = sweep(folder, resume=True, **done.settings)
    same = ("measure", "levels", "rows", "searches", "status")
    assert [again.summary[name] for name in same] == [done.sweep.summary[name] for name in same]
    with pytest.raises(StoreError, match="holds a sweep with budget 40, which may grow, not shrink to 39"):
        sweep(folder, resume=True, **{**done.settings, "budget": 39})
    with pytest.raises(StoreError, match="holds a sweep with repeat 2, which may grow, not shrink to 1"):
        sweep(folder, resume=True, **{**done.settings, "repeat": 1})
    with pytest.raises(StoreError, match=r"searchers\.random is not asked for now"):
        sweep(folder, resume=True, **{**done.settings, "searchers": ["reinforce"]})
    with pytest.raises(StoreError, match="holds a run already: --resume continues it"):
        sweep(folder, **done.settings)
    with pytest.raises(StoreError, match="holds a run of the kind sweep, not search"):
        search(folder, space=small_space(), resume=True)


@pytest.mark.long
def test_budget_and_repeat_may_grow(done: Done, tmp_path: Path) -> None:
    folder = tmp_path / "grown"
    shutil.copytree(done.sweep.folder, folder)
    grown = sweep(folder, resume=True, budget=60, repeat=3, **done.settings)
    assert len(grown.runs) == 6
    assert {run.summary["evaluations"] for run in grown.runs.values()} == {60}
    check_equal_to_searches_alone(folder, tmp_path, budget=60, **done.settings)


# -- killed, interrupted, failed ------------------------------------------------------------------------------------


def start(folder: Path, log: Path, **settings: Any) -> subprocess.Popen[str]:
    """A driver in a process of its own."""
    chosen = {"settings": {"toy": {"pause_s": 0.05, "log": str(log)}}, **settings}
    return subprocess.Popen(
        [sys.executable, "-W", "error", str(DRIVER), str(folder), json.dumps(chosen)],
        start_new_session=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
    )  # fmt: skip


def wait_for_lines(log: Path, n: int, driver: subprocess.Popen[str]) -> None:
    deadline = time.monotonic() + 240
    while time.monotonic() < deadline and driver.poll() is None:
        if log.exists() and log.read_text().count("\n") >= n:
            return
        time.sleep(0.05)
    os.killpg(driver.pid, signal.SIGKILL)
    raise AssertionError(f"the driver ended with {driver.poll()} or did not score {n} in time")


def scoring_processes(log: Path) -> list[int]:
    return list(dict.fromkeys(int(line.split()[1]) for line in log.read_text().splitlines()))


def is_alive(pid: int) -> bool:
    return psutil.pid_exists(pid) and psutil.Process(pid).status() != psutil.STATUS_ZOMBIE


@pytest.mark.long
def test_a_search_that_fails_and_one_whose_process_is_killed_leave_the_others_alone(tmp_path: Path) -> None:
    folder, log = tmp_path / "sweep", tmp_path / "log"
    settings = {"searchers": ["falters", "reinforce"], "workers": 0}
    driver = start(folder, log, **settings)
    wait_for_lines(log, 8, driver)
    os.kill(scoring_processes(log)[-1], signal.SIGKILL)
    printed, _ = driver.communicate(timeout=300)
    assert driver.returncode == 0, printed
    assert re.search(
        r"its process on node [0-9a-f]{8} \(.+\) is lost; the search goes on in a new process from what is stored",
        printed,
    )
    assert "falters-seed1 failed: ZeroDivisionError: this searcher falters" in printed
    assert "Traceback" not in printed
    swept = load_sweep(folder)
    assert swept.summary["status"] == "failed"
    assert swept.summary["error"] == "1 of 4 searches failed: falters-seed1: ZeroDivisionError: this searcher falters"
    assert {one["name"]: (one["status"], one["evaluations"]) for one in swept.summary["searches"]} == {
        "falters-seed0": ("completed", 40),
        "falters-seed1": ("failed", 4),
        "reinforce-seed0": ("completed", 40),
        "reinforce-seed1": ("completed", 40),
    }
    assert [row["seeds"] for row in swept.summary["rows"]] == [[0], [0, 1]]
    assert "in tell" in (folder / "logs" / "falters-seed1.error").read_text()
    scores = {"settings": {"toy": {"pause_s": 0.05, "log": str(log)}}}
    for name in ("reinforce-seed0", "reinforce-seed1"):
        assert rows(swept.runs[name]) == rows(alone(tmp_path, name, **scores))


@pytest.mark.parametrize(
    "moments",
    [
        pytest.param((20, 40), marks=pytest.mark.long),
        pytest.param(random_moments(6, most=80), marks=pytest.mark.long),
    ],
)
def test_a_driver_killed_at_several_moments_ends_with_the_same_tables(tmp_path: Path, moments: tuple[int, ...]) -> None:
    folder, log = tmp_path / "sweep", tmp_path / "log"
    for moment in moments:
        driver = start(folder, log, workers=1)
        wait_for_lines(log, moment, driver)
        os.killpg(driver.pid, signal.SIGKILL)
        driver.communicate()
    driver = start(folder, log, workers=1)
    printed, _ = driver.communicate(timeout=400)
    assert driver.returncode == 0, printed
    swept = load_sweep(folder)
    assert swept.summary["status"] == "completed"
    check_equal_to_searches_alone(folder, tmp_path, settings={"toy": {"pause_s": 0.05, "log": str(log)}})


@pytest.mark.long
def test_interrupted_searches_store_what_is_done_and_go_on_where_they_stopped(tmp_path: Path) -> None:
    folder, log = tmp_path / "sweep", tmp_path / "log"
    driver = start(folder, log, workers=1, budget=80)
    wait_for_lines(log, 30, driver)
    os.killpg(driver.pid, signal.SIGINT)  # as a terminal does
    printed, _ = driver.communicate(timeout=60)
    assert driver.returncode == 130, printed
    assert "SIGINT: the searches store what is done" in printed
    stopped = load_sweep(folder)
    assert stopped.summary["status"] == "interrupted"
    assert {one["status"] for one in stopped.summary["searches"]} == {"interrupted", "waiting"}
    assert {run.summary["status"] for run in stopped.runs.values()} == {"interrupted"}
    stored = sum(run.table.num_rows for run in stopped.runs.values())
    assert stored >= 25
    assert not any(map(is_alive, scoring_processes(log)))
    scored = log.read_text().count("\n")
    driver = start(folder, log, workers=1, budget=80)
    printed, _ = driver.communicate(timeout=400)
    assert driver.returncode == 0, printed
    assert not (folder / "tune").exists()
    check_equal_to_searches_alone(folder, tmp_path, budget=80, settings={"toy": {"pause_s": 0.05, "log": str(log)}})
    assert scored <= stored + 8 * 2  # what was in flight in two windows


# -- the command ------------------------------------------------------------------------------------------------------


@pytest.mark.long
def test_an_interrupted_command_prints_the_one_that_resumes_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "my sweep"
    small = ["--workers", "0", "--img-size", "32", "--set", "length_distortion.repeats=1", "--budget", "60"]
    arguments = ["as-vit", "--searcher", "random", "--searcher", "reinforce", "--repeat", "1", *small, "--level", "0"]
    process = subprocess.Popen(
        [sys.executable, "-m", "raynas.cli", "search", *arguments, "--out", str(out)],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True,
    )  # fmt: skip
    deadline = time.monotonic() + 240
    while time.monotonic() < deadline and not list(out.glob("*/evaluations/part*")):
        time.sleep(0.05)
    os.kill(process.pid, signal.SIGTERM)
    shown, said = process.communicate(timeout=60)
    assert process.returncode == 143, said
    assert shown == ""
    line = next(line for line in said.splitlines() if line.startswith("continue with: "))
    resume = shlex.split(line.removeprefix("continue with: "))
    assert resume == ["raynas", "search", "--resume", "--out", str(out)]
    with pytest.raises(SystemExit) as ended:
        main(resume[1:])
    assert not ended.value.code
    shown = capsys.readouterr().out
    header, *table = shown.splitlines()
    columns = ["searcher", "searches", "median length_distortion", "quartiles", "calls to 0", r"calls to 0\.\d+"]
    assert re.fullmatch(" +".join([*columns, "evaluations", "reused", "seconds *"]), header)
    assert [row.split()[0] for row in table[:2]] == ["random", "reinforce"]
    assert all(" 1 (1 of 1 seeds)" in row for row in table[:2])  # any value is above 0
    assert load_sweep(out).summary["status"] == "completed"
