"""Finalists, variants and sweeps over machines that share an object store, or a disk: lost nodes, lost drivers."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from elastic_runs import content, search, wait_until, where
from machines import Machine
from store_cluster import Cluster
from toy_finalists import best_of_search
from toy_trainings import largest_difference, weights

from raynas.trials.folder import load_trials

pytest_plugins = ["store_cluster_fixtures"]
pytestmark = [pytest.mark.netns, pytest.mark.long]

LOST = r"its node [0-9a-f]{8} \(.+\) is lost; "


def has_trial(machine: Machine) -> bool:
    """Whether a trial is under way on a machine; its process is called by the class that Tune makes of ours."""
    return "ray::ResourceTrainable" in machine.run(["ps", "-ww", "-eo", "args"]).stdout


# -- where trials may be -----------------------------------------------------------------------------------------------

REACH = """
import os
from pathlib import Path
import ray
from raynas.storage.paths import as_path
from raynas.trials.mark import Mark
from raynas.trials.reach import reach_of
ray.init({address!r}, log_to_driver=False, logging_level="error")
found = {{}}
for folder in {folders!r}:
    lines = []
    if "://" not in folder:
        os.makedirs(folder, exist_ok=True)
    reach = reach_of(Mark.put(as_path(folder)), {{"CPU": 1}}, [Path(one) for one in {paths!r}], what="trainings",
        log=lines.append)
    hosts = {{node["NodeID"]: node["NodeManagerAddress"] for node in ray.nodes()}}
    found[folder] = [reach.places.only_here, [hosts[one] for one in reach.places.avoided], len(reach.nodes), lines]
found
"""


def test_trials_may_be_on_the_nodes_that_see_the_folder(cluster: Cluster, tmp_path: Path) -> None:
    first, other = cluster.nodes[0], cluster.nodes[1]
    shared, store, alone = str(tmp_path / "run"), f"{cluster.bucket()}/run", "/dev/shm/run"

    def found(*folders: str, paths: tuple[str, ...] = ()) -> Any:
        return cluster.value(REACH.format(address=cluster.address, folders=folders, paths=paths))

    told = found(shared, store, alone)
    for folder in (shared, store):
        only_here, avoided, nodes, lines = told[folder]
        assert (only_here, avoided, nodes, lines) == (False, [], 4, [])
    only_here, avoided, nodes, (line,) = told[alone]
    assert (only_here, avoided, nodes) == (True, [], 1)
    assert line.startswith("all trainings run on this node, as no other one can take them (node ")
    assert line.count(": it does not see /dev/shm/run") == 3
    assert line.endswith(": name a folder on storage that all nodes see, or in an object store")
    # One node alone is without something that trials read.
    for machine in (cluster.head, *cluster.nodes):
        if machine is not other:
            machine.run(["touch", "/dev/shm/images"])
    for folder in (shared, store):
        only_here, avoided, nodes, (line,) = found(folder, paths=("/dev/shm/images",))[folder]
        assert (only_here, avoided, nodes) == (False, [other.address], 3)
        assert re.fullmatch(r"node [0-9a-f]{8} \(.+\) is not used for trainings: it does not see /dev/shm/images", line)
    assert first.address not in avoided


# -- finalists ---------------------------------------------------------------------------------------------------------

RUNG = 12
TRAINING = (
    "--halving", "synchronous", "--top", "3", "--grace", str(RUNG), "--epochs", str(2 * RUNG), "--data", "digits",
    "--max-images", "220", "--batch-size", "32", "--augment", "light", "--lr", "1e-3", "--threads", "1",
)  # fmt: skip
TRIALS = """
from raynas.trials.folder import load_trials
from raynas.storage.files import exists
from raynas.storage.paths import as_path
folder = as_path({uri!r})
trials = load_trials(folder, {kind!r}).summary.get("trials", []) if exists(folder / "summary.json") else []
[[one["name"], one["status"], one["epochs_done"], one["top1"]] for one in trials]
"""
SAVED = """
import torch
from toy_trainings import weights
from raynas.storage.paths import as_path
torch.save({{name: weights(as_path({uri!r}) / name) for name in {names!r}}}, {to!r})
"""


def trials_of(cluster: Cluster, uri: str, kind: str) -> list[list[Any]]:
    """Name, status, epochs done and accuracy of each training in a store, the most accurate first."""
    found: list[list[Any]] = cluster.value(TRIALS.format(uri=uri, kind=kind))
    return found


def check_undisturbed_is_alike(cluster: Cluster, uri: str, kind: str, words: Sequence[str], to: Path) -> None:
    """Carry out the same command on this machine alone, and compare what came of it and the weights."""
    undisturbed = [sys.executable, "-m", "raynas.cli", *words, "--out", str(to / "run"), "--address", "local"]
    alone = subprocess.run(undisturbed, capture_output=True, text=True, check=False)
    assert alone.returncode == 0, alone.stderr
    expected = load_trials(to / "run", kind).summary["trials"]
    told = [[one[name] for name in ("name", "status", "epochs_done", "top1")] for one in expected]
    assert trials_of(cluster, uri, kind) == told
    names = [one["name"] for one in expected]
    cluster.python(SAVED.format(uri=uri, names=names, to=str(to / "weights.pt")))
    stored = torch.load(to / "weights.pt", weights_only=True)
    assert list(stored) == names
    for name, of_store in stored.items():
        assert largest_difference(of_store, weights(to / "run" / name)) == 0


def test_finalists_in_a_store_survive_the_loss_of_a_node_and_of_their_driver(cluster: Cluster, tmp_path: Path) -> None:
    source, uri = best_of_search(tmp_path / "search"), f"{cluster.bucket()}/finalists"

    trials = partial(trials_of, cluster, uri, "finalists")
    words = ("train", "--finalists", str(source), *TRAINING)
    driver = cluster.start(tmp_path / "said", *words, "--out", uri)
    wait_until(driver, lambda: sum(one[2] for one in trials()) > 0)
    assert all(has_trial(node) for node in cluster.nodes)
    refused = cluster.start(tmp_path / "refused", "train", "--resume", "--out", uri, machine=cluster.nodes[1])
    cluster.lose(cluster.nodes[0])
    wait_until(driver, lambda: re.search(LOST, (tmp_path / "said").read_text()) is not None)
    assert refused.wait(120) == 1
    assert "finalists is being written by process" in (tmp_path / "refused").read_text().strip().splitlines()[-1]
    reached = sum(one[2] for one in trials())
    wait_until(driver, lambda: sum(one[2] for one in trials()) > reached + 4)
    os.killpg(driver.pid, signal.SIGKILL)
    driver.wait()
    stood = trials()
    assert not all(one[1] in ("completed", "stopped") for one in stood)
    other = cluster.nodes[1]
    again = cluster.start(tmp_path / "again", "train", "--resume", "--out", uri, machine=other)
    assert again.wait(400) == 0, (tmp_path / "again").read_text()
    found = trials()
    said = (tmp_path / "said").read_text()
    assert re.search(rf"0\d-[0-9a-f]{{8}}: {LOST}the training goes on from its last checkpoint", said)
    assert "Traceback" not in said + (tmp_path / "again").read_text()

    check_undisturbed_is_alike(cluster, uri, "finalists", words, tmp_path)

    # What is read and taken from there.
    commands = (
        ("report", uri), ("list", "runs", uri.rpartition("/")[0], "--json"),
        ("export", uri, "--out", str(tmp_path / "exported")),
    )  # fmt: skip
    done = [other.raynas(*command, env=cluster.env) for command in commands]
    assert [one.returncode for one in done] == [0, 0, 0], [one.stderr for one in done]
    assert done[0].stdout == f"{uri}/report.html\n"
    (row,) = json.loads(done[1].stdout)
    assert (row["folder"], row["kind"], row["status"], row["done"]) == (uri, "finalists", "completed", 3)
    assert json.loads((tmp_path / "exported" / "config.json").read_text())["top1"] == found[0][3]


# -- variants of a supernet --------------------------------------------------------------------------------------------

SUPERNETS = (
    "supernet", "train", "vit-res-nano", "--vary", "subnets=1,2", "--vary", "sampling=multi,single", "--vary",
    "lr=1e-3,3e-3", "--epochs", "2", "--data", "digits", "--img-size", "32", "--max-images", "200", "--batch-size",
    "16", "--augment", "none", "--threads", "1", "--loader-processes", "0", "--set", "choice_warmup_epochs=0",
)  # fmt: skip


def test_supernets_under_several_settings_survive_the_loss_of_a_node(cluster: Cluster, tmp_path: Path) -> None:
    uri = f"{cluster.bucket()}/variants"

    trials = partial(trials_of, cluster, uri, "variants")
    driver = cluster.start(tmp_path / "said", *SUPERNETS, "--out", uri)
    wait_until(driver, lambda: sum(one[2] for one in trials()) > 0)
    wait_until(driver, lambda: has_trial(cluster.nodes[0]))
    cluster.lose(cluster.nodes[0])
    assert driver.wait(900) == 0, (tmp_path / "said").read_text()
    said = (tmp_path / "said").read_text()
    assert re.search(
        rf"\d-subnets=\d-sampling=\w+-lr=0\.00\d: {LOST}the training goes on from its last checkpoint", said
    )
    assert "Traceback" not in said
    found = trials()
    assert len(found) == 8
    assert {(status, epochs) for _, status, epochs, _ in found} == {("completed", 2)}

    check_undisturbed_is_alike(cluster, uri, "variants", SUPERNETS, tmp_path)
    page = cluster.head.raynas("report", uri, env=cluster.env)
    assert page.stdout == f"{uri}/report.html\n", page.stderr


# -- sweeps ------------------------------------------------------------------------------------------------------------

BUDGET = 100
SWEEP = ("--searcher", "random", "--repeat", "2", "--budget", str(BUDGET))
NAMES = [f"{searcher}-seed{seed}" for searcher in ("random", "regularized_evolution") for seed in (0, 1)]
TABLES = """
import raynas
from raynas.storage.paths import as_path
from raynas.storage.result_store import TIMING_COLUMNS
runs = {{name: raynas.load_run(as_path({uri!r}) / name) for name in {names!r}}}
{{name: run.evaluations.drop_columns([*TIMING_COLUMNS, "settings"]).to_pylist() for name, run in runs.items()}}
"""


def test_a_sweep_in_a_store_survives_the_loss_of_a_node_and_of_its_driver(cluster: Cluster, tmp_path: Path) -> None:
    uri = f"{cluster.bucket()}/sweep"

    words = list(search(tmp_path, *SWEEP, "--workers", "1"))
    words[words.index("--out") + 1] = uri
    driver = cluster.start(tmp_path / "said", *words)
    wait_until(driver, lambda: len({place for _, place in where(tmp_path)}) > 1)
    cluster.lose(next(node for node in cluster.nodes if has_trial(node)))
    wait_until(driver, lambda: re.search(LOST, (tmp_path / "said").read_text()) is not None)
    before = len(where(tmp_path))
    wait_until(driver, lambda: len(where(tmp_path)) > before + 10)
    os.killpg(driver.pid, signal.SIGKILL)
    driver.wait()
    resumed = ("search", "--resume", "--trust-code", "--out", uri)
    again = cluster.start(tmp_path / "again", *resumed, machine=cluster.nodes[1])
    assert again.wait(400) == 0, (tmp_path / "again").read_text()
    said = (tmp_path / "said").read_text()
    assert re.search(LOST + "the search goes on in a new process from what is stored", said)
    assert "Traceback" not in said + (tmp_path / "again").read_text()

    found = cluster.value(TABLES.format(uri=uri, names=NAMES))
    for name in NAMES:
        searcher, seed = name.split("-seed")
        folder = tmp_path / name
        folder.mkdir()
        alone = ("--budget", str(BUDGET), "--seed", seed, "--workers", "0", "--set", "waits.pause_s=0")
        words = list(search(folder, *alone))
        words[words.index("--searcher") + 1] = searcher
        done = cluster.head.raynas(*words)
        assert done.returncode == 0, done.stderr
        expected = [{**row, "reused": False} for row in content(folder)]
        rows = sorted(found[name], key=lambda row: row["architecture_key"])
        assert [{**row, "reused": False} for row in rows] == json.loads(json.dumps(expected))

    listed, page = (
        cluster.head.raynas(*command, env=cluster.env)
        for command in (("list", "runs", uri.rpartition("/")[0], "--json"), ("report", uri))
    )
    (row,) = json.loads(listed.stdout)
    assert (row["kind"], row["status"], row["done"], row["total"]) == ("sweep", "completed", 4, 4)
    assert page.stdout == f"{uri}/report.html\n", page.stderr
