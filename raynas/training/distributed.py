"""Data-parallel training on Ray Train: gloo on CPUs, NCCL on GPUs; lost workers restart from the last checkpoint.

Workers and driver meet in the training's folder, as Ray Train's own storage asks for too: the first worker writes
checkpoints, metrics, its progress and a sign of life there, the driver a file that asks it to stop. Without the token
that the driver has put there, workers do nothing: Ray Train may start them after their driver has given up.
"""

from __future__ import annotations

import math
import os
import threading
import uuid
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, nullcontext, suppress
from dataclasses import asdict
from pathlib import Path
from time import monotonic, sleep
from typing import Any

from raynas.cluster.head_watch import HeadWatch
from raynas.cluster.memory import KEEP_FREED_MEMORY
from raynas.cluster.resources import has_room, placed_groups
from raynas.cluster.waiting import why_waiting
from raynas.errors import ConfigError, DataError, PoolError, RaynasError, StoreError, TrainingError
from raynas.storage.files import exists, remove, remove_folder, write_json, write_mark, write_text
from raynas.storage.paths import ObjectPath, as_path
from raynas.storage.text_files import read_json, read_text
from raynas.texts import parse_json
from raynas.training.checkpoints import LAST, checkpoint_folder, reached_in
from raynas.training.folder import ALIVE, CONTROL_FILES, NODES, OUTCOME, PROGRESS, RAY_TRAIN, STOP, TOKEN
from raynas.training.listeners import MetricsListener
from raynas.training.loop import train
from raynas.training.node_files import NodeLines, files_here, files_there
from raynas.training.task import TrainingProgress, TrainingTask, WorkerListener, WorkerRank
from raynas.wording import plural

_POLL_S = 0.3
_SPOKEN_EVERY_S = 2.0
"""How often driver and workers look for and write what they have to say, where the folder is in an object store."""
_MAX_FAILURES = 8
_ALIVE_EVERY_S = 2.0
_SILENCE_S = 10.0  # after which there are no workers
_SAID_EVERY_S = 60.0
_ERRORS: dict[str, type[RaynasError]] = {error.__name__: error for error in (StoreError, DataError, ConfigError)}


class _FolderListener(MetricsListener):
    """Writes progress into the folder, and looks there whether to stop."""

    token = ""
    _spoken = _listened = -math.inf

    def on_progress(self, progress: TrainingProgress) -> None:
        super().on_progress(progress)
        if progress.step and monotonic() - self._spoken < self._pause_s:
            return
        self._spoken = monotonic()
        values = asdict(progress)
        finite = {n: None if isinstance(v, float) and not math.isfinite(v) else v for n, v in values.items()}
        write_json(self.folder / PROGRESS, finite)

    @property
    def _pause_s(self) -> float:
        return _SPOKEN_EVERY_S if isinstance(self.folder, ObjectPath) else 0.0

    def is_stopped(self) -> bool:
        if monotonic() - self._listened < self._pause_s:
            return False
        self._listened = monotonic()
        return exists(self.folder / STOP) or not _is_wanted(self.folder, self.token)


def train_on_ray(
    task: TrainingTask,
    folder: Path,
    own_folder: Path,
    *,
    workers: int,
    min_workers: int,
    gpus_per_worker: float,
    cpus_per_worker: float,
    loggers: tuple[str, ...],
    config: dict[str, Any],
    compares_files: bool,
    on_progress: Callable[[TrainingProgress], None],
    is_stopped: Callable[[], bool],
    log: Callable[[str], None],
) -> bool:
    """Train on the joined Ray cluster.

    Args:
        task: What to train.
        folder: The folder of the training, on storage that all nodes see; in an object store, they have its credentials
            in their environment.
        own_folder: The folder on a disk in which Ray Train keeps its own state, of which nothing is read.
        workers: Number of data-parallel processes.
        min_workers: The least number of them to go on with.
        gpus_per_worker, cpus_per_worker: GPUs and CPU cores of each worker; without GPUs workers compute on CPUs.
        loggers, config: Names of the loggers, and what they note of the training, see `MetricsListener`.
        compares_files: Whether the files that other nodes have are compared with those of this one, as far as there
            are, or may come to be, other nodes.
        on_progress: Called with the progress, in this process.
        is_stopped: Asked now and then whether to stop; if so, the workers write a checkpoint and end.
        log: Takes lines for people.

    Returns:
        Whether all epochs are done.

    Raises:
        PoolError: A node differs from this one in its code or its files; workers were lost too often, or fail for
            another reason.
        ClusterLostError: The head of the joined cluster is gone.
        RaynasError: What `train` raises.
    """
    import ray
    from ray import cloudpickle
    from ray.train import FailureConfig, RunConfig, ScalingConfig
    from ray.train.torch import TorchTrainer

    from raynas.cluster.node_checks import NodeCheck, same_code
    from raynas.cluster.own_code import installed_packages, own_code_by_value
    from raynas.cluster.process_groups import CheckedNodes
    from raynas.cluster.ray_errors import causes_of, in_words
    from raynas.training.worker_failures import WorkerFailures, told_failures

    folder, is_far = folder.absolute(), isinstance(folder, ObjectPath)
    _clear(folder)
    token = uuid.uuid4().hex
    write_text(folder / TOKEN, token)
    own_code = task.builder, getattr(task.objective, "func", task.objective)
    with own_code_by_value(*own_code):
        packed = ray.put(cloudpickle.dumps(task))
    checks = [same_code(installed_packages(*own_code))]
    if compares_files:
        here = ray.get_runtime_context().get_node_id()
        checks.append(NodeCheck(files_here(task, folder), files_there, ([packed], str(folder)), but_on=here))
    resources = {"CPU": cpus_per_worker, **({"GPU": gpus_per_worker} if gpus_per_worker else {})}
    trainer = TorchTrainer(
        _work,
        torch_config=CheckedNodes(checks=tuple(checks)),
        train_loop_config={
            "task": [packed],  # in a list, a reference is passed on as it is
            "folder": str(folder),
            "token": token,
            "loggers": loggers,
            "logged_config": config,
        },
        scaling_config=ScalingConfig(
            num_workers=workers if min_workers == workers else (min_workers, workers),
            use_gpu=bool(gpus_per_worker),
            resources_per_worker=resources,
        ),
        run_config=RunConfig(
            # A name of its own each time: what to go on with is in the checkpoints folder, not in Ray Train's.
            name=f"session-{token[:8]}",
            storage_path=str(own_folder.absolute()),  # Ray takes a relative one for a URI
            failure_config=FailureConfig(max_failures=_MAX_FAILURES),
            worker_runtime_env={"env_vars": KEEP_FREED_MEMORY},
            callbacks=[WorkerFailures(folder, checkpoint_folder(folder) / LAST, folder / OUTCOME, token)],
        ),
    )
    groups_before = placed_groups()
    failure: list[BaseException] = []

    def fit() -> None:
        try:
            trainer.fit()
        except BaseException as error:  # told to the thread that waits
            failure.append(error)

    thread = threading.Thread(target=fit, daemon=True)
    thread.start()
    told, told_lines = "", 0
    is_asked = False
    life, said_by_nodes = _SignOfLife(folder / ALIVE), NodeLines(folder)
    said = -math.inf
    outcome: dict[str, Any] | None = None
    head = HeadWatch(ray.get_runtime_context().gcs_address, log)
    while thread.is_alive():
        is_head_there = head.is_there()
        if is_stopped() and not is_asked:
            is_asked = True
            write_mark(folder / STOP)
            if life.is_there():
                log("the workers finish their step and write a checkpoint")
        for line in () if life.is_there() else said_by_nodes.new():
            log(line)
        lines = told_failures(folder)[told_lines:]
        told_lines += len(lines)
        outcome = _outcome(folder, token)
        if outcome is None:
            for line in lines:
                log(f"{line}; the workers start again from the last checkpoint")
        if life.is_silent() and outcome is None:
            if is_asked:
                break  # there is nobody to stop; the last checkpoint holds what was done
            if is_head_there and monotonic() - said > _SAID_EVERY_S:
                said = monotonic()
                which = plural(min_workers, "worker", "workers")
                will_start = placed_groups() - groups_before or has_room(resources, min_workers)
                log(f"waiting for the processes of {which}" if will_start else why_waiting(which, resources))
        told = _pass_on(folder / PROGRESS, told, on_progress)
        sleep(_SPOKEN_EVERY_S if is_far else _POLL_S)
    _pass_on(folder / PROGRESS, told, on_progress)
    outcome = _outcome(folder, token)
    _clear(folder)
    if outcome is not None and "error" in outcome:
        raise _ERRORS.get(outcome["kind"], TrainingError)(outcome["error"])
    if failure and not is_asked:
        causes = causes_of(failure[0])
        for cause in causes:
            if isinstance(cause, RaynasError):  # of a start that failed; or on a full disk it could not be told earlier
                raise cause
        raise PoolError(f"the training's workers failed: {'; '.join(sorted(set(map(in_words, causes))))}")
    if outcome is None and not is_asked:
        raise PoolError("the training's workers have ended without having trained")
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
    folder = as_path(config["folder"])
    if not _is_wanted(folder, config["token"]) or _outcome(folder, config["token"]) is not None:
        return  # the driver has given up, or a worker met an error that another try would meet again
    with _living(folder / ALIVE) if rank == 0 else nullcontext():
        try:
            task: TrainingTask = cloudpickle.loads(ray.get(config["task"][0]))
            device = get_device()
            if device.type == "cuda":
                torch.cuda.set_device(device)
            worker = WorkerRank(rank, context.get_world_size(), device)
            if rank:
                train(task, folder, worker, WorkerListener())
                return
            listener = _FolderListener(
                folder, config["loggers"], config["logged_config"], task.steps, *reached_in(folder)
            )
            listener.token = config["token"]
            with closing(listener):
                is_done = train(task, folder, worker, listener)
            write_json(folder / OUTCOME, {"token": listener.token, "is_done": is_done})
        except RaynasError as error:
            with suppress(StoreError):  # on a full disk; the error itself says so, if later
                told = {"error": str(error), "kind": type(error).__name__}
                write_json(folder / OUTCOME, {"token": config["token"], **told})
            if not isinstance(error, TrainingError):
                raise  # so that the others, which wait for this one, are ended
            # It follows from what all workers share, and each meets it at the same step: none is started again.


@contextmanager
def _living(path: Path) -> Iterator[None]:
    """Rewrite a file every two seconds, also while this process computes or waits for others."""
    is_over = threading.Event()

    def write() -> None:
        beat = 0
        while not is_over.is_set():
            with suppress(StoreError):  # on a full disk, the training itself says so
                write_text(path, f"{os.getpid()} {beat}", is_durable=False)
            beat += 1
            is_over.wait(_ALIVE_EVERY_S)

    thread = threading.Thread(target=write, daemon=True)
    thread.start()
    try:
        yield
    finally:
        is_over.set()
        thread.join()


class _SignOfLife:
    """Whether a file has stopped changing, or has not begun to, by this machine's clock alone."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._seen = ""
        self._since = monotonic()

    def is_there(self) -> bool:
        """Whether the file has changed in the last ten seconds."""
        return not self.is_silent() and bool(self._seen)

    def is_silent(self) -> bool:
        """Whether the file has not changed for ten seconds."""
        with suppress(OSError):
            if (text := read_text(self._path)) != self._seen:
                self._seen, self._since = text, monotonic()
        return monotonic() - self._since > _SILENCE_S


def _is_wanted(folder: Path, token: str) -> bool:
    try:
        return read_text(folder / TOKEN) == token
    except FileNotFoundError:
        return False
    except OSError:
        return isinstance(folder, ObjectPath)  # which cannot be reached for now, and says nothing


def _clear(folder: Path) -> None:
    remove(*(folder / name for name in CONTROL_FILES))
    for name in (RAY_TRAIN, NODES):
        remove_folder(folder / name)


def _pass_on(path: Path, told: str, on_progress: Callable[[TrainingProgress], None]) -> str:
    """Tell of the progress in the file if it is news; returns what was told last."""
    try:
        text = read_text(path)
        values = parse_json(text)
    except (OSError, ValueError):
        return told
    if text != told:
        known: dict[str, Any] = {name: math.nan if value is None else value for name, value in values.items()}
        on_progress(TrainingProgress(**known))
    return text


def _outcome(folder: Path, token: str) -> dict[str, Any] | None:
    """What the workers of this session came to."""
    try:
        content: dict[str, Any] = read_json(folder / OUTCOME)
    except (OSError, ValueError):
        return None
    return content if content.get("token") == token else None
