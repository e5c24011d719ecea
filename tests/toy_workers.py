"""Two processes joined by torch.distributed without Ray, for tests of what workers share."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from toy_trainings import plan

from raynas.training.checkpoints import LAST, checkpoint_folder, read_checkpoint
from raynas.training.listeners import MetricsListener
from raynas.training.loop import train
from raynas.training.task import WorkerRank


def on_two_workers(module: str, function: str, folder: Path, **settings: Any) -> None:
    """Call a function of a test module as function(rank, folder, **settings) in two processes.

    Raises:
        RuntimeError: One of them failed.
    """
    folder.mkdir(parents=True, exist_ok=True)
    tests = Path(__file__).parent
    paths = [tests, tests / "models", tests / "training"]
    processes = []
    for rank in range(2):
        code = (
            f"from toy_workers import joined; from {module} import {function} as work; from pathlib import Path\n"
            f"with joined({rank}, Path({str(folder)!r})): work({rank}, Path({str(folder)!r}), **{settings!r})"
        )
        environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join(map(str, paths))}
        command = [sys.executable, "-c", code]
        processes.append(
            subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
        )
    errors = []
    for process in processes:
        _, error = process.communicate(timeout=300)
        errors += [error] if process.returncode else []
    if errors:
        raise RuntimeError("\n".join(errors))


class joined:
    """Within it, this process is one of two workers."""

    def __init__(self, rank: int, folder: Path) -> None:
        dist.init_process_group("gloo", init_method=f"file://{folder.absolute()}/.meeting", rank=rank, world_size=2)

    def __enter__(self) -> None:
        torch.set_num_threads(1)

    def __exit__(self, *_: object) -> None:
        dist.destroy_process_group()


def train_as_worker(rank: int, folder: Path, **settings: Any) -> None:
    """What each of two workers does to train in a folder."""
    task = plan(**settings).task("cpu", threads=1, loader_processes=0)
    listener = MetricsListener(folder, (), {}, task.steps)
    assert train(task, folder, WorkerRank(rank, 2), listener)


def trained_by_two(folder: Path, **settings: Any) -> dict[str, Any]:
    """The last checkpoint of a training on two workers."""
    on_two_workers("toy_workers", "train_as_worker", folder, **settings)
    return read_checkpoint(checkpoint_folder(folder) / LAST)
