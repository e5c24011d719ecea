"""A head that keeps its state in Redis is killed and started again, and the run goes on with the same results."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path
from time import monotonic, sleep

import pytest
from elastic_runs import content, search, undisturbed, wait_until, where
from machines import Machine, Machines

pytestmark = [
    pytest.mark.netns,
    pytest.mark.long,
    pytest.mark.skipif(shutil.which("redis-server") is None, reason="there is no redis-server to keep a head's state"),
]


def kill_ray(machine: Machine) -> None:
    """Kill all processes of Ray on a machine, which has process ids of its own."""
    listed = machine.run(["ps", "-ww", "-eo", "pid,args", "--no-headers"]).stdout.splitlines()
    ids = [line.split()[0] for line in listed if "/ray/" in line or "ray start" in line or "ray::" in line]
    assert ids
    machine.run(["kill", "-KILL", *ids])


def test_a_run_outlives_the_restart_of_a_head_that_keeps_its_state_in_redis(tmp_path: Path) -> None:
    budget = 200
    with Machines(2) as machines:
        head, other = machines
        redis = ["redis-server", "--bind", other.address, "--port", "6380", "--save", "", "--protected-mode", "no"]
        with (tmp_path / "redis").open("w") as said:
            other.popen(redis, stdout=said, stderr=said)
        state = {"RAY_REDIS_ADDRESS": f"{other.address}:6380", "RAY_external_storage_namespace": "raynas"}
        address = head.start_ray("--num-cpus=0", env=state)
        other.start_ray("--num-cpus=2", head=head)
        words = search(tmp_path, "--budget", str(budget), "--workers", "2", "--set", "waits.pause_s=1")
        with (tmp_path / "said").open("w") as said:
            driver = other.popen(
                [sys.executable, "-m", "raynas.cli", *words, "--address", address], stderr=said, stdout=said
            )
            wait_until(driver, lambda: len(where(tmp_path)) > 25, 240)
            kill_ray(head)
            lost = monotonic()
            sleep(3)
            head.start_ray("--num-cpus=0", env=state)
            away = monotonic() - lost
            assert driver.wait(240) == 0, f"{away:.0f} s away: {(tmp_path / 'said').read_text()}"
        lines = (tmp_path / "said").read_text()
        assert "Traceback" not in lines
        assert "continue with" not in lines
        assert "the head of the cluster is back after" in lines
        assert content(tmp_path) == undisturbed(tmp_path / "alone", other, budget)
