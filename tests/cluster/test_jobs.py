"""Jobs of a cluster: a command that is submitted runs on the cluster it is in, and what stops it leaves its work."""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from time import monotonic, sleep

import pytest
from elastic_runs import content, search, undisturbed, where
from machines import Machine, Machines

pytestmark = [
    pytest.mark.skipif(importlib.util.find_spec("opencensus") is None, reason="needs the extra cluster"),
    pytest.mark.netns,
    pytest.mark.long,
]
RAY = str(Path(sys.executable).with_name("ray"))
PATH = f"{Path(sys.executable).parent}:/usr/bin:/bin"


def job(machine: Machine, *words: str) -> subprocess.CompletedProcess[str]:
    """A command on the jobs of the cluster whose head a machine is."""
    address = {"RAY_API_SERVER_ADDRESS": f"http://{machine.address}:8265", "RAY_ADDRESS": ""}
    return machine.run([RAY, "job", *words], env={**address, "PATH": PATH})


def wait_for(is_so: Callable[[], bool], seconds: float = 150) -> None:
    """Wait until something is so."""
    deadline = monotonic() + seconds
    while not is_so():
        assert monotonic() < deadline
        sleep(0.25)


def test_a_job_uses_its_cluster_is_stopped_in_time_and_goes_on_as_another_job(tmp_path: Path) -> None:
    budget = 200
    with Machines(3) as machines:
        head, other, laptop = machines
        head.given["PATH"] = PATH
        head.start_ray("--num-cpus=0", "--include-dashboard=true", f"--dashboard-host={head.address}")
        other.start_ray("--num-cpus=2", head=head)
        words = search(tmp_path, "--budget", str(budget), "--workers", "2")
        wait_for(lambda: job(head, "list").returncode == 0)
        from_elsewhere = {"RAY_API_SERVER_ADDRESS": f"http://{head.address}:8265"}
        submit = (
            "submit",
            "--no-wait",
            "--submission-id",
            "first",
            f"--working-dir={tmp_path}",
            "--",
            "raynas",
            *words,
        )
        submitted = laptop.run([RAY, "job", *submit], env=from_elsewhere)
        assert submitted.returncode == 0, submitted.stderr
        wait_for(lambda: len(where(tmp_path)) > 40)
        assert {place for _, place in where(tmp_path)} == {other.address}
        stopped = job(head, "stop", "first")
        assert stopped.returncode == 0, stopped.stdout + stopped.stderr
        wait_for(lambda: "was stopped" in job(head, "status", "first").stdout)
        logs = job(head, "logs", "first").stdout
        assert "continue with: raynas search --resume" in logs
        assert "Traceback" not in logs
        summary = json.loads((tmp_path / "run" / "summary.json").read_text())
        assert summary["status"] == "interrupted"
        evaluated = len(content(tmp_path))
        assert evaluated >= len(where(tmp_path)) - 6  # what was on its way
        again = job(head, "submit", "--submission-id", "second", f"--working-dir={tmp_path}", "--", "raynas", *words,
                    "--resume")  # fmt: skip
        assert again.returncode == 0, again.stdout + again.stderr
        assert content(tmp_path) == undisturbed(tmp_path / "alone", head, budget)
