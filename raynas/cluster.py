"""Joining a Ray cluster, or starting Ray on this machine."""

from __future__ import annotations

import os
import socket
import sys
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from raynas.errors import PoolError

_REACHABLE_S = 10.0


def connect(address: str | None, *, min_cpus: int, min_gpus: float = 0.0) -> Callable[[], None]:
    """Join the cluster at an address, or start Ray on this machine; returns what undoes it.

    A Ray that this process has joined already is used as it is, and left so.

    Args:
        address: Of a running cluster; None starts a local one.
        min_cpus: A local one offers at least as many, so that a worker per core and more of them fit.
        min_gpus: A local one must have as many; a cluster may still grow.

    Raises:
        PoolError: There is no cluster at the address, it does not let us in, or Ray does not start here.
    """
    # Read when Ray is imported: else `uv run` makes it build a new environment on every worker.
    os.environ.setdefault("RAY_ENABLE_UV_RUN_RUNTIME_ENV", "0")
    # Ray would hide the GPUs from tasks that ask for none, and warns that it will stop doing so.
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    if address is None:
        # Of the head that is started here: a cut link is noticed in 10 s instead of 65.
        for name, value in (("period_ms", 1000), ("timeout_ms", 2000), ("failure_threshold", 3)):
            os.environ.setdefault(f"RAY_health_check_{name}", str(value))
        # Nobody takes this machine away with a warning; saves Ray Train a process.
        os.environ.setdefault("RAY_TRAIN_ENABLE_PREEMPTION_WATCHER", "0")
    import ray

    if ray.is_initialized():
        return lambda: None
    if address is not None:
        _check_reachable(address)
    settings: dict[str, Any] = {"log_to_driver": False, "logging_level": "error"}
    if address is None:
        settings |= {"num_cpus": max(min_cpus, os.cpu_count() or 1), "include_dashboard": False}
    try:
        ray.init(address=address or "local", **settings)
    except Exception as error:  # Ray raises what is no more than an Exception where a node does not start in time
        if address is None:
            raise PoolError(f"cannot start Ray on this machine: {error}") from error
        raise PoolError(
            f"cannot join the Ray cluster at {address!r}: {error}. On clusters with token authentication, set "
            "RAY_AUTH_MODE=token and RAY_AUTH_TOKEN as on the head node"
        ) from error
    shutdown: Callable[[], None] = ray.shutdown
    gpus = ray.cluster_resources().get("GPU", 0.0)
    if address is None and gpus < min_gpus:
        shutdown()
        raise PoolError(f"the workers need {min_gpus:g} GPUs together; this machine has {gpus:g}")
    return shutdown


def default_workers(gpus_per_worker: float | None) -> tuple[int, float]:
    """Workers and GPUs of each on the joined cluster: one worker per GPU, without GPUs one per core up to 2."""
    import ray

    total = ray.cluster_resources()
    gpus = total.get("GPU", 0.0)
    if gpus_per_worker is None:
        gpus_per_worker = 1.0 if gpus else 0.0
    if gpus_per_worker:
        return max(1, fitting(gpus, gpus_per_worker)), gpus_per_worker
    return max(1, min(2, int(total.get("CPU", 1)))), 0.0


def fitting(total: float, each: float) -> int:
    """How often a share fits into what there is; as often as one likes if it is nothing."""
    return int(total / each + 1e-9) if each else sys.maxsize


def cpus_per_worker(nodes: Iterable[Mapping[str, float]], workers: int, gpus_per_worker: float) -> int:
    """The most CPUs that each worker can have when all of them are to run at once; at least 1.

    Args:
        nodes: Resources of each node, such as {"CPU": 8, "GPU": 1}.
        workers: How many.
        gpus_per_worker: Of each.
    """
    nodes = list(nodes)

    def places(cpus: int) -> int:
        by_gpu = [fitting(node.get("GPU", 0.0), gpus_per_worker) for node in nodes]
        return sum(min(fitting(node.get("CPU", 0.0), cpus), most) for node, most in zip(nodes, by_gpu, strict=True))

    largest = int(max((node.get("CPU", 0.0) for node in nodes), default=1.0))
    return next((cpus for cpus in range(largest, 1, -1) if places(cpus) >= workers), 1)


def alive_nodes() -> list[dict[str, float]]:
    """Resources of each node of the joined cluster."""
    import ray

    return [node["Resources"] for node in ray.nodes() if node["Alive"]]


def placed_groups() -> set[str]:
    """Ids of the placement groups that have their resources, of whichever job; what they are for may still start."""
    from ray.util import placement_group_table

    return {name for name, group in placement_group_table().items() if group["state"] == "CREATED"}


def why_waiting(which: str, needs: Mapping[str, float]) -> str:
    """A line on what workers wait for.

    Args:
        which: They are.
        needs: Resources of each, such as {"CPU": 1}.
    """
    import ray

    free, total = ray.available_resources(), ray.cluster_resources()
    each = " and ".join(f"{amount:g} {name}" for name, amount in needs.items() if amount)
    has = ", ".join(f"{total.get(name, 0):g} {name} ({free.get(name, 0):g} free)" for name in ("CPU", "GPU"))
    nodes = len(alive_nodes())
    return f"waiting for {which} with {each} each; the cluster has {nodes} node{'s' * (nodes != 1)} with {has}"


def _check_reachable(address: str) -> None:
    """Refuse HOST:PORT where nobody listens at once; Ray itself would go on trying for minutes.

    Raises:
        PoolError: Nobody listens there.
    """
    host, _, port = address.rpartition(":")
    if "/" in address or not port.isdigit():
        return  # auto, or a client's address
    try:
        socket.create_connection((host, int(port)), timeout=_REACHABLE_S).close()
    except OSError as error:
        raise PoolError(f"cannot join the Ray cluster at {address!r}: {error}") from error
