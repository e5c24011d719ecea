"""Trainings whose folder is in an object store are as those on a disk: killed, resumed, displaced, taken from."""

from __future__ import annotations

import signal
import subprocess
import time
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import pytest
import torch
from object_stores import LEASE_S, python_process
from safetensors.torch import save
from toy_images import png
from toy_trainings import (
    SMALL,
    StepCounter,
    execute_training,
    largest_difference,
    plan,
    trained,
    weights,
    with_broken_image,
)

import raynas
from raynas import api
from raynas.errors import StoreError
from raynas.storage.files import exists, files_below, read_bytes, write_atomically
from raynas.storage.paths import ObjectPath
from raynas.storage.run_folder import read_description
from raynas.training.checkpoints import BEST, LAST, PREVIOUS, checkpoint_folder, read_checkpoint, read_weights
from raynas.training.folder import load_training

pytest_plugins = ["object_store_fixtures"]

TIMES = ("images_per_s", "train_s", "data_wait_s", "eval_s", "seconds")


def driver(folder: Path, **settings: Any) -> AbstractContextManager[subprocess.Popen[str]]:
    """A process that carries out, or goes on with, a training; it is killed in the end."""
    code = (
        "from toy_trainings import *\nfrom raynas.storage.paths import as_path\n"
        f"execute_training(plan(**{settings!r}), as_path({str(folder)!r}), resume=True)"
    )
    return python_process(code)


def wait_for(path: Path, process: subprocess.Popen[str]) -> None:
    deadline = time.monotonic() + 120
    while not exists(path):
        assert process.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.05)


def metrics(folder: Path) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = load_training(folder).metrics.drop_columns(list(TIMES)).to_pylist()
    return rows


def test_a_training_in_a_store_equals_one_on_a_disk(bucket: ObjectPath, tmp_path: Path) -> None:
    here, there = tmp_path / "run", bucket / "runs" / "run"
    expected, found = (trained(folder, loggers=["tensorboard"]) for folder in (here, there))
    assert largest_difference(expected, found) == 0
    assert metrics(there) == metrics(here)
    written = {path.relative_to(there).as_posix() for path in files_below(there)}
    assert {f"checkpoints/{name}" for name in (LAST, BEST, PREVIOUS)} < written
    # Of the same steps, though not of the same seconds.
    (events,) = (path for path in files_below(there) if path.parent.name == "tensorboard")
    (of_disk,) = (here / "tensorboard").iterdir()
    assert abs(len(read_bytes(events)) - of_disk.stat().st_size) < 500


def test_a_trained_network_is_taken_from_a_store(
    bucket: ObjectPath, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    there = bucket / "run"
    trained(there, epochs=1)
    first = weights(there)
    again = plan(weights=str(checkpoint_folder(there) / LAST), epochs=1)
    execute_training(again, tmp_path / "again")
    assert largest_difference(first, weights(tmp_path / "again")) > 0
    with write_atomically(bucket / "weights.safetensors") as file:
        file.write(save(first))
    assert largest_difference(first, read_weights(bucket / "weights.safetensors")) == 0
    taught = raynas.train(
        "as-vit", architecture="4,2,2|2,1,2|2,1,2|2,1,2|8,8", teacher=str(there), img_size=32, data="digits",
        max_images=60, batch_size=30, epochs=1, workers=0, loggers=[], out=bucket / "taught",
    )  # fmt: skip
    assert taught.summary["status"] == "completed"
    found = api.evaluate(there, out=bucket / "evaluation" / "found.json")
    assert found.top1 == pytest.approx(load_training(there).summary["top1"])
    assert exists(bucket / "evaluation" / "found.json")
    api.evaluate(there, out=bucket / "tested", shown_images=2)
    assert "data:image/png" in read_bytes(api.report(bucket / "tested")).decode()
    with write_atomically(bucket / "photos" / "below" / "a photo.png") as file:
        file.write(png(0))
    api.predict(str(there), f"{bucket}/photos", out=bucket / "photos.csv")
    assert read_bytes(bucket / "photos.csv").decode().splitlines()[1].startswith("below/a photo.png,")
    model = load_training(str(there)).model()
    assert largest_difference(first, model.state_dict()) == 0


def test_images_in_a_store_are_those_of_a_disk(
    bucket: ObjectPath, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of a training, an evaluation, and scores alike."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    here = with_broken_image(tmp_path / "images.parquet", row=None)
    with write_atomically(bucket / "images.parquet") as file:
        file.write((tmp_path / "images.parquet").read_bytes())
    there = f"parquet:{bucket}/images.parquet"
    found = {}
    for name, data in (("here", here), ("there", there)):
        folder = tmp_path / name
        trained(folder, data=data, epochs=1)
        loss = api.evaluate(folder, data=data, out=folder / "found.json").loss
        scores = raynas.score(
            "as-vit", architectures=[SMALL], proxies=["ntk_condition"], data=data, img_size=32, workers=0,
            batch_size=4, out=tmp_path / f"{name}-scores",
        )  # fmt: skip
        value = scores.evaluations["value"].to_pylist()
        found[name] = loss, value, load_training(folder).description["identity"]["data"]["images"]
    assert found["there"] == found["here"]
    assert read_description(tmp_path / "there")["config"]["data"] == there
    assert len([path for path in (tmp_path / "cache" / "raynas").rglob("*.parquet") if path.is_file()]) == 1


def test_a_damaged_checkpoint_is_gone_back_from(bucket: ObjectPath, tmp_path: Path) -> None:
    expected = trained(tmp_path / "run")
    trained(bucket / "run")
    last = checkpoint_folder(bucket / "run") / LAST
    content = read_bytes(last)
    with write_atomically(last) as file:
        file.write(content[:-1000])
    with pytest.raises(StoreError, match="is damaged or no checkpoint"):
        read_checkpoint(last)
    listener = StepCounter()
    execute_training(plan(), bucket / "run", resume=True, listener=listener)
    assert any("goes on from the checkpoint before, in epoch 1" in line for line in listener.lines)
    assert largest_difference(expected, weights(bucket / "run")) == 0


@pytest.mark.long
def test_a_killed_training_is_resumed_as_if_nobody_had_killed_it(bucket: ObjectPath, tmp_path: Path) -> None:
    settings = {"epochs": 6, "checkpoint_every_s": 0.5}
    expected = trained(tmp_path / "run", epochs=6)
    for awaited in (LAST, PREVIOUS):
        with driver(bucket / "run", **settings) as process:
            wait_for(checkpoint_folder(bucket / "run") / awaited, process)
    assert len(read_checkpoint(checkpoint_folder(bucket / "run") / LAST)["history"]) < 6
    found = trained(bucket / "run", **settings)
    assert largest_difference(expected, found) == 0
    assert metrics(bucket / "run") == metrics(tmp_path / "run")


@pytest.mark.long
def test_a_training_that_wakes_up_after_its_folder_was_taken_ends_at_once(bucket: ObjectPath, tmp_path: Path) -> None:
    expected = trained(tmp_path / "run", epochs=8)
    with driver(bucket / "run", epochs=8) as process:
        wait_for(checkpoint_folder(bucket / "run") / LAST, process)
        process.send_signal(signal.SIGSTOP)
        assert len(read_checkpoint(checkpoint_folder(bucket / "run") / LAST)["history"]) < 8
        started = time.monotonic()
        found = trained(bucket / "run", epochs=8)
        assert time.monotonic() - started > LEASE_S
        before = {path: read_bytes(path) for path in files_below(bucket / "run")}
        process.send_signal(signal.SIGCONT)
        _, told = process.communicate(timeout=60)
    assert process.returncode == 1
    assert "has taken over the folder, as this process had not renewed its lease" in told.strip().splitlines()[-1]
    assert {path: read_bytes(path) for path in files_below(bucket / "run")} == before
    assert largest_difference(expected, found) == 0


@pytest.mark.long
def test_workers_meet_in_a_store(bucket: ObjectPath, tmp_path: Path) -> None:
    expected = trained(tmp_path / "run", epochs=2)
    found = trained(bucket / "run", epochs=2, workers=2)
    assert largest_difference(expected, found) < 1e-4
    assert all(torch.isfinite(weight).all() for weight in found.values())
    assert not [path for path in files_below(bucket / "run") if path.name.startswith(".") and path.name != ".lock"]
