"""Nodes that are not as the driver take no part in a training: they are named in one line, before anything starts."""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Iterator
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import ray
import torch
from PIL import Image
from toy_images import encoded, noise
from toy_trainings import SMALL, StepCounter, execute_training, plan

import raynas
from raynas.cluster.ray_errors import causes_of
from raynas.errors import DataError, PoolError
from raynas.training.node_files import files_here

OWN = """
from raynas.space.build import builder
from raynas.space.registered import spaces


def build(*args, **settings):
    return builder(spaces.get("as-vit"))(*args, **settings)
"""


@pytest.fixture
def other_node(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[str, Any]]:
    """A cluster of this process's node, without cores, and of one with two that has another timm and other own code."""
    from ray.cluster_utils import Cluster

    for folder, more in (("here", ""), ("there", "# another version\n")):
        (tmp_path / folder / "own_networks").mkdir(parents=True)
        (tmp_path / folder / "own_networks" / "__init__.py").write_text(OWN + more)
    about = tmp_path / "there" / "timm-0.9.7.dist-info"
    about.mkdir()
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: timm\nVersion: 0.9.7\n")
    monkeypatch.syspath_prepend(str(tmp_path / "here"))
    monkeypatch.setenv("RAY_raylet_start_wait_time_s", "180")  # on a busy machine
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, "include_dashboard": False})
    there = os.pathsep.join([str(tmp_path / "there"), os.environ.get("PYTHONPATH", "")])
    node = cluster.add_node(num_cpus=2, env_vars={"PYTHONPATH": there})
    ray.init(address=cluster.address, log_to_driver=False, logging_level="error")
    monkeypatch.setattr("sysconfig.get_paths", lambda: {"purelib": str(tmp_path / "here")})
    yield {"id": node.node_id, "own": importlib.import_module("own_networks")}
    ray.shutdown()
    cluster.shutdown()
    del sys.modules["own_networks"]


@pytest.mark.long
def test_a_node_with_other_versions_is_refused_by_name(tmp_path: Path, other_node: dict[str, Any]) -> None:
    made = plan(workers=2)
    made = replace(made, space=replace(made.space, model=other_node["own"].build))
    listener = StepCounter()
    with pytest.raises(PoolError) as error:
        execute_training(made, tmp_path / "run", listener=listener)
    told = str(error.value)
    assert told.startswith(f"node {other_node['id'][:8]} (")
    assert "is not as the driver: own_networks is files " in told
    assert told.endswith(f"timm is 0.9.7 there and {version('timm')} here")
    assert "\n" not in told
    assert not listener.epochs


def test_what_ray_train_puts_around_a_cause_is_taken_away() -> None:
    from ray.exceptions import RayTaskError
    from ray.train.v2.api.exceptions import ControllerError, WorkerGroupError

    cause = OSError("no way")
    around = RayTaskError("execute", "many\nlines", cause)
    assert causes_of(ControllerError(around)) == [cause]
    assert causes_of(WorkerGroupError("many\nlines", {0: around, 1: cause})) == [cause, cause]
    assert causes_of(cause) == [cause]


def test_files_are_told_by_what_changes_them(tmp_path: Path) -> None:
    """Images to train on, images to evaluate on and weights, each replaced by others of the same sizes."""

    def table(name: str, *, changed: int | None = None) -> str:
        images = [Image.fromarray(noise(row ^ (row == changed), (8, 8))) for row in range(60)]
        pq.write_table(pa.table({"image": [encoded(one, "BMP") for one in images], "label": [0, 1] * 30}), name)
        return f"parquet:{name}"

    def weights(seed: int) -> None:
        torch.manual_seed(seed)
        torch.save(raynas.build("as-vit", SMALL, img_size=32, num_classes=2).state_dict(), tmp_path / "w.pt")

    settings: dict[str, Any] = {"max_images": None, "weights": str(tmp_path / "w.pt")}
    weights(0)
    data, val_data = (table(str(tmp_path / f"{name}.parquet")) for name in ("data", "val"))
    execute_training(made := plan(data=data, val_data=val_data, epochs=1, **settings), tmp_path / "run")
    task = made.task("cpu", threads=1, loader_processes=0)

    def changed(before: dict[str, str]) -> list[str]:
        now = files_here(task, tmp_path / "run")
        return [name for name in now if now[name] != before[name]]

    first = files_here(task, tmp_path / "run")
    names = [
        f"the folder {tmp_path / 'run'}", f"data {data!r}", f"data {val_data!r} to evaluate on",
        f"weights {tmp_path / 'w.pt'}",
    ]  # fmt: skip
    assert list(first) == names
    assert first[names[0]] == "there"
    assert changed(first) == []
    table(str(tmp_path / "data.parquet"), changed=22)  # one of those whose pixels the identity does not look at
    assert changed(first) == [names[1]]
    table(str(tmp_path / "val.parquet"), changed=22)
    assert changed(first) == names[1:3]
    weights(1)
    assert changed(first) == names[1:]
    (tmp_path / "run" / "run.yaml").unlink()
    assert changed(first) == names
    (tmp_path / "val.parquet").unlink()
    with pytest.raises(DataError, match="there is no file"):
        files_here(task, tmp_path / "run")
