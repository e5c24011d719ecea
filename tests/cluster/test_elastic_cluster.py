"""Searches on machines that come and go: all are used, none costs a result, and what is awaited is said."""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path
from time import monotonic

import pytest
from elastic_runs import content, search, undisturbed, wait_until, where
from machines import Machines

from raynas.interruption import EXIT_CLUSTER_LOST

pytestmark = [pytest.mark.netns, pytest.mark.long]


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
        assert len(re.findall(r"^node [0-9a-f]{8} \(.+\) has joined, and is used$", lines, re.MULTILINE)) == 2
        assert third.address in {place for _, place in where(tmp_path)}
        assert content(tmp_path) == undisturbed(tmp_path / "alone", head, budget)


def test_a_node_whose_link_is_cut_is_told_before_ray_gives_it_up(tmp_path: Path) -> None:
    """Cut for a while, it answers again; cut for good, its candidates are scored elsewhere."""
    budget = 300
    patient = {"RAY_health_check_failure_threshold": "45"}  # seconds until Ray gives a node up
    with Machines(3) as machines:
        head, kept, cut = machines
        address = head.start_ray("--num-cpus=0", env=patient)
        for machine in (kept, cut):
            machine.start_ray("--num-cpus=1", head=head, env=patient)
        words = search(tmp_path, "--budget", str(budget), "--workers", "1:2", "--address", address)
        with (tmp_path / "said").open("w") as said:
            driver = head.popen([sys.executable, "-m", "raynas.cli", *words], stderr=said, stdout=said)

            def lines(pattern: str) -> list[str]:
                return re.findall(pattern, (tmp_path / "said").read_text(), re.MULTILINE)

            silent = r"^node ([0-9a-f]{8}) \(.+\) has not answered for .*: it may be cut off"
            wait_until(driver, lambda: {place for _, place in where(tmp_path)} == {kept.address, cut.address})
            machines.cut(2)
            began = monotonic()
            wait_until(driver, lambda: len(lines(silent)) == 1, 30)
            assert monotonic() - began > 9
            machines.heal(2)
            again = r"^node ([0-9a-f]{8}) \(.+\) answers again, after "
            wait_until(driver, lambda: len(lines(again)) == 1, 60)
            assert set(lines(again)) == set(lines(silent))  # the same node, and no other
            done = len(where(tmp_path))
            wait_until(driver, lambda: cut.address in {place for _, place in where(tmp_path)[done:]}, 60)
            machines.cut(2)
            told = len(lines(silent))
            wait_until(driver, lambda: len(lines(silent)) > told, 30)
            assert driver.wait(300) == 0, (tmp_path / "said").read_text()
        assert "Traceback" not in (tmp_path / "said").read_text()
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


COMMANDS = {
    "train": (
        "train", "as-vit-small", "--data", "digits", "--img-size", "32", "--max-images", "400", "--batch-size", "40",
        "--augment", "none", "--epochs", "200", "--workers", "2",
    ),
    "sweep": (
        "search", "as-vit", "--img-size", "32", "-o", "length_distortion", "--searcher", "random", "--searcher",
        "regularized_evolution", "--repeat", "2", "--budget", "2000", "--workers", "1",
    ),
}  # fmt: skip


@pytest.mark.parametrize("command", COMMANDS)
def test_other_work_whose_cluster_loses_its_head_ends_with_a_line_too(tmp_path: Path, command: str) -> None:
    out = tmp_path / "run"
    with Machines(2) as machines:
        head, other = machines
        address = head.start_ray("--num-cpus=0")
        other.start_ray("--num-cpus=2", head=head)
        words = (*COMMANDS[command], "--address", address, "--out", str(out))
        with (tmp_path / "said").open("w") as said:
            driver = other.popen([sys.executable, "-m", "raynas.cli", *words], stderr=said, stdout=said)
            begun = {"train": "metrics.parquet", "sweep": "random-seed0/summary.json"}[command]
            wait_until(driver, lambda: (out / begun).exists(), 240)
            head.lose()
            assert driver.wait(120) == EXIT_CLUSTER_LOST, (tmp_path / "said").read_text()
        lines = (tmp_path / "said").read_text()
        assert "continue with: raynas" in lines
        assert "Traceback" not in lines
        assert json.loads((out / "summary.json").read_text())["status"] == "interrupted"
