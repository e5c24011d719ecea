"""What Ray says by itself is in a file of the run, and not in the terminal."""

from __future__ import annotations

import json
import logging
import os
import re
import signal
import subprocess
import sys
import warnings
from pathlib import Path
from time import monotonic, sleep

import pytest

from raynas.cluster.joining import imported_ray
from raynas.cluster.ray_log import RayLog, said_to
from raynas.errors import StoreError
from raynas.storage.files import read_bytes
from raynas.storage.paths import ObjectPath, as_path
from raynas.storage.run_folder import check_folder, ray_log_keeper, ray_log_place

pytest_plugins = ["object_store_fixtures"]

PROXY = '''
import os, time, warnings
from pathlib import Path
from raynas.proxies.probe import Proxy

def talks(probe, where: str = ""):
    """Says what it does, and where."""
    print("one more architecture")
    with Path(where).open("a") as file:
        file.write(f"{os.getpid()} {os.environ.get('NODE', 'head')}\\n")
    time.sleep(0.1)
    return float(int(probe.architecture.key[:6], 16))

TALKS = Proxy("talks", talks)
'''
OURS = (
    r"run folder .*", r"up to 16 candidates at a time: .*", r"\d+/\d+, .*", r"waiting for .*", r"worker process .*",
    r"node .* is lost.*", r"\d+ evaluations in .*", r"report .*", r"", r".*\.py .*", r"the window of .*",
)  # fmt: skip
"""Every line that a search may say on standard error."""


@pytest.mark.long
def test_the_terminal_has_only_our_lines_and_the_log_those_of_ray(tmp_path: Path) -> None:
    """On two nodes; a worker is killed, then a node."""
    from ray.cluster_utils import Cluster

    (tmp_path / "proxy.py").write_text(PROXY)
    where, run = tmp_path / "where", tmp_path / "run"
    where.touch()

    def wait_for(node: str, more: int) -> int:
        """The process that scores on a node, once that has scored some more."""
        before, deadline = len(where.read_text().splitlines()), monotonic() + 120
        while True:
            new = [line.split() for line in where.read_text().splitlines()[before:]]
            there = [int(process) for process, place in new if place == node]
            if len(there) >= more:
                return there[-1]
            assert driver.poll() is None and monotonic() < deadline
            sleep(0.2)

    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False})
    try:
        doomed = cluster.add_node(num_cpus=1, env_vars={"NODE": "doomed"})
        command = [
            sys.executable, "-m", "raynas.cli", "search", "as-vit", "--img-size", "32", "--proxy",
            f"{tmp_path / 'proxy.py'}:TALKS", "-o", "talks", "--set", f"talks.where={where}", "--searcher",
            "regularized_evolution", "--window", "16", "--budget", "400", "--workers", "2", "--address",
            cluster.address, "--out", str(run),
        ]  # fmt: skip
        with (tmp_path / "out").open("w") as out, (tmp_path / "err").open("w") as err:
            driver = subprocess.Popen(command, stdout=out, stderr=err)
            killed = wait_for("doomed", 3)
            os.kill(killed, signal.SIGKILL)
            wait_for("doomed", 3)
            cluster.remove_node(doomed, allow_graceful=False)
            assert driver.wait(240) == 0, (tmp_path / "err").read_text()
    finally:
        cluster.shutdown()
    said = (tmp_path / "err").read_text()
    assert [line for line in said.splitlines() if not any(re.fullmatch(ours, line) for ours in OURS)] == []
    assert re.search(r"^worker process .*", said, re.MULTILINE) and re.search(r"^node .* is lost", said, re.MULTILINE)
    assert "one more architecture" not in (tmp_path / "out").read_text()
    log = (run / "ray.log").read_text()
    assert "one more architecture" in log
    assert f"pid={killed}" in log
    assert "has been marked dead" in log
    assert "Autoscaler status" not in log  # of its log, only what Ray marks as news
    assert json.loads((run / "summary.json").read_text())["status"] == "completed"


@pytest.mark.long
def test_lines_of_tune_and_of_trials_are_in_the_log_of_a_sweep(tmp_path: Path) -> None:
    command = [
        sys.executable, "-m", "raynas.cli", "search", "as-vit", "-o", "num_params", "--repeat", "2", "--budget", "5",
        "--searcher", "random", "--workers", "1", "--out", str(tmp_path / "sweep"),
    ]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=300)
    assert done.returncode == 0, done.stderr
    assert not re.search(r"pid=|ray[:./]|\bRay\b|Tune|Trial", done.stderr.replace(str(tmp_path), "")), done.stderr
    assert "local Ray instance" in (tmp_path / "sweep" / "ray.log").read_text()


def test_messages_and_warnings_of_ray_go_to_the_log_until_its_end(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, logger="ray")  # as `connect` has it
    ray, logger, place = imported_ray(), logging.getLogger("ray.train"), tmp_path / "ray.log"
    before = logging.getLogger("ray").handlers[:], ray._private.worker.print_to_stdstream, warnings.showwarning
    log = RayLog(place)
    with said_to(log), warnings.catch_warnings():
        warnings.simplefilter("always")
        logger.warning("two\nlines \x1b[31m")
        assert not place.exists()  # a start that fails leaves nothing
        log.begin()
        assert place.exists()
        warnings.warn_explicit("old", ray.util.annotations.RayDeprecationWarning, "mine.py", 1)
        ray._private.worker.print_to_stdstream(
            {"lines": ["hello"], "pid": 7, "ip": "10.0.0.1", "is_err": True}, ignore_prefix=False
        )
    lines = [line.split(" ", 2)[2] for line in place.read_text().splitlines()]
    assert lines[:2] == ["ray.train warning: two", "ray.train warning: lines \\x1b[31m"]
    assert lines[2].startswith("warning: mine.py:1: RayDeprecationWarning: old")
    assert lines[-1] == "pid=7 (10.0.0.1): hello"
    assert capsys.readouterr() == ("", "")
    now = logging.getLogger("ray").handlers[:], ray._private.worker.print_to_stdstream, warnings.showwarning
    assert now == before


def test_a_run_in_a_store_has_its_log_on_this_machine_and_says_where() -> None:
    assert ray_log_place(as_path("s3://bucket/run")) is None
    told: list[str] = []
    log = RayLog(None, told.append)
    log.begin()
    assert told == []  # as nothing has been said
    log.write("hello", "pid=7")
    log.write("again", "pid=7")
    log.close()
    (line,) = told
    found = re.fullmatch(r"what Ray says by itself is in (\S+) on this machine", line)
    assert found is not None
    try:
        assert [one.split(": ")[-1] for one in Path(found[1]).read_text().splitlines()] == ["hello", "again"]
    finally:
        Path(found[1]).unlink()


def test_the_log_of_a_run_in_a_store_comes_into_its_folder(bucket: ObjectPath) -> None:
    folder = bucket / "run"
    told: list[str] = []
    for text in ("hello", "again"):
        log = RayLog(ray_log_place(folder), told.append, ray_log_keeper(folder))
        log.begin()
        log.write(text, "pid=7")
        log.close()
        log.close()  # as both the context and its owner may
    lines = read_bytes(folder / "ray.log").decode().splitlines()
    assert [line.split(": ")[-1] for line in lines] == ["hello", "again"]
    for line in told:
        found = re.fullmatch(r"what Ray says .* is in (\S+) on this machine, and in the run folder once .*", line)
        assert found is not None
        assert not Path(found[1]).exists()


def test_a_log_that_no_store_takes_stays_where_it_is() -> None:
    def refuse(text: str) -> None:
        raise StoreError("away")

    told: list[str] = []
    log = RayLog(None, told.append, refuse)
    log.begin()
    log.write("hello", "pid=7")
    log.close()
    place = Path(told[0].split(" is in ")[1].split(" on this")[0])
    assert place.read_text().endswith("hello\n")
    place.unlink()


def test_a_log_alone_does_not_keep_a_run_from_its_folder(tmp_path: Path) -> None:
    """As one that ended before it was described leaves it."""
    (tmp_path / "ray.log").write_text("hello\n")
    check_folder(tmp_path, {"seed": 1}, resume=False)
    check_folder(tmp_path, {"seed": 1}, resume=True)
