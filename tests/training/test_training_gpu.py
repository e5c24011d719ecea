"""Training on a CUDA device; skipped where there is none."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from toy_trainings import largest_difference, plan, weights

from raynas.training.loop import train
from raynas.training.task import WorkerListener, WorkerRank

pytestmark = [pytest.mark.gpu, pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")]

PLAIN = {"augment": "light", "drop_path_rate": 0.0, "clip_grad": 1.0, "ema_decay": 0.9}


def trained_on(device: str, folder: Path, **settings: Any) -> dict[str, torch.Tensor]:
    task = plan(**settings).task(device, threads=1, loader_processes=0)
    assert train(task, folder, WorkerRank(device=torch.device(device)), WorkerListener())
    return weights(folder)


@pytest.mark.parametrize(("precision", "bound"), [("float32", 1e-3), ("bfloat16", 0.02), ("float16", 0.02)])
def test_a_gpu_comes_to_the_weights_of_the_cpu(tmp_path: Path, precision: str, bound: float) -> None:
    expected = trained_on("cpu", tmp_path / "first", precision="float32", **PLAIN)
    found = trained_on("cuda", tmp_path / "second", precision=precision, **PLAIN)
    assert all(value.dtype == torch.float32 for value in found.values())
    assert largest_difference(expected, found) < bound


@pytest.mark.parametrize("optimizer", ["adamw", "sgd", "lamb"])
def test_passes_of_a_step_add_up_to_it_and_drop_the_same_branches(tmp_path: Path, optimizer: str) -> None:
    settings = {**PLAIN, "augment": "strong", "drop_path_rate": 0.3, "optimizer": optimizer, "precision": "float32"}
    whole = trained_on("cuda", tmp_path / "whole", **settings)
    parts = trained_on("cuda", tmp_path / "parts", accumulation=3, **settings)
    assert largest_difference(whole, parts) < 1e-3


def test_a_stopped_training_goes_on_with_its_scaler(tmp_path: Path) -> None:
    class Stops(WorkerListener):
        asked = 0

        def is_stopped(self) -> bool:
            self.asked += 1
            return self.asked == 8

    settings = {**PLAIN, "drop_path_rate": 0.3, "precision": "float16"}
    task = plan(**settings).task("cuda", threads=1, loader_processes=0)
    worker = WorkerRank(device=torch.device("cuda"))
    assert train(task, tmp_path / "whole", worker, WorkerListener())
    assert not train(task, tmp_path / "parts", worker, Stops())
    assert train(task, tmp_path / "parts", worker, WorkerListener())
    assert largest_difference(weights(tmp_path / "whole"), weights(tmp_path / "parts")) < 1e-3
