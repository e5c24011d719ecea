"""How a page tells a run that goes on from one whose process was killed, and what waits for scores from what failed."""

from __future__ import annotations

import os
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import yaml
from report_folders import AS_VIT, embedded, epoch_rows, sampled_rows, write_finalists, write_folder, write_training
from report_pages import check_layout

from raynas.cli.ending import options_again
from raynas.report.page import write_report
from raynas.report.status import resumed_by
from raynas.storage.locks import held
from raynas.storage.points import PointState

pytest_plugins = ["report_browser"]

RUNNING = {"status": "running"}


def training(folder: Path, **more: Any) -> Path:
    macs = AS_VIT.macs(AS_VIT.named["seed"], 64, 10)  # type: ignore[misc]
    return write_training(folder, epoch_rows(2, macs=macs), epochs=4, **more)


def finalists(folder: Path, **more: Any) -> Path:
    one = {"top1": 0.7, "epochs_done": 2, "status": "running", "score": {}}
    return write_finalists(folder, [one], **more)


def variants(folder: Path, **more: Any) -> Path:
    one = {"top1": 0.7, "epochs_done": 2, "status": "running", "score": {}, "settings": {"lr": 0.1}}
    return write_finalists(folder, [one], kind="variants", **more)


WRITERS: dict[str, Callable[..., Path]] = {
    "search": lambda folder, **more: write_folder(folder, sampled_rows(4), **more),
    "training": training,
    "finalists": finalists,
    "variants": variants,
}


@pytest.mark.parametrize("kind", WRITERS)
def test_the_lock_tells_a_run_that_goes_on_from_one_that_was_killed(tmp_path: Path, kind: str) -> None:
    folder = WRITERS[kind](tmp_path / "run", summary=RUNNING)
    for _ in range(2):  # looking leaves nothing behind that would tell otherwise
        dead = embedded(write_report(folder).read_text())["status"]
        assert dead["name"] == "killed"
        assert dead["resume"].endswith(f"--resume --out {folder}")
    with held(folder):
        live = embedded(write_report(folder).read_text())["status"]
    assert (live["name"], live["resume"]) == ("running", None)  # what goes on cannot be resumed
    for status in (dead, live):
        written = datetime.strptime(status["written"], "%Y-%m-%d %H:%M:%S UTC").replace(tzinfo=UTC)
        assert abs((datetime.now(UTC) - written).total_seconds()) < 60


@pytest.mark.parametrize("kind", WRITERS)
def test_a_run_that_starts_its_workers_is_running(tmp_path: Path, kind: str) -> None:
    folder = WRITERS[kind](tmp_path / "run")
    (folder / "summary.json").unlink()
    assert embedded(write_report(folder).read_text())["status"]["name"] == "unknown"
    with held(folder):
        assert embedded(write_report(folder).read_text())["status"]["name"] == "running"


@pytest.mark.parametrize("kind", WRITERS)
@pytest.mark.parametrize("status", ["completed", "failed", "interrupted"])
def test_pages_of_runs_that_ended_say_no_time_of_writing(tmp_path: Path, kind: str, status: str) -> None:
    folder = WRITERS[kind](tmp_path / "run", summary={"status": status})
    found = embedded(write_report(folder).read_text())["status"]
    assert found["name"] == status
    assert "written" not in found


@pytest.mark.parametrize(
    ("config", "is_registered", "more"),
    [
        ({"space": "as-vit"}, True, ""),
        ({"space": "/own/nets.py:nets"}, False, " --trust-code"),
        ({"space": "as-vit", "proxies": ["/own/nets.py:score"]}, True, " --trust-code"),
        ({"space": "as-vit", "address": "10.0.0.7:6379"}, True, " --address 10.0.0.7:6379"),
        ({"training": {"space": "as-vit", "address": "10.0.0.7:6379"}}, True, " --address 10.0.0.7:6379"),
        ({"space": "nets"}, False, None),
    ],
)
def test_a_run_is_continued_by_what_an_interrupt_says(
    config: dict[str, Any], is_registered: bool, more: str | None, tmp_path: Path
) -> None:
    expected = None if more is None else f"raynas bench proxies --resume --out {tmp_path}{more}"
    assert resumed_by("bench proxies", tmp_path, config, is_registered=is_registered) == expected
    if expected is not None and is_registered:
        (tmp_path / "run.yaml").write_text(yaml.safe_dump({"config": config, "identity": {}}))
        assert options_again(tmp_path) == shlex.split(more or "")


def test_trials_of_killed_finalists_are_killed_and_those_that_hold_their_folders_run(tmp_path: Path) -> None:
    trials = [{"top1": 0.7, "epochs_done": 2, "status": "running", "score": {}}] * 2
    folder = write_finalists(tmp_path / "run", trials, summary=RUNNING)
    with held(folder), held(folder / "finalist-01"):
        data = embedded(write_report(folder).read_text())
    assert {trial["name"]: trial["status"] for trial in data["trials"]} == {
        "finalist-00": "killed",
        "finalist-01": "running",
    }
    assert [one["status"] for one in embedded(write_report(folder).read_text())["trials"]] == ["killed"] * 2


def test_a_search_that_is_killed_says_so(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    code = (
        "import raynas; raynas.search('as-vit', objectives=['length_distortion'], budget=100000, workers=0, "
        f"img_size=32, out={str(folder)!r})"
    )
    driver = subprocess.Popen([sys.executable, "-c", code], start_new_session=True, stderr=subprocess.DEVNULL)
    try:
        deadline = time.monotonic() + 120
        while not list(folder.glob("evaluations/*.parquet")) and time.monotonic() < deadline:
            time.sleep(0.05)
        live = embedded(write_report(folder).read_text())
    finally:
        os.killpg(driver.pid, signal.SIGKILL)
        driver.wait()
    dead = embedded(write_report(folder).read_text())
    assert (live["status"]["name"], dead["status"]["name"]) == ("running", "killed")
    assert dead["counts"]["failed"] == live["counts"]["failed"] == 0


# -- in flight --------------------------------------------------------------------------------------------------------


def in_flight(folder: Path, scored: int, failed: int, pending: int, **more: Any) -> Path:
    """A folder of a search whose last candidates have costs alone, as before their scores come."""
    count = scored + failed + pending
    rows = sampled_rows(count, errors={scored + k: ("failed", f"size {k}") for k in range(failed)})
    for _, outcomes in rows[scored + failed :]:
        del outcomes["length_distortion"]
    return write_folder(folder, rows, summary={**RUNNING, "evaluations": scored + failed}, **more)


@pytest.mark.parametrize(("scored", "failed", "pending"), [(5, 2, 3), (0, 0, 4), (4, 0, 0), (0, 3, 2)])
def test_what_is_in_flight_has_neither_failed_nor_been_scored(
    tmp_path: Path, scored: int, failed: int, pending: int
) -> None:
    data = embedded(write_report(in_flight(tmp_path / "run", scored, failed, pending)).read_text())
    counts = data["counts"]
    assert (counts["different"], counts["failed"], counts["pending"]) == (scored + failed, failed, pending)
    assert data["points"]["state"].count(PointState.UNSCORED) == pending


def test_scoring_runs_count_what_is_in_flight_too(tmp_path: Path) -> None:
    counts = embedded(write_report(in_flight(tmp_path / "run", 3, 1, 2, objectives=[])).read_text())["counts"]
    assert (counts["different"], counts["failed"], counts["pending"]) == (4, 1, 2)


def test_the_picture_draws_what_is_in_flight_as_pending(opened: Any, tmp_path: Path) -> None:
    folder = in_flight(tmp_path / "run", 5, 0, 3)
    with held(folder):
        path = write_report(folder)
    page = opened(path, width=360)
    legend = page.locator("#scatter-legend").inner_text()
    assert "not scored yet" in legend
    assert "failed" not in legend
    assert "3" in page.locator("#counts div", has_text="not scored yet").inner_text()
    assert page.locator("#status").inner_text() == "running"
    assert "As of 20" in page.locator("#notice").inner_text()
    check_layout(page)


def test_the_legend_names_failures_and_what_is_in_flight_apart(opened: Any, tmp_path: Path) -> None:
    page = opened(write_report(in_flight(tmp_path / "run", 5, 2, 3)))
    legend = page.locator("#scatter-legend").inner_text()
    assert "failed, or no length_distortion" in legend
    assert "not scored yet" in legend


def _use(host: str, workers: int, busy: int, evaluated: int) -> dict[str, Any]:
    return {"node": f"{host}0f2a"[:8], "host": host, "device_type": "AVX2", "workers": workers, "busy": busy,
            "evaluated": evaluated}  # fmt: skip


def worker_rows(folder: Path) -> dict[str, str]:
    groups = embedded(write_report(folder).read_text())["groups"]
    (rows,) = (group["rows"] for group in groups if group["title"] == "Data and workers")
    return dict(rows)


def test_the_page_of_a_run_that_goes_on_says_what_each_node_does_and_what_is_awaited(tmp_path: Path) -> None:
    waiting = {"workers": 2, "of": 4, "seconds": 75.0, "why": "waiting for 2 of 4 workers with 1 CPU each"}
    told = {"nodes": [_use("one", 2, 1, 1234), _use("two", 0, 0, 7)], "waiting": waiting}
    rows = worker_rows(write_folder(tmp_path / "run", sampled_rows(4), summary={**RUNNING, **told}))
    assert rows["node one (one0f2a)"] == "2 workers, 1 of them busy; 1,234 evaluated"
    assert rows["node two (two0f2a)"] == ("0 workers, 0 of them busy; 7 evaluated (not there, or not used any more)")
    assert rows["waiting for"] == "2 of 4 workers, for 1 min 15 s: waiting for 2 of 4 workers with 1 CPU each"
    ended = {"status": "completed", "nodes": told["nodes"], "waiting": None}
    rows = worker_rows(write_folder(tmp_path / "ended", sampled_rows(4), summary=ended))
    assert rows["node two (two0f2a)"] == "7 evaluated"
    assert "waiting for" not in rows


def test_a_page_names_twenty_nodes_and_says_how_many_more_there_are_and_none_where_there_is_one(tmp_path: Path) -> None:
    nodes = [_use(f"n{number}", 1, 1, 5) for number in range(25)]
    rows = worker_rows(write_folder(tmp_path / "many", sampled_rows(4), summary={**RUNNING, "nodes": nodes}))
    assert sum(name.startswith("node ") for name in rows) == 20
    assert rows["further nodes"] == "5"
    rows = worker_rows(write_folder(tmp_path / "one", sampled_rows(4), summary={**RUNNING, "nodes": nodes[:1]}))
    assert not any(name.startswith("node ") for name in rows)
