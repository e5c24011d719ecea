"""What goes through the pool, and a training, on three machines with the folder in a store: a node is lost on the way.

Finalists, variants and sweeps have theirs in `test_trials_on_nodes.py`.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from elastic_runs import search, wait_until, where
from store_cluster import Cluster
from toy_bench import write_table

import raynas
from raynas.space.registered import spaces

pytest_plugins = ["store_cluster_fixtures"]
pytestmark = [pytest.mark.netns, pytest.mark.long]

START = "8,2,3|4,1,2|4,1,4|4,1,6|32"
TABLE = """
import raynas
from raynas.storage.paths import as_path
from raynas.storage.result_store import TIMING_COLUMNS
run = raynas.load_run(as_path({folder!r}))
rows = run.evaluations.drop_columns([*TIMING_COLUMNS, "settings", "reused"]).to_pylist()
[run.summary["status"], sorted(rows, key=lambda row: (row["architecture_key"], row["proxy"]))]
"""
NUM_STORED = """
import raynas
from raynas.errors import RaynasError
from raynas.storage.paths import as_path
def stored():
    try:
        return raynas.load_run(as_path({folder!r})).evaluations.num_rows
    except RaynasError:
        return 0
stored()
"""


def supernet_of_digits(folder: Path) -> None:
    """A supernet that is trained for an epoch, on a disk that all machines see."""
    raynas.train_supernet(
        "vit-res-nano", data="digits", img_size=32, epochs=1, batch_size=32, max_images=300, augment="light",
        loggers=[], loader_processes=0, threads=1, val_fraction=0.5, out=folder,
    )  # fmt: skip


def truth_table(folder: Path) -> Path:
    """As-ViTs with labels that follow from nothing."""
    rng = np.random.default_rng(0)
    space = spaces.get("as-vit")
    chosen = list({one.key: one for one in (space.sample(rng) for _ in range(90))}.values())
    top1 = [float(value) for value in rng.random(len(chosen))]
    return write_table(folder / "table.csv", chosen, {"top1": top1})


def words_of(undertaking: str, folder: Path) -> tuple[str, ...]:
    """The words of a command, but those on workers and the folder of the run."""
    words = search(folder, "--budget", "120")
    waits = words[words.index("--proxy") + 1]
    slow = ("--img-size", "32", "--set", f"waits.log={folder / 'where'}")
    if undertaking == "search":
        at = words.index("--out")
        return (*words[:at], *words[at + 2 :])
    if undertaking == "score":
        return ("score", "as-vit", "--samples", "120", "--proxy", waits, *slow)
    if undertaking == "bench":
        return ("bench", "proxies", "--space", "as-vit", "--truth", str(truth_table(folder)), "--label", "top1", "-p",
                waits, *slow)  # fmt: skip
    if undertaking == "scale":
        return ("scale", START, "--stop", "num_params>=8e6", "-o", "waits", "-o", "length_distortion", "--proxy", waits,
                *slow)  # fmt: skip
    supernet_of_digits(folder / "supernet")
    return ("supernet", "search", str(folder / "supernet"), "--budget", "150", "--compare", "0", "--searcher",
            "regularized_evolution", "--window", "16")  # fmt: skip


@pytest.mark.parametrize("undertaking", ["search", "score", "bench", "scale", "supernet search"])
def test_what_is_in_a_store_is_whole_though_a_node_is_lost(cluster: Cluster, tmp_path: Path, undertaking: str) -> None:
    words, uri, said = words_of(undertaking, tmp_path), f"{cluster.bucket()}/run", tmp_path / "said"
    driver = cluster.start(said, *words, "--workers", "1:3", "--out", uri)
    lost = cluster.nodes[0]
    if undertaking == "supernet search":
        wait_until(driver, lambda: cluster.value(NUM_STORED.format(folder=uri)) > 0)
    else:
        wait_until(driver, lambda: {node.address for node in cluster.nodes} <= {place for _, place in where(tmp_path)})
    cluster.lose(lost)
    before = len(where(tmp_path))
    assert driver.wait(400) == 0, said.read_text()
    assert "Traceback" not in said.read_text()
    status, rows = cluster.value(TABLE.format(folder=uri))
    assert status == "completed"
    if undertaking != "supernet search":
        assert len(where(tmp_path)) > before  # it was not done by then
        assert re.search(rf"{lost.address}|node [0-9a-f]{{8}}", said.read_text()), said.read_text()

    undisturbed = tmp_path / "undisturbed"
    pause = () if undertaking == "supernet search" else ("--set", "waits.pause_s=0")
    done = cluster.head.raynas(*words, *pause, "--workers", "0", "--out", str(undisturbed))
    assert done.returncode == 0, done.stderr
    assert rows == json.loads(json.dumps(cluster.value(TABLE.format(folder=str(undisturbed)))[1]))
    page = cluster.head.raynas("report", uri, env=cluster.env)
    assert page.stdout == f"{uri}/report.html\n", page.stderr


TRAINING = """
from raynas.storage.files import exists
from raynas.storage.paths import as_path
from raynas.training.folder import load_training
folder = as_path({folder!r})
def rows():
    if not exists(folder / "metrics.parquet"):
        return ["", []]
    training = load_training(folder)
    return [training.summary["status"], training.metrics.select(["train_loss", "val_loss"]).to_pylist()]
rows()
"""


def test_a_training_in_a_store_ends_as_on_one_worker_though_a_node_is_lost(cluster: Cluster, tmp_path: Path) -> None:
    words = (
        "train", "as-vit-small", "--data", "digits", "--img-size", "32", "--max-images", "300", "--batch-size", "40",
        "--augment", "none", "--epochs", "14", "--threads", "1", "--loader-processes", "0",
    )  # fmt: skip
    uri, said = f"{cluster.bucket()}/run", tmp_path / "said"

    def state() -> tuple[str, list[dict[str, Any]]]:
        status, rows = cluster.value(TRAINING.format(folder=uri))
        return status, rows

    driver = cluster.start(said, *words, "--workers", "2", "--min-workers", "1", "--out", uri)
    wait_until(driver, lambda: len(state()[1]) > 1)
    at_work = [node for node in cluster.nodes if "ray::RayTrainWorker" in node.run(["ps", "-ww", "-eo", "args"]).stdout]
    assert len(at_work) == 2, said.read_text()
    cluster.lose(at_work[0])
    assert len(state()[1]) < 14
    assert driver.wait(500) == 0, said.read_text()
    assert "Traceback" not in said.read_text()
    status, rows = state()
    assert (status, len(rows)) == ("completed", 14)
    done = cluster.head.raynas(*words, "--workers", "0", "--out", str(tmp_path / "undisturbed"))
    assert done.returncode == 0, done.stderr
    expected = cluster.value(TRAINING.format(folder=str(tmp_path / "undisturbed")))[1]
    for row, other in zip(rows, expected, strict=True):
        assert row == pytest.approx(other, rel=1e-3)
