"""Data-parallel training: the same as on one worker, also when a worker is lost."""

from __future__ import annotations

import os
import platform
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pyarrow.parquet as pq
import pytest
import ray
import torch
from toy_spaces import small_res
from toy_trainings import StepCounter, largest_difference, plan, trained, weights, with_broken_image

import raynas
from raynas.cluster.joining import connect
from raynas.cluster.memory import KEEP_FREED_MEMORY
from raynas.cluster.resources import has_room
from raynas.data.batch import normalised
from raynas.data.opening import open_dataset
from raynas.errors import DataError, StoreError, TrainingError
from raynas.training.checkpoints import LAST, checkpoint_folder, read_checkpoint
from raynas.training.folder import load_training
from raynas.training.run import TrainingListener, execute_training
from raynas.training.task import TrainingProgress

VARIED = {"augment": "strong", "drop_path_rate": 0.3, "ema_decay": 0.9}
LONG = {**VARIED, "epochs": 8, "max_images": 440, "retokenize": "0:16,2:8,4:4"}


@pytest.fixture(scope="module", autouse=True)
def joined() -> Iterator[None]:
    disconnect = connect(None, min_cpus=3)
    yield
    disconnect()


@pytest.mark.slow
def test_two_workers_equal_one_with_the_same_global_batch(tmp_path: Path) -> None:
    settings = {**VARIED, "retokenize": "0:8,1:4"}
    one = trained(tmp_path / "one", **settings)
    two = trained(tmp_path / "two", workers=2, accumulation=2, loader_processes=1, **settings)
    assert largest_difference(one, two) < 1e-4
    averages = [read_checkpoint(checkpoint_folder(tmp_path / name) / LAST)["ema"] for name in ("one", "two")]
    assert largest_difference(*averages) < 1e-4
    rows = [load_training(tmp_path / name).metrics.to_pylist() for name in ("one", "two")]
    for first, second in zip(*rows, strict=True):
        for name in ("train_loss", "val_loss", "ema_val_loss"):
            assert second[name] == pytest.approx(first[name], rel=1e-4)
        assert second["val_top1"] == first["val_top1"]
    assert load_training(tmp_path / "two").summary["workers"] == 2


@pytest.mark.long
def test_two_workers_share_an_odd_batch(tmp_path: Path) -> None:
    settings = {"augment": "light", "batch_size": 31, "max_images": 140}
    one = trained(tmp_path / "one", **settings)
    two = trained(tmp_path / "two", workers=2, accumulation=2, loader_processes=0, **settings)
    assert largest_difference(one, two) < 1e-4


@pytest.mark.long
def test_two_workers_train_a_supernet_as_one(tmp_path: Path) -> None:
    """The same images by the same sub-networks, with labels of patches, BatchNorm in the stem and dropped branches."""
    settings: dict[str, Any] = {
        "data": "digits", "img_size": 16, "max_images": 100, "batch_size": 32, "block_images": 8, "epochs": 3,
        "choice_warmup_epochs": 1, "token_labels": True, "drop_path_rate": 0.2, "augment": "light", "threads": 1,
        "loader_processes": 0, "loggers": (), "listener": TrainingListener(),
    }  # fmt: skip
    for name, workers in (("one", 0), ("two", 2)):
        raynas.train_supernet(small_res, workers=workers, out=tmp_path / name, **settings)
    states = [read_checkpoint(checkpoint_folder(tmp_path / name) / LAST) for name in ("one", "two")]
    assert largest_difference(states[0]["model"], states[1]["model"]) < 1e-4
    assert largest_difference(*(state["parts"]["patch_head"] for state in states)) < 1e-4
    names = ["train_loss", "class_loss", "patch_loss", "val_loss", "val_smallest_top1"]
    rows = [load_training(tmp_path / name).metrics.select(names).to_pylist() for name in ("one", "two")]
    for first, second in zip(*rows, strict=True):
        assert second == pytest.approx(first, rel=1e-4)


@pytest.mark.long
def test_two_workers_distil_as_one(tmp_path: Path) -> None:
    settings = {**VARIED, "epochs": 1, "teacher": "random:resnet8", "logit_weight": 0.3}
    trained(tmp_path / "one", **settings)
    trained(tmp_path / "two", workers=2, accumulation=2, **settings)
    states = [read_checkpoint(checkpoint_folder(tmp_path / name) / LAST) for name in ("one", "two")]
    for part in ("model", "ema"):
        assert largest_difference(states[0][part], states[1][part]) < 1e-4
    assert largest_difference(*(state["parts"]["adapters"] for state in states)) < 1e-4
    names = ["train_loss", "task_loss", "guidance_loss", "logit_loss", "ema_val_loss"]
    rows = [load_training(tmp_path / name).metrics.select(names).to_pylist() for name in ("one", "two")]
    for first, second in zip(*rows, strict=True):
        assert second == pytest.approx(first, rel=1e-4)


@pytest.mark.long
def test_workers_share_the_statistics_of_batch_norms(tmp_path: Path) -> None:
    """What each evaluated, on its part of the images, is the network that the checkpoint holds."""
    recipe = {"optimizer": "sgd", "lr": 0.05, "augment": "none", "label_smoothing": 0.0, "ema_decay": 0.8}
    made = plan(space="resnet", architecture="resnet8", epochs=1, workers=2, **recipe)
    execute_training(made, tmp_path)
    images, labels = open_dataset("digits").read(made.val_rows.tolist())
    batch = torch.from_numpy(np.stack([normalised(image, 32) for image in images]))
    (*_, row) = load_training(tmp_path).metrics.to_pylist()
    state = read_checkpoint(checkpoint_folder(tmp_path) / LAST)
    model = raynas.build("resnet", "resnet8", img_size=32, num_classes=10).eval()
    for part, column in (("model", "val_loss"), ("ema", "ema_val_loss")):
        model.load_state_dict(state[part])
        with torch.no_grad():
            loss = torch.nn.functional.cross_entropy(model(batch), torch.from_numpy(labels))
        assert row[column] == pytest.approx(loss.item(), rel=1e-4)


@pytest.mark.long
def test_two_workers_train_a_network_with_batch_norms_as_one(tmp_path: Path) -> None:
    """Two steps, 3e-5 to 1.4e-4 apart, by the processor. In float32 rounding grows a thousandfold where a ReLU flips
    over an even background: after five, torch's own BatchNorm and ours differ by 0.008 on one worker.
    `test_objectives.py` has more in float64.
    """
    recipe = {"optimizer": "sgd", "lr": 0.05, "augment": "light", "ema_decay": 0.8, "clip_grad": 1.0, "max_images": 82}
    made = {"space": "resnet", "architecture": "resnet8", "epochs": 1, "batch_size": 36, **recipe}
    trained(tmp_path / "one", **made)
    trained(tmp_path / "two", workers=2, **made)
    states = [read_checkpoint(checkpoint_folder(tmp_path / name) / LAST) for name in ("one", "two")]
    assert any("running_var" in name for name in states[0]["model"])
    for part in ("model", "ema"):
        assert 0 < largest_difference(states[0][part], states[1][part]) < 5e-4
    rows = [load_training(tmp_path / name).metrics.to_pylist()[0] for name in ("one", "two")]
    # Weights that are so far apart evaluate to losses that are further apart than those of the steps that led to them.
    for name, tolerance in (("train_loss", 1e-5), ("val_loss", 1e-3), ("ema_val_loss", 1e-3)):
        assert rows[1][name] == pytest.approx(rows[0][name], rel=tolerance)


@pytest.mark.long
def test_a_lost_worker_restarts_from_the_last_checkpoint(tmp_path: Path) -> None:
    expected = trained(tmp_path / "whole", **LONG)
    killed: list[int] = []
    environment: dict[str, str] = {}
    reached: list[int] = []  # after that

    class Killer(StepCounter):
        def on_epoch(self, row: dict[str, object]) -> None:
            super().on_epoch(row)
            if row["epoch"] == 3 and not killed:
                children = psutil.Process().children(recursive=True)
                worker = next(child for child in children if "RayTrainWorker" in " ".join(child.cmdline()))
                killed.append(worker.pid)
                environment.update(worker.environ())
                worker.kill()

        def on_progress(self, progress: TrainingProgress) -> None:
            if killed:
                reached.append(progress.epoch)

    listener = Killer()
    summary = execute_training(plan(workers=2, **LONG), tmp_path / "run", listener=listener)
    assert summary["status"] == "completed"
    assert killed
    (lost,) = [line for line in listener.lines if "start again" in line]
    # Alone: that the other one's connection is closed says nothing more.
    what = rf"worker [01]: its process {killed[0]} on {re.escape(platform.node())} was lost"
    assert re.fullmatch(rf"{what}; the workers start again from the last checkpoint", lost), lost
    asked = {name: value for name, value in KEEP_FREED_MEMORY.items() if name.startswith("MALLOC_")}
    assert environment.items() >= asked.items() != set()  # glibc itself cuts what it reads in its tunables
    assert min(reached) >= 4  # finished epochs: nothing is trained again
    assert [row["epoch"] for row in load_training(tmp_path / "run").metrics.to_pylist()] == list(range(8))
    assert largest_difference(weights(tmp_path / "run"), expected) < 1e-3


@pytest.mark.long
def test_workers_stop_when_asked_and_go_on_later(tmp_path: Path) -> None:
    expected = trained(tmp_path / "whole", **LONG)
    listener = StepCounter()
    stopped = execute_training(
        plan(workers=2, **LONG), tmp_path / "run", listener=listener, is_stopped=lambda: len(listener.epochs) > 2
    )
    assert stopped["status"] == "interrupted"
    assert 2 < stopped["epochs_done"] < 8
    # What is left is done by one worker: how many there are is not what a training is.
    assert largest_difference(trained(tmp_path / "run", **LONG), expected) < 1e-3


def test_there_is_room_for_as_many_workers_as_what_is_free_suffices_for() -> None:
    """Ray frees what others of these tests had a moment after they ended."""
    deadline = time.monotonic() + 30
    while ray.available_resources().get("CPU") != 3 and time.monotonic() < deadline:
        time.sleep(0.1)
    assert has_room({"CPU": 1.0}, 3) and has_room({"CPU": 3.0}, 1)
    assert not has_room({"CPU": 1.0}, 4)
    assert not has_room({"CPU": 1.0, "GPU": 1.0}, 1)


@pytest.mark.long
def test_an_error_of_the_users_is_told_and_not_tried_again(tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match="the loss is nan in epoch 0"):
        execute_training(plan(workers=2, lr=1e30), tmp_path)
    assert load_training(tmp_path).summary["status"] == "failed"


class Failing(torch.nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.head = torch.nn.Linear(3, 10)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        raise RuntimeError("not today")


@pytest.mark.long
def test_an_error_of_the_code_is_told_and_tried_three_times(tmp_path: Path) -> None:
    listener = StepCounter()
    made = plan(workers=1)
    made = replace(made, space=replace(made.space, model=lambda *_, **__: Failing()))
    with pytest.raises(TrainingError, match="failed 3 times at the same place: RuntimeError: not today") as error:
        execute_training(made, tmp_path, listener=listener)
    assert "\n" not in str(error.value)
    told = [line for line in listener.lines if "not today" in line]
    assert len(told) == 2
    assert all(line.endswith("the workers start again from the last checkpoint") for line in told)


@pytest.mark.long
def test_fewer_workers_train_where_there_is_room_for_no_more(tmp_path: Path) -> None:
    """Of five with a core each, three have room in the Ray of these tests; two were enough."""
    settings = {**VARIED, "epochs": 1}
    execute_training(plan(workers=5, min_workers=2, **settings), tmp_path / "few")
    assert largest_difference(weights(tmp_path / "few"), trained(tmp_path / "one", **settings)) < 1e-4


@pytest.mark.long
def test_an_image_that_cannot_be_read_is_told_in_one_line(tmp_path: Path) -> None:
    """As it may be where another one changes the file after it was looked at."""
    data = with_broken_image(tmp_path / "images.parquet", row=None)
    made = plan(workers=2, data=data, loader_processes=1)
    with_broken_image(tmp_path / "images.parquet", row=int(made.rows[50]))
    with pytest.raises(DataError, match=rf"image of row {made.rows[50]} cannot be read") as error:
        execute_training(made, tmp_path / "run")
    assert "\n" not in str(error.value)


def test_a_folder_in_use_is_refused(tmp_path: Path) -> None:
    refused: list[str] = []

    class Second(StepCounter):
        def on_epoch(self, row: dict[str, object]) -> None:
            if not refused:
                with pytest.raises(StoreError, match="is being written by process") as error:
                    execute_training(plan(), tmp_path, resume=True)
                refused.append(str(error.value))

    execute_training(plan(), tmp_path, listener=Second())
    assert refused


@pytest.mark.long
def test_an_interrupted_driver_leaves_no_workers(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    settings = {**LONG, "epochs": 200, "workers": 2}
    code = f"from toy_trainings import *; execute_training(plan(**{settings!r}), Path({str(folder)!r}))"
    environment = {name: value for name, value in os.environ.items() if not name.startswith("RAY_ADDRESS")}
    process = subprocess.Popen([sys.executable, "-c", code], cwd=Path(__file__).parents[1], env=environment)
    deadline = time.monotonic() + 180
    table = folder / "metrics.parquet"
    while not (table.exists() and pq.read_metadata(table).num_rows > 1) and time.monotonic() < deadline:
        time.sleep(0.1)
    children = psutil.Process(process.pid).children(recursive=True)
    process.send_signal(signal.SIGINT)
    process.wait(120)
    _, alive = psutil.wait_procs(children, timeout=30)
    assert not alive
    assert load_training(folder).summary["status"] == "interrupted"
    assert ray.is_initialized()  # this process's own is another one


@pytest.mark.slow
def test_a_training_that_waits_says_why_and_can_be_ended(tmp_path: Path) -> None:
    """Comes last, since Ray Train goes on looking for GPUs until this module's Ray ends."""
    listener = StepCounter()
    summary = execute_training(
        plan(workers=2, gpus_per_worker=1), tmp_path, listener=listener, is_stopped=lambda: bool(listener.lines)
    )
    (line,) = listener.lines
    assert line.startswith("waiting for 2 workers with 1 CPU and 1 GPU each; the cluster has 1 node with 3 CPU")
    assert summary["status"] == "interrupted"
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".") and path.is_file()] == [".lock"]
