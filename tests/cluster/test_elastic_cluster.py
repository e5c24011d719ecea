"""Searches on machines that come and go: all are used, none costs a result, and what is awaited is said."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from time import monotonic, sleep

import pytest
from machines import Machine, Machines

import raynas
from raynas.interruption import EXIT_CLUSTER_LOST
from raynas.storage.result_store import TIMING_COLUMNS

pytestmark = [pytest.mark.netns, pytest.mark.long]

PROXY = '''
import time
from pathlib import Path
import psutil
from raynas.proxies.probe import Proxy

def waits(probe, pause_s: float = 0.3, log: str = ""):
    """An arithmetic score that takes its time, and says where."""
    time.sleep(pause_s)
    here = [one.address for all in psutil.net_if_addrs().values() for one in all if one.address.startswith("10.")]
    if log:
        with Path(log).open("a") as file:
            file.write(f"{time.time()} {here[0]}\\n")
    return float(int(probe.architecture.key[:6], 16))

WAITS = Proxy("waits", waits)
'''


def search(folder: Path, *more: str) -> tuple[str, ...]:
    """The words of a search whose scores only wait, and say where they were computed."""
    proxy, log, out = folder / "proxy.py", folder / "where", str(folder / "run")
    proxy.write_text(PROXY)
    log.touch()
    return (
        "search", "as-vit", "--img-size", "32", "--proxy", f"{proxy}:WAITS", "-o", "waits", "--set",
        f"waits.log={log}", "--searcher", "regularized_evolution", "--window", "16", "--out", out, *more,
    )  # fmt: skip


def where(folder: Path) -> list[tuple[float, str]]:
    """When and on which machine each score was computed."""
    lines = (folder / "where").read_text().splitlines()
    return [(float(line.split()[0]), line.split()[1]) for line in lines if len(line.split()) == 2]


def wait_until(driver: subprocess.Popen[str], is_so: Callable[[], bool], seconds: float = 120) -> None:
    """Wait until something is so, while a driver goes on."""
    deadline = monotonic() + seconds
    while not is_so():
        assert driver.poll() is None, "the driver has ended"
        assert monotonic() < deadline
        sleep(0.25)


def content(folder: Path) -> list[dict[str, object]]:
    rows = raynas.load_run(folder / "run").evaluations.drop_columns([*TIMING_COLUMNS, "settings"])
    return sorted(rows.to_pylist(), key=lambda row: row["architecture_key"])


def undisturbed(folder: Path, machine: Machine, budget: int) -> list[dict[str, object]]:
    """The evaluations of the same search on one worker, without a cluster."""
    folder.mkdir()
    done = machine.raynas(*search(folder, "--budget", str(budget), "--workers", "0", "--set", "waits.pause_s=0"))
    assert done.returncode == 0, done.stderr
    return content(folder)


def test_a_search_uses_nodes_that_join_survives_those_that_leave_and_says_what_it_waits_for(tmp_path: Path) -> None:
    budget = 400
    with Machines(3) as machines:
        head, first, second = machines
        address = head.start_ray("--num-cpus=0")
        first.start_ray("--num-cpus=1", head=head)
        words = search(tmp_path, "--budget", str(budget), "--workers", "1:4", "--address", address)
        with (tmp_path / "said").open("w") as said:
            driver = head.popen([sys.executable, "-m", "raynas.cli", *words], stderr=said, stdout=said)
            wait_until(driver, lambda: len(where(tmp_path)) > 10)
            assert {place for _, place in where(tmp_path)} == {first.address}
            second.start_ray("--num-cpus=2", head=head)
            joined = monotonic()
            wait_until(driver, lambda: second.address in {place for _, place in where(tmp_path)})
            assert monotonic() - joined < 60
            first.lose()
            wait_until(driver, lambda: len(where(tmp_path)) > 150)
            second.lose()  # none is left
            summary = tmp_path / "run" / "summary.json"
            wait_until(driver, lambda: (json.loads(summary.read_text())["waiting"] or {"why": ""})["why"] != "")
            waiting = json.loads(summary.read_text())["waiting"]
            assert waiting["workers"] == waiting["of"] == 1
            third = machines.add(3)
            third.start_ray("--num-cpus=2", head=head)
            assert driver.wait(300) == 0, (tmp_path / "said").read_text()
        lines = (tmp_path / "said").read_text()
        assert (
            "waiting for 1 of 1 workers with 1 CPU each; 1 without a place; the cluster has 1 node with 0 CPU" in lines
        )
        assert "Traceback" not in lines
        assert third.address in {place for _, place in where(tmp_path)}
        assert content(tmp_path) == undisturbed(tmp_path / "alone", head, budget)


def test_a_run_whose_cluster_loses_its_head_says_so_in_a_line_and_goes_on_elsewhere(tmp_path: Path) -> None:
    budget = 150
    with Machines(2) as machines:
        head, other = machines
        address = head.start_ray("--num-cpus=0")
        other.start_ray("--num-cpus=2", head=head)
        words = search(tmp_path, "--budget", str(budget), "--workers", "2", "--set", "waits.pause_s=1")
        with (tmp_path / "said").open("w") as said:
            driver = other.popen(
                [sys.executable, "-m", "raynas.cli", *words, "--address", address], stderr=said, stdout=said
            )
            wait_until(driver, lambda: len(where(tmp_path)) > 25)
            head.lose()
            lost = monotonic()
            assert driver.wait(90) == EXIT_CLUSTER_LOST, (tmp_path / "said").read_text()
        assert 40 < monotonic() - lost < 60
        lines = (tmp_path / "said").read_text()
        assert f"the head of the cluster at {address} does not answer" in lines
        assert "continue with: raynas search --resume --out" in lines
        assert "Traceback" not in lines
        summary = json.loads((tmp_path / "run" / "summary.json").read_text())
        assert summary["status"] == "interrupted"
        assert "has not answered for" in summary["error"]
        stored = len(content(tmp_path))
        assert stored >= 20
        done = other.raynas(*words, "--resume", "--trust-code", "--address", "local")
        assert done.returncode == 0, done.stderr
        assert content(tmp_path) == undisturbed(tmp_path / "alone", other, budget)
