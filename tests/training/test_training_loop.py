"""The loop against a plain one, and against itself in parts."""

from __future__ import annotations

import math
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pyarrow.parquet as pq
import pytest
import torch
from random_moments import random_moments
from torch import nn
from toy_trainings import SMALL, StepCounter, largest_difference, plan, trained, weights

import raynas
from raynas.data.batch import normalised
from raynas.data.opening import open_dataset
from raynas.errors import ConfigError, StoreError, TrainingError
from raynas.seeds import seed_from
from raynas.space.architecture import Architecture
from raynas.space.fields import Choice
from raynas.space.search_space import SearchSpace
from raynas.training.checkpoints import BEST, LAST, PREVIOUS, checkpoint_folder, read_checkpoint, write_checkpoint
from raynas.training.folder import load_training
from raynas.training.run import execute_training

VARIED = {"augment": "strong", "drop_path_rate": 0.3, "ema_decay": 0.9, "clip_grad": 1.0}
PLAIN = {"augment": "none", "drop_path_rate": 0.0}


def by_hand(
    epochs: int, batch_size: int, lr: float, *, ema_decay: float, warmup_epochs: int
) -> tuple[dict[str, torch.Tensor], dict[str, torch.Tensor]]:
    """AdamW with a cosine schedule, label smoothing, no augmentation, and the moving average, written out."""
    made = plan(epochs=epochs, batch_size=batch_size, **PLAIN)
    dataset = open_dataset("digits")
    images, labels = dataset.read(made.rows.tolist())
    inputs = torch.from_numpy(np.stack([normalised(image, 32) for image in images]))
    targets = torch.from_numpy(labels)
    torch.manual_seed(seed_from(0, "weights"))
    model = raynas.build("as-vit", SMALL, img_size=32, num_classes=10, fused_attn=True)
    decayed = [p for name, p in model.named_parameters() if p.ndim > 1 and "pos_embed" not in name]
    others = [p for name, p in model.named_parameters() if not (p.ndim > 1 and "pos_embed" not in name)]
    optimizer = torch.optim.AdamW([{"params": decayed, "weight_decay": 0.05}, {"params": others, "weight_decay": 0.0}])
    steps = len(inputs) // batch_size
    average: dict[str, torch.Tensor] = {}
    for epoch in range(epochs):
        order = np.random.default_rng(seed_from(0, "order", epoch)).permutation(len(inputs))
        for step in range(steps):
            rows = order[step * batch_size : (step + 1) * batch_size]
            done, warm = (epoch * steps + step) / (epochs * steps), warmup_epochs / epochs
            share = done / warm if done < warm else 0.5 * (1 + math.cos(math.pi * done))
            for group in optimizer.param_groups:
                group["lr"] = 1e-6 + share * (lr - 1e-6)
            optimizer.zero_grad()
            loss = torch.nn.functional.cross_entropy(model(inputs[rows]), targets[rows], label_smoothing=0.1)
            loss.backward()
            optimizer.step()
            updates = epoch * steps + step
            # Grows towards its value as timm has it: 1 - (1 + updates) ** (-2 / 3); the first update is a copy.
            kept = min(1 - (1 + updates) ** (-2 / 3), ema_decay)
            for name, value in model.state_dict().items():
                average[name] = kept * average.get(name, value) + (1 - kept) * value
    return model.state_dict(), average


def test_the_loop_equals_one_written_out(tmp_path: Path) -> None:
    settings = {"epochs": 3, "batch_size": 32, "lr": 1e-3, "ema_decay": 0.8, "warmup_epochs": 1}
    expected, average = by_hand(**settings)
    assert largest_difference(trained(tmp_path, **settings, **PLAIN), expected) < 2e-5
    state = read_checkpoint(checkpoint_folder(tmp_path) / LAST)
    assert largest_difference(state["ema"], average) < 2e-5
    assert largest_difference(expected, average) > 1e-4


def test_passes_of_a_step_add_up_to_it(tmp_path: Path) -> None:
    settings = {"augment": "strong", "drop_path_rate": 0.3}
    whole = trained(tmp_path / "whole", **settings)
    parts = trained(tmp_path / "parts", accumulation=3, **settings)
    assert 0 < largest_difference(whole, parts) < 1e-4
    rows = [load_training(tmp_path / name).metrics.to_pylist()[-1] for name in ("whole", "parts")]
    assert rows[0]["train_loss"] == pytest.approx(rows[1]["train_loss"], rel=1e-4)


@pytest.mark.parametrize("stop_after", [1, 4, 6, 9])
def test_a_training_in_two_parts_ends_with_the_same_weights(tmp_path: Path, stop_after: int) -> None:
    expected = trained(tmp_path / "whole", **VARIED)
    counter = StepCounter(stop_after)
    stopped = execute_training(plan(**VARIED), tmp_path / "parts", is_stopped=counter.is_stopped)
    assert stopped["status"] == "interrupted"
    assert stopped["epochs_done"] == (stop_after > 6)  # 6 steps an epoch
    assert largest_difference(weights(tmp_path / "parts"), expected) > 0
    listener = StepCounter()
    execute_training(plan(**VARIED), tmp_path / "parts", resume=True, listener=listener)
    first = listener.progress[0]
    # It goes on, where from the start it would come to the same; before the second epoch it was asked once more.
    assert first.epoch * 6 + first.step >= stop_after - (stop_after > 6)
    assert largest_difference(weights(tmp_path / "parts"), expected) == 0
    both = [read_checkpoint(checkpoint_folder(tmp_path / name) / LAST)["ema"] for name in ("whole", "parts")]
    assert largest_difference(*both) == 0
    columns = ["epoch", "lr", "train_loss", "val_loss", "val_top1", "ema_val_loss", "ema_val_top1", "macs"]
    tables = [load_training(tmp_path / name).metrics.select(columns).to_pylist() for name in ("whole", "parts")]
    assert tables[0] == tables[1]


def killed_after(folder: Path, is_time: Callable[[], bool], signum: int, **settings: Any) -> int:
    """Train in a process of its own, and end it when it is time; its exit status."""
    code = f"from toy_trainings import *; execute_training(plan(**{settings!r}), Path({str(folder)!r}), resume=True)"
    process = subprocess.Popen(
        [sys.executable, "-c", code],
        cwd=Path(__file__).parents[1],
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        start_new_session=True,
    )
    deadline = time.monotonic() + 120
    while not is_time() and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.01)
    children = psutil.Process(process.pid).children(recursive=True) if process.poll() is None else []
    if signum == signal.SIGKILL:
        os.killpg(process.pid, signum)
    else:
        process.send_signal(signum)
    status = process.wait(60)
    psutil.wait_procs(children, timeout=20)
    return status


@pytest.mark.parametrize(
    ("epochs", "moments"),
    [
        pytest.param(6, (1, 3), marks=pytest.mark.slow),
        pytest.param(24, random_moments(8, most=22), marks=pytest.mark.long),
    ],
)
def test_a_killed_training_resumes_to_the_same_weights(tmp_path: Path, epochs: int, moments: tuple[int, ...]) -> None:
    settings = {**VARIED, "epochs": epochs, "checkpoint_every_s": 0.05}
    expected = trained(tmp_path / "whole", **settings)
    folder = tmp_path / "killed"

    def epochs_done(n: int) -> Callable[[], bool]:
        table = folder / "metrics.parquet"
        return lambda: table.exists() and pq.read_metadata(table).num_rows >= n

    for n in moments:
        assert killed_after(folder, epochs_done(n), signal.SIGKILL, **settings) == -signal.SIGKILL
    listener = StepCounter()
    execute_training(plan(**settings), folder, resume=True, listener=listener)
    assert listener.progress[0].epoch >= moments[-1]
    assert largest_difference(weights(folder), expected) == 0


@pytest.mark.slow
def test_an_interrupt_writes_a_checkpoint_and_tells_it(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    is_running = (folder / "metrics.parquet").exists
    assert killed_after(folder, is_running, signal.SIGINT, epochs=100, **VARIED) == 1  # Interrupted, not caught there
    training = load_training(folder)
    assert training.summary["status"] == "interrupted"
    assert 0 < training.summary["epochs_done"] < 100


def test_the_checkpoint_that_counts_is_the_best(tmp_path: Path) -> None:
    trained(tmp_path, epochs=6, lr=5e-3)
    training = load_training(tmp_path)
    top1 = training.metrics["val_top1"].to_pylist()
    assert training.summary["best_epoch"] == int(np.argmax(top1))
    best = read_checkpoint(checkpoint_folder(tmp_path) / BEST)
    assert best["history"][-1]["val_top1"] == max(top1)
    dataset = open_dataset("digits")
    made = plan()
    images, labels = dataset.read(made.val_rows.tolist())
    batch = torch.from_numpy(np.stack([normalised(image, 32) for image in images]))
    with torch.no_grad():
        right = (training.model("best")(batch).argmax(1).numpy() == labels).mean()
    assert right == pytest.approx(max(top1))


def test_the_moving_average_is_what_counts_where_there_is_one(tmp_path: Path) -> None:
    trained(tmp_path, **VARIED)
    training = load_training(tmp_path)
    assert training.summary["top1"] == training.metrics["ema_val_top1"].to_pylist()[-1]
    state = read_checkpoint(checkpoint_folder(tmp_path) / LAST)
    assert largest_difference(training.model().state_dict(), state["ema"]) == 0
    assert largest_difference(state["model"], state["ema"]) > 0


@pytest.mark.parametrize("precision", ["bfloat16"])
def test_mixed_precision_trains_too(tmp_path: Path, precision: str) -> None:
    exact = trained(tmp_path / "exact", **PLAIN)
    mixed = trained(tmp_path / "mixed", precision=precision, **PLAIN)
    assert all(value.dtype == torch.float32 for value in mixed.values())
    assert 0 < largest_difference(exact, mixed) < 0.02


def test_retokenization_changes_grids_and_leaves_the_weights_in_place(tmp_path: Path) -> None:
    made = plan(retokenize="0:16,1:8,2:4", epochs=4)
    listener = StepCounter()
    summary = execute_training(made, tmp_path, listener=listener)
    rows = load_training(tmp_path).metrics.to_pylist()
    assert [(row["stride"], row["dilation"]) for row in rows] == [(16, 5), (8, 2), (4, 1), (4, 1)]
    macs = [row["macs"] for row in rows]
    assert macs[0] < macs[1] < macs[2] == macs[3] == summary["macs"]
    assert summary["saved"] == pytest.approx(1 - sum(macs) / (4 * macs[3]))
    assert summary["training_macs"] == 3 * 32 * 6 * sum(macs)


def test_resumed_in_the_middle_of_a_phase(tmp_path: Path) -> None:
    settings = {**VARIED, "retokenize": "0:16,1:8,2:4", "epochs": 3}
    expected = trained(tmp_path / "whole", **settings)
    counter = StepCounter(8)
    execute_training(plan(**settings), tmp_path / "parts", is_stopped=counter.is_stopped)
    assert largest_difference(trained(tmp_path / "parts", **settings), expected) == 0


def test_a_loss_that_is_not_finite_ends_the_training(tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match="the loss is nan in epoch 0: a lower lr than 1e\\+"):
        execute_training(plan(lr=1e30), tmp_path)
    assert load_training(tmp_path).summary["status"] == "failed"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"lr": 2e-3}, "lr was 0.001 and is now 0.002"),
        ({"architecture": SMALL.replace("8,8", "8,16")}, "architecture was"),
        ({"epochs": 3}, "epochs was 2 and is now 3"),
        ({"max_images": 210}, "images was"),
        ({"retokenize": "0:8,1:4"}, "retokenize was"),
        ({"mixup": 0.5}, "mixup was 0.0 and is now 0.5"),
    ],
)
def test_another_training_is_not_resumed(tmp_path: Path, change: dict[str, Any], message: str) -> None:
    trained(tmp_path)
    with pytest.raises(StoreError, match=message):
        execute_training(plan(**change), tmp_path, resume=True)


def test_a_finished_training_stays_as_it_is(tmp_path: Path) -> None:
    trained(tmp_path)
    files = [checkpoint_folder(tmp_path) / LAST, checkpoint_folder(tmp_path) / BEST]
    before = [path.stat().st_mtime_ns for path in files]
    listener = StepCounter()
    summary = execute_training(plan(), tmp_path, resume=True, listener=listener)
    assert summary["status"] == "completed"
    assert not listener.progress
    assert [path.stat().st_mtime_ns for path in files] == before


def test_a_checkpoint_of_another_architecture_is_named(tmp_path: Path) -> None:
    trained(tmp_path)
    path = checkpoint_folder(tmp_path) / LAST
    state = read_checkpoint(path)
    state["model"].pop("head.bias")
    write_checkpoint(path, state)
    with pytest.raises(
        StoreError, match=r"another architecture: head\.bias is missing in the file and 10 in the model"
    ):
        plan(weights=str(path))


def test_a_training_starts_from_given_weights(tmp_path: Path) -> None:
    first = trained(tmp_path / "first", **PLAIN)
    file = checkpoint_folder(tmp_path / "first") / LAST
    counter = StepCounter(1)
    execute_training(
        plan(weights=str(file), lr=1e-7, min_lr=0, **PLAIN), tmp_path / "second", is_stopped=counter.is_stopped
    )
    assert largest_difference(weights(tmp_path / "second"), first) < 1e-6


def test_progress_tells_the_time_left(tmp_path: Path) -> None:
    listener = StepCounter()
    started = time.monotonic()
    execute_training(plan(epochs=3, max_images=400), tmp_path, listener=listener)
    took = time.monotonic() - started
    assert [row["epoch"] for row in listener.epochs] == [0, 1, 2]
    last = listener.progress[-1]
    assert (last.epoch, last.step) == (3, 0)
    assert last.left_s == 0
    assert all(0 <= one.left_s < 20 * took for one in listener.progress)


@pytest.mark.slow
def test_a_training_that_fails_for_any_reason_ends_with_its_processes(tmp_path: Path) -> None:
    """Python waits at its exit for processes that prepare images, which ignore a signal as long as they are needed."""
    code = (
        "from toy_trainings import *; from raynas.training.objectives.classification import Classification\n"
        "def loss(*arguments): raise RuntimeError('as out of memory')\n"
        "Classification.forward = loss\n"
        f"execute_training(plan(loader_processes=1), Path({str(tmp_path / 'run')!r}))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=Path(__file__).parents[1],
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert done.returncode == 1
    assert "RuntimeError: as out of memory" in done.stderr


class Killed(BaseException):
    """Stands for the end of the process at some worker."""


def test_a_kill_between_the_files_of_an_epoch_costs_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    expected = trained(whole)

    def cut_off(*arguments: Any) -> None:
        raise Killed

    for where in ("raynas.training.loop.write_checkpoint", "raynas.training.listeners.write_metrics"):
        with monkeypatch.context() as patch:
            if where.endswith("write_checkpoint"):  # the best one is written, the last one is not
                patch.setattr(
                    where, lambda path, state: cut_off() if path.name == LAST else write_checkpoint(path, state)
                )
            else:  # the last one is written, the table is not
                patch.setattr(where, cut_off)
            with pytest.raises(Killed):
                execute_training(plan(), cut, resume=True)
    assert largest_difference(trained(cut), expected) == 0
    names = [path.name for path in sorted(checkpoint_folder(cut).glob("*.pt"))]
    assert names == [path.name for path in sorted(checkpoint_folder(whole).glob("*.pt"))] == [BEST, LAST, PREVIOUS]
    tables = [load_training(folder).metrics.select(["epoch", "val_loss", "val_top1"]) for folder in (cut, whole)]
    assert tables[0].equals(tables[1])
    best = [read_checkpoint(checkpoint_folder(folder) / BEST)["epoch"] for folder in (cut, whole)]
    assert best[0] == best[1]


def test_weights_that_are_not_finite_replace_no_checkpoint(tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match="the loss is nan in epoch 0"):
        execute_training(plan(lr=1e30), tmp_path, is_stopped=StepCounter(stop_after=4).is_stopped)
    assert not (checkpoint_folder(tmp_path) / LAST).exists()


@pytest.mark.slow
def test_a_signal_to_all_processes_stores_what_is_done(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    settings = {"epochs": 200, "loader_processes": 1}
    code = f"from toy_trainings import *; execute_training(plan(**{settings!r}), Path({str(folder)!r}))"
    process = subprocess.Popen([sys.executable, "-c", code], cwd=Path(__file__).parents[1], start_new_session=True)
    table = folder / "metrics.parquet"
    while not table.exists() and process.poll() is None:
        time.sleep(0.05)
    children = psutil.Process(process.pid).children()
    assert children
    os.killpg(process.pid, signal.SIGTERM)
    process.wait(60)
    assert not psutil.wait_procs(children, timeout=30)[1]
    training = load_training(folder)
    assert training.summary["status"] == "interrupted"
    state = read_checkpoint(checkpoint_folder(folder) / LAST)
    assert state["epoch"] == training.summary["epochs_done"] >= 1


def linear(architecture: Architecture, *, img_size: int, num_classes: int) -> nn.Module:
    """A model without blocks, of which none can be dropped."""
    width = int(architecture["width"])
    return nn.Sequential(nn.Flatten(), nn.Linear(3 * img_size**2, width), nn.Linear(width, num_classes))


def test_models_without_stochastic_depth_are_trained_and_resumed(tmp_path: Path) -> None:
    space = SearchSpace("toy-linear", {"width": Choice(4, 8)}, model=linear)
    fields: dict[str, Any] = {"source": space, "architecture": '{"width": 4}', "img_size": 32, "epochs": 1}
    fields |= {"max_images": 100, "batch_size": 32, "threads": 1, "loader_processes": 0, "out": tmp_path / "run"}
    with pytest.raises(ConfigError, match="no stochastic depth: drop_path_rate must be 0"):
        raynas.train(**fields, drop_path_rate=0.2)
    assert not (tmp_path / "run").exists()
    raynas.train(**fields)
    again = raynas.train(space=space, out=tmp_path / "run", resume=True, checkpoint_every_s=1000.0)
    assert again.description["config"]["drop_path_rate"] == 0
    assert again.summary["status"] == "completed"
