"""The pool of workers that a run asks for."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

from raynas.cluster.joining import connect
from raynas.cluster.options import PoolSize
from raynas.cluster.own_code import own_code_by_value
from raynas.cluster.ray_log import RayLog
from raynas.cluster.resources import default_workers, most_workers
from raynas.errors import ConfigError
from raynas.scoring.pool import EvaluatorPool, SerialPool
from raynas.scoring.ray_pool import RayPool
from raynas.scoring.task import Task
from raynas.searching.plan import Plan
from raynas.searching.windows import idle_workers
from raynas.storage.run_folder import ray_log_keeper, ray_log_place


def start_pool(
    plan: Plan, stack: ExitStack, log: Callable[[str], None], device_type: str | None, folder: Path
) -> tuple[Plan, EvaluatorPool, int | None]:
    """The pool that the configuration asks for, with Ray under it if need be; the stack ends both.

    Returns:
        The plan, whose window is known now; the pool; and how many workers it has, None where they come and go.
    """
    if plan.config.workers == 0:
        return plan, _serial_pool(plan, stack, device_type), 0
    return _ray_pool(plan, stack, log, device_type, folder)


def _serial_pool(plan: Plan, stack: ExitStack, device_type: str | None) -> SerialPool:
    if plan.config.address or plan.config.gpus_per_worker:
        raise ConfigError("workers=0 scores in this process; an address or GPUs per worker need workers")
    import torch

    pool = SerialPool(_task(plan, "cuda" if torch.cuda.is_available() else "cpu"), device_type=device_type)
    stack.callback(pool.close)
    return pool


def _ray_pool(
    plan: Plan, stack: ExitStack, log: Callable[[str], None], device_type: str | None, folder: Path
) -> tuple[Plan, RayPool, int | None]:
    config, size = plan.config, plan.config.pool_size
    with own_code_by_value(*plan.task("cpu").own_code):
        pass  # what cannot travel is said before anything is started
    # A local Ray offers what is asked for; where nothing is, it has room for the one worker that there is at least.
    asked = 1 if size is None else size.least
    gpus_asked = 0.0 if config.gpus_per_worker is None else asked * config.gpus_per_worker
    undo = connect(
        config.address,
        min_cpus=asked * config.threads,
        min_gpus=gpus_asked,
        makes_node=config.join,
        log=RayLog(ray_log_place(folder), log, ray_log_keeper(folder)),
    )
    stack.callback(undo)
    suggested, gpus = default_workers(config.gpus_per_worker)
    size = size or PoolSize(suggested, suggested)
    if config.window is None:
        each = {"CPU": float(config.threads), "GPU": gpus}
        plan = plan.with_window(plan.default_window(size.most or most_workers(each)))
    if line := idle_workers(plan.window, size.most or size.least):
        log(line)
    memory_gib = config.worker_memory_gib
    pool = RayPool(
        _task(plan, "cuda" if gpus else "cpu"),
        size=size if size.most is not None else PoolSize(size.least, max(size.least, plan.window // 2)),
        gpus_per_worker=gpus,
        window=plan.window,
        time_limit_s=config.time_limit_s,
        memory_limit_bytes=None if memory_gib is None else memory_gib * 2**30,
        device_type=device_type,
        run=folder.name,
        log=log,
    )
    stack.callback(pool.close)
    return plan, pool, size.least if size.is_fixed else None


def _task(plan: Plan, device: str) -> Task:
    """The plan's task, whose groups of outputs are what the plan's scores name."""
    task = plan.task(device)
    named = [(score.group, score.name, score.higher_is_better) for score in plan.scores if score.group is not None]
    given = [(number, *output) for number, group in enumerate(task.outputs) for output in group]
    assert named == given, f"scores {named} of a task that computes {given}"
    return task
