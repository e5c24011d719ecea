"""Clusters: joining one by its address, and losing a node of it."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import ray
import yaml
from toy_scores import TOY, toy_space

import raynas
from raynas.errors import PoolError
from raynas.run import Listener
from raynas.store import TIMING_COLUMNS

ROOT = Path(__file__).parents[1]


def content(run: raynas.Run) -> list[dict[str, Any]]:
    rows = run.evaluations.drop_columns([*TIMING_COLUMNS, "settings"]).to_pylist()
    return sorted(rows, key=lambda row: (row["architecture_key"], row["proxy"]))


def toy_search(folder: Path, **settings: Any) -> raynas.Run:
    return raynas.search(
        toy_space(), proxies=[TOY], objectives=["toy"], searcher="regularized_evolution", window=16, budget=120,
        out=folder, **settings,
    )  # fmt: skip


@pytest.fixture
def head() -> Iterator[str]:
    """The address of a Ray head that another process has started."""
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        port = found.getsockname()[1]
    command = [
        str(Path(sys.executable).with_name("ray")),
        "start",
        "--head",
        "--block",
        f"--port={port}",
        "--num-cpus=2",
    ]
    process = subprocess.Popen(
        [*command, "--node-ip-address=127.0.0.1", "--include-dashboard=false", "--disable-usage-stats"],
        start_new_session=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    yield f"127.0.0.1:{port}"
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def test_a_running_cluster_is_joined_by_its_address(tmp_path: Path, head: str) -> None:
    deadline = time.monotonic() + 60
    host, _, port = head.partition(":")
    while time.monotonic() < deadline:
        with socket.socket() as attempt:
            if attempt.connect_ex((host, int(port))) == 0:
                break
        time.sleep(0.2)
    run = toy_search(tmp_path / "run", address=head, workers=2)
    assert content(run) == content(toy_search(tmp_path / "serial", workers=0))
    assert not ray.is_initialized()


def test_an_address_without_a_cluster_is_an_error_and_leaves_nothing(tmp_path: Path) -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{unused.getsockname()[1]}"
    with pytest.raises(PoolError, match=f"cannot join the Ray cluster at '{address}'"):
        toy_search(tmp_path / "run", address=address, workers=2)
    assert list(tmp_path.iterdir()) == []


class Lines(Listener):
    def __init__(self) -> None:
        self.lines: list[str] = []

    def on_log(self, line: str) -> None:
        self.lines.append(line)


def test_a_lost_node_blames_nobody_and_costs_no_result(tmp_path: Path) -> None:
    from ray.cluster_utils import Cluster

    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False})
    doomed = cluster.add_node(num_cpus=1)
    ray.init(address=cluster.address, log_to_driver=False)
    lines, log = Lines(), tmp_path / "log"
    log.touch()

    def lose_the_node() -> None:
        while log.read_text().count("\n") < 30:
            time.sleep(0.05)
        cluster.remove_node(doomed, allow_graceful=False)
        cluster.add_node(num_cpus=1)

    loser = threading.Thread(target=lose_the_node)
    loser.start()
    try:
        settings = {"toy": {"pause_s": 0.05, "log": str(log)}}
        run = toy_search(tmp_path / "run", workers=2, settings=settings, listener=lines)
    finally:
        loser.join()
        ray.shutdown()
        cluster.shutdown()
    assert content(run) == content(toy_search(tmp_path / "serial", workers=0))
    assert any("node" in line and "lost" in line for line in lines.lines)
    assert not any("worker process" in line for line in lines.lines)


def test_the_launcher_accepts_cluster_yaml() -> None:
    from ray.autoscaler._private.util import prepare_config, validate_config

    validate_config(prepare_config(yaml.safe_load((ROOT / "cluster.yaml").read_text())))
