"""Data-parallel training on Ray Train: gloo on CPUs, NCCL on GPUs; lost workers restart from the last checkpoint.

Workers and driver meet in the training's folder, as Ray Train's own storage asks for too: the first worker writes
checkpoints, metrics and its progress there, the driver a file that asks it to stop.
"""

from __future__ import annotations

import json
import math
import os
import threading
import uuid
from collections.abc import Callable
from contextlib import closing
from dataclasses import asdict
from pathlib import Path
from time import sleep
from typing import Any

from raynas.errors import PoolError, RaynasError, StoreError, TrainingError
from raynas.store import write_json
from raynas.training.checkpoints import reached_in
from raynas.training.loop import train
from raynas.training.task import Place, Progress, TrainingTask, Watcher
from raynas.training.watchers import MetricsWatcher

_POLL_S = 0.3
_MAX_FAILURES = 8
_PROGRESS, _STOP, _OUTCOME, _TOKEN = ".progress.json", ".stop", ".outcome.json", ".token"


class _FolderWatcher(MetricsWatcher):
    """Writes progress into the folder, and looks there whether to stop."""

    def on_progress(self, progress: Progress) -> None:
        super().on_progress(progress)
        values = asdict(progress)
        finite = {n: None if isinstance(v, float) and not math.isfinite(v) else v for n, v in values.items()}
        write_json(self.folder / _PROGRESS, finite)

    def is_stopped(self) -> bool:
        return (self.folder / _STOP).exists()


def train_on_ray(
    task: TrainingTask,
    folder: Path,
    *,
    workers: int,
    min_workers: int,
    gpus_per_worker: float,
    cpus_per_worker: float,
    loggers: tuple[str, ...],
    described: dict[str, Any],
    on_progress: Callable[[Progress], None],
    is_stopped: Callable[[], bool],
    log: Callable[[str], None],
) -> bool:
    """Train on the joined Ray cluster.

    Args:
        task: What to train.
        folder: Of the training, on storage that all nodes see.
        workers: Data-parallel processes.
        min_workers: Go on with as few.
        gpus_per_worker, cpus_per_worker: Of each; without GPUs workers compute on CPUs.
        loggers, described: As for `MetricsWatcher`.
        on_progress: Hears of it here.
        is_stopped: Asked now and then; if so, the workers write a checkpoint and end.
        log: Takes lines for people.

    Returns:
        Whether all epochs are done.

    Raises:
        PoolError: Workers were lost too often, do not see the folder, or fail for another reason.
        RaynasError: What `train` raises.
    """
    # Ray Train would move workers to a folder of its own.
    os.environ.setdefault("RAY_CHDIR_TO_TRIAL_DIR", "0")
    import ray
    from ray import cloudpickle
    from ray.train import FailureConfig, RunConfig, ScalingConfig
    from ray.train.torch import TorchTrainer

    from raynas.ray_pool import own_code_by_value

    folder = folder.absolute()
    for name in (_PROGRESS, _STOP, _OUTCOME):
        (folder / name).unlink(missing_ok=True)
    token = uuid.uuid4().hex
    (folder / _TOKEN).write_text(token)
    with own_code_by_value(task.builder):
        packed = ray.put(cloudpickle.dumps(task))
    gpus = {"GPU": gpus_per_worker} if gpus_per_worker else {}
    trainer = TorchTrainer(
        _work,
        train_loop_config={
            "task": [packed],  # in a list, a reference is passed on as it is
            "folder": str(folder),
            "token": token,
            "loggers": loggers,
            "described": described,
        },
        scaling_config=ScalingConfig(
            num_workers=workers if min_workers == workers else (min_workers, workers),
            use_gpu=bool(gpus_per_worker),
            resources_per_worker={"CPU": cpus_per_worker, **gpus},
        ),
        run_config=RunConfig(
            # A name of its own each time: what to go on with is in the checkpoints folder, not in Ray Train's.
            name=f"session-{token[:8]}",
            storage_path=str(folder / ".ray_train"),
            failure_config=FailureConfig(max_failures=_MAX_FAILURES),
        ),
    )
    failure: list[BaseException] = []

    def fit() -> None:
        try:
            trainer.fit()
        except BaseException as error:  # told to the thread that waits
            failure.append(error)

    thread = threading.Thread(target=fit, daemon=True)
    thread.start()
    told = ""
    is_asked = False
    while thread.is_alive():
        if is_stopped() and not is_asked:
            is_asked = True
            (folder / _STOP).touch()
            log("the workers finish their step and write a checkpoint")
        told = _pass_on(folder / _PROGRESS, told, on_progress)
        sleep(_POLL_S)
    _pass_on(folder / _PROGRESS, told, on_progress)
    outcome = _read(folder / _OUTCOME)
    for name in (_PROGRESS, _STOP, _OUTCOME, _TOKEN):
        (folder / name).unlink(missing_ok=True)
    if outcome is not None and "error" in outcome:
        raise (StoreError if outcome["is_of_store"] else TrainingError)(outcome["error"])
    if failure:
        raise PoolError(f"the training's workers failed: {_on_one_line(failure[0])}") from failure[0]
    return bool(outcome and outcome["is_done"])


def _work(config: dict[str, Any]) -> None:
    """What every worker runs, again after any of them was lost."""
    import ray
    import torch
    from ray import cloudpickle
    from ray.train import get_context
    from ray.train.torch import get_device

    context = get_context()
    rank = context.get_world_rank()
    folder = Path(config["folder"])
    _check_same_folder(folder, config["token"])
    if (folder / _OUTCOME).exists():
        return  # a worker met an error that another try would meet again
    try:
        task: TrainingTask = cloudpickle.loads(ray.get(config["task"][0]))
        device = get_device()
        if device.type == "cuda":
            torch.cuda.set_device(device)
        place = Place(rank, context.get_world_size(), device)
        if rank:
            train(task, folder, place, Watcher())
            return
        watcher = _FolderWatcher(folder, config["loggers"], config["described"], task.steps, *reached_in(folder))
        with closing(watcher):
            is_done = train(task, folder, place, watcher)
        write_json(folder / _OUTCOME, {"is_done": is_done})
    except RaynasError as error:
        write_json(folder / _OUTCOME, {"error": str(error), "is_of_store": isinstance(error, StoreError)})
        raise  # so that the others, which wait for this one, are ended


def _check_same_folder(folder: Path, token: str) -> None:
    try:
        is_same = (folder / _TOKEN).read_text() == token
    except OSError:
        is_same = False
    if not is_same:
        raise RuntimeError(f"a worker does not see the folder {folder}: it must be on storage that all nodes share")


def _pass_on(path: Path, told: str, on_progress: Callable[[Progress], None]) -> str:
    """Tell of the progress in the file if it is news; returns what was told last."""
    try:
        text = path.read_text()
        values = json.loads(text)
    except (OSError, ValueError):
        return told
    if text != told:
        known: dict[str, Any] = {name: math.nan if value is None else value for name, value in values.items()}
        on_progress(Progress(**known))
    return text


def _read(path: Path) -> dict[str, Any] | None:
    try:
        content: dict[str, Any] = json.loads(path.read_text())
    except (OSError, ValueError):
        return None
    return content


def _on_one_line(error: BaseException) -> str:
    return " ".join(str(error).split())[:500]
