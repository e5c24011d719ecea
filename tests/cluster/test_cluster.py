"""Clusters: joining one by its address, and losing a node of it."""

from __future__ import annotations

import os
import re
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest
import ray
import torch
import yaml
from heads import listening_head
from toy_scores import TOY, toy_space

import raynas
from raynas.errors import PoolError
from raynas.searching.run import SearchListener
from raynas.storage.result_store import TIMING_COLUMNS

TOKEN = "a" * 64


def content(run: raynas.Run) -> list[dict[str, Any]]:
    rows = run.evaluations.drop_columns([*TIMING_COLUMNS, "settings"]).to_pylist()
    return sorted(rows, key=lambda row: (row["architecture_key"], row["proxy"]))


def toy_search(folder: Path, **settings: Any) -> raynas.Run:
    return raynas.search(
        toy_space(), proxies=[TOY], objectives=["toy"], searcher="regularized_evolution", window=16, budget=120,
        out=folder, **settings,
    )  # fmt: skip


AS_VIT = {"space": "as-vit", "img_size": 32, "budget": 8, "settings": {"length_distortion": {"repeats": 1}}}


@pytest.fixture
def head() -> Iterator[str]:
    """The address of a Ray head that another process has started, which asks for a token."""
    with listening_head({"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": TOKEN}) as (address, _):
        yield address


def search_on(address: str, token: str, tmp_path: Path) -> subprocess.CompletedProcess[str]:
    config = tmp_path / "search.yaml"
    config.write_text(yaml.safe_dump(AS_VIT))
    command = [sys.executable, "-m", "raynas.cli", "search", "--config", str(config), "--address", address]
    return subprocess.run(
        [*command, "--workers", "2", "--out", str(tmp_path / "run")], capture_output=True, text=True, check=False,
        env={**os.environ, "RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": token},
    )  # fmt: skip


@pytest.mark.slow
def test_a_running_cluster_is_joined_by_its_address_and_token(tmp_path: Path, head: str) -> None:
    done = search_on(head, TOKEN, tmp_path)
    assert done.returncode == 0, done.stderr
    chosen = dict(AS_VIT)
    serial = raynas.search(str(chosen.pop("space")), workers=0, out=tmp_path / "serial", **chosen)
    assert content(raynas.load_run(tmp_path / "run")) == content(serial)


@pytest.mark.slow
def test_a_wrong_token_is_an_error_that_says_what_to_set(tmp_path: Path, head: str) -> None:
    done = search_on(head, "b" * 64, tmp_path)
    assert done.returncode == 1
    assert "does not let this process in: set RAY_AUTH_MODE=token and RAY_AUTH_TOKEN" in done.stderr
    assert not (tmp_path / "run").exists()


def test_an_address_without_a_cluster_is_an_error_and_leaves_nothing(tmp_path: Path) -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{unused.getsockname()[1]}"
    with pytest.raises(PoolError, match=f"cannot join the Ray cluster at '{address}'"):
        toy_search(tmp_path / "run", address=address, workers=2)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
def test_a_ray_that_does_not_start_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    command = [
        sys.executable,
        "-m",
        "raynas.cli",
        "search",
        "vit",
        "-o",
        "synflow",
        "--budget",
        "2",
        "--img-size",
        "32",
    ]
    done = subprocess.run(
        [*command, "--workers", "1", "--out", str(tmp_path / "run")],
        env={**os.environ, "RAY_TMPDIR": str(tmp_path / "file")},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 1
    assert "cannot start Ray on this machine: " in done.stderr
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "run").exists()


class Loses(SearchListener):
    """Replaces a node of the cluster by another once both of two workers have scored.

    Args:
        log: Where the proxy `toy` writes which process scored.
    """

    def __init__(self, cluster: Any, doomed: Any, log: Path) -> None:
        self.cluster = cluster
        self.doomed = doomed
        self.log = log
        self.lines: list[str] = []
        self.has_lost = False

    def on_log(self, line: str) -> None:
        self.lines.append(line)

    def on_tell(self, evaluation: Any, told: int, ranking: Any) -> None:
        if self.has_lost:
            return
        if len({line.split()[1] for line in self.log.read_text().splitlines()}) < 2:
            time.sleep(0.2)  # one worker alone must not come to the end before the other has started
            return
        self.cluster.remove_node(self.doomed, allow_graceful=False)
        self.cluster.add_node(num_cpus=1)
        self.has_lost = True


@pytest.mark.slow
def test_a_lost_node_blames_nobody_and_costs_no_result(tmp_path: Path) -> None:
    from ray.cluster_utils import Cluster

    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False})
    loses = Loses(cluster, cluster.add_node(num_cpus=1), tmp_path / "log")
    settings = {"toy": {"pause_s": 0.1, "log": str(loses.log)}}
    ray.init(address=cluster.address, log_to_driver=False, logging_level="error")
    try:
        run = toy_search(tmp_path / "run", workers=2, settings=settings, listener=loses)
    finally:
        ray.shutdown()
        cluster.shutdown()
    assert loses.has_lost
    assert content(run) == content(toy_search(tmp_path / "serial", workers=0))
    (lost,) = [line for line in loses.lines if "is lost" in line]
    # That it is the node may be known later than all is scored elsewhere.
    assert re.match(r"node \w+ .*is lost; what its workers had|worker process \d+ is lost; scored again", lost), lost


class Lines(SearchListener):
    """Keeps what a run says."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def on_log(self, line: str) -> None:
        self.lines.append(line)


@pytest.mark.slow
def test_nodes_with_other_code_or_another_kind_of_processor_are_named_and_not_used(tmp_path: Path) -> None:
    """Real nodes: on one, another version of timm is installed before this one; one has no vector instructions."""
    from ray.cluster_utils import Cluster

    installed = tmp_path / "timm-0.9.7.dist-info"
    installed.mkdir()
    (installed / "METADATA").write_text("Metadata-Version: 2.1\nName: timm\nVersion: 0.9.7\n")
    here = torch.backends.cpu.get_cpu_capability()
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False})
    path = os.environ.get("PYTHONPATH", "")
    cluster.add_node(num_cpus=1, env_vars={"PYTHONPATH": f"{tmp_path}{os.pathsep}{path}"})
    cluster.add_node(num_cpus=1, env_vars={"ATEN_CPU_CAPABILITY": "default"})
    ray.init(address=cluster.address, log_to_driver=False, logging_level="error")
    heard = Lines()
    log = tmp_path / "log"
    try:
        settings = {"toy": {"pause_s": 0.1, "log": str(log)}}
        run = toy_search(tmp_path / "run", workers=3, settings=settings, listener=heard, device_type=here)
    finally:
        ray.shutdown()
        cluster.shutdown()
    assert len({line.split()[1] for line in log.read_text().splitlines()}) == 1
    assert content(run) == content(toy_search(tmp_path / "serial", workers=0))
    unused = sorted(line.partition("is not used: ")[2] for line in heard.lines if "is not used" in line)
    assert len(unused) == 2, heard.lines
    assert unused[0] == f"it computes on DEFAULT, and this run on {here}"
    assert unused[1] == f"timm is 0.9.7 there and {version('timm')} here"
