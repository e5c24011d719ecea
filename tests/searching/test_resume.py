"""Runs that go on: after they ended, after they were killed, with scores of other runs."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import psutil
import pytest
from random_moments import killed_at, random_moments
from toy_runs import content, search
from toy_scores import TOY, toy_space

import raynas
import raynas.searching.run
from raynas import Choice
from raynas.errors import StoreError
from raynas.searching.run import SearchListener


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


def test_a_run_that_goes_on_says_how_much_is_stored(tmp_path: Path) -> None:
    class Lines(SearchListener):
        def __init__(self) -> None:
            self.lines: list[str] = []

        def on_log(self, line: str) -> None:
            self.lines.append(line)

    heard = [Lines(), Lines()]
    search(tmp_path / "run", budget=20, listener=heard[0])
    search(tmp_path / "run", budget=25, resume=True, listener=heard[1])
    said = [[line for line in one.lines if "stored" in line] for one in heard]
    assert said == [[], ["goes on: 20 of 25 candidates are stored"]]


def test_a_budget_does_not_shrink(tmp_path: Path) -> None:
    search(tmp_path / "run", budget=20)
    with pytest.raises(StoreError, match="holds 20 candidates; a budget may grow, not shrink to 10"):
        search(tmp_path / "run", budget=10, resume=True)
    assert raynas.load_run(tmp_path / "run").summary["evaluations"] == 20


def test_a_run_that_started_meanwhile_in_the_folder_is_not_mixed_in(tmp_path: Path) -> None:
    def other_run(*given: Any, **more: Any) -> Any:
        monkeypatch.undo()
        search(tmp_path / "run", budget=5, score_seed=7)
        return store(*given, **more)

    monkeypatch = pytest.MonkeyPatch()
    store = raynas.searching.run.ResultStore
    monkeypatch.setattr(raynas.searching.run, "ResultStore", other_run)
    with pytest.raises(StoreError, match="holds a run already"):
        search(tmp_path / "run", budget=5)
    assert {row["score_seed"] for row in raynas.load_run(tmp_path / "run").evaluations.to_pylist()} == {
        0,
        7,
    }  # costs: 0


@pytest.mark.parametrize("searcher", ["random", "evolution", "regularized_evolution", "reinforce", "nsga2", "tpe"])
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
        (
            {"space": toy_space(a=Choice(1, 2), b=Choice(1), harm=Choice("none"))},
            r"the fields of the space are others than those that it began with \(space_fields\)",
        ),
        ({"proxies": [TOY]}, r"holds another run: scores\.slope is not asked for now$"),
    ],
)
def test_another_run_is_not_resumed(tmp_path: Path, change: dict[str, Any], message: str) -> None:
    run = search(tmp_path / "run", budget=10)
    before = {path: path.read_bytes() for path in sorted((tmp_path / "run").rglob("*")) if path.is_file()}
    with pytest.raises(StoreError, match=message):
        search(tmp_path / "run", budget=10, resume=True, **change)
    assert {path: path.read_bytes() for path in sorted((tmp_path / "run").rglob("*")) if path.is_file()} == before
    assert run.summary["evaluations"] == 10


def test_a_score_that_is_asked_for_now_is_new(tmp_path: Path) -> None:
    search(tmp_path / "run", budget=5, proxies=[TOY])
    with pytest.raises(StoreError, match=r"holds another run: scores\.slope is new$"):
        search(tmp_path / "run", budget=5, resume=True)


def test_other_architectures_to_score_are_said_without_hashes(tmp_path: Path) -> None:
    def score(count: int, **more: Any) -> None:
        chosen = [{"a": a, "b": 1, "harm": "none"} for a in range(count)]
        raynas.score(toy_space(), chosen, proxies=[TOY], workers=0, out=tmp_path / "run", **more)

    score(2)
    with pytest.raises(StoreError, match="another run: the architectures to score are others than those") as told:
        score(3, resume=True)
    assert not re.search("[0-9a-f]{12}", str(told.value).removeprefix(str(tmp_path)))


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


# -- killed and interrupted ---------------------------------------------------------------------------------------

DRIVER = """
import sys
from pathlib import Path
sys.path.insert(0, {tests!r})
from toy_scores import SLOPE, TOY, toy_space
import raynas
from raynas.interruption import Interrupted
try:
    raynas.search(toy_space(), proxies=[TOY, SLOPE], objectives=["toy"], out={out!r}, resume=True,
                  searcher="regularized_evolution", budget=150, window=16, workers={workers},
                  settings={{"toy": {{"pause_s": 0.02, "log": {log!r}}}}})
except Interrupted as error:
    sys.exit(128 + error.signum)
"""


def start_driver(folder: Path, log: Path, workers: int) -> subprocess.Popen[bytes]:
    script = DRIVER.format(tests=str(Path(__file__).parents[1]), out=str(folder), log=str(log), workers=workers)
    return subprocess.Popen([sys.executable, "-c", script], start_new_session=True)


def wait_for_lines(log: Path, n: int, driver: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + 240
    while time.monotonic() < deadline and driver.poll() is None:
        if log.exists() and log.read_text().count("\n") >= n:
            return
        time.sleep(0.02)
    driver.kill()
    raise AssertionError(f"the driver ended with {driver.poll()} or did not score {n} in time")


@pytest.mark.parametrize(
    ("workers", "moments"),
    [
        pytest.param(0, (3, 90), marks=pytest.mark.slow),
        pytest.param(2, (20, 80), marks=pytest.mark.long),
        pytest.param(0, random_moments(12, most=100), marks=pytest.mark.long),
        pytest.param(2, random_moments(12, most=100, seed=1), marks=pytest.mark.long),
    ],
)
def test_a_driver_killed_at_several_moments_ends_with_the_same_table(
    tmp_path: Path, workers: int, moments: tuple[int, ...]
) -> None:
    folder, log = tmp_path / "run", tmp_path / "log"
    for moment in moments:
        driver = start_driver(folder, log, workers)
        wait_for_lines(log, moment, driver)
        os.killpg(driver.pid, signal.SIGKILL)
        assert driver.wait() == -signal.SIGKILL
    driver = start_driver(folder, log, workers)
    assert driver.wait(timeout=120) == 0
    run = raynas.load_run(folder)
    whole = search(tmp_path / "whole", budget=150, window=16, settings={"toy": {"pause_s": 0.02, "log": str(log)}})
    assert content(run) == content(whole)
    assert run.summary["evaluations"] == 150
    assert run.summary["status"] == "completed"


@pytest.mark.long
def test_given_architectures_killed_at_two_moments_have_the_same_scores(tmp_path: Path) -> None:
    """As `raynas score` has them."""
    folder, log = tmp_path / "run", tmp_path / "log"
    architectures = [{"a": a, "b": b, "harm": "none"} for a in range(10) for b in range(4)]
    chosen = {"workers": 0, "window": 8, "settings": {"toy": {"pause_s": 0.05, "log": str(log)}}}
    imports = "import raynas; from toy_scores import *; from raynas.searching.run import SearchListener"
    given = f"proxies=[TOY], out={str(folder)!r}, resume=True, listener=SearchListener(), **{chosen!r}"
    code = f"{imports}; raynas.score(toy_space(), {architectures!r}, {given})"
    killed_at((5, 30), code, lambda: log.read_text().count("\n") if log.exists() else 0)
    assert 0 < len(raynas.load_run(folder).table) < len(architectures)
    run, whole = (
        raynas.score(
            toy_space(), architectures, proxies=[TOY], out=out, resume=True, listener=SearchListener(), **chosen
        )
        for out in (folder, tmp_path / "whole")
    )
    assert run.summary["evaluations"] == len(architectures)
    assert content(run) == content(whole)


@pytest.mark.parametrize(
    ("signum", "workers"),
    [(signal.SIGINT, 0), (signal.SIGTERM, 0), pytest.param(signal.SIGTERM, 2, marks=pytest.mark.long)],
)
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
