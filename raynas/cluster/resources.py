"""What a cluster has, and which share of it workers get."""

from __future__ import annotations

import math
import sys
from collections.abc import Iterable, Mapping
from typing import Any


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


def most_workers(each: Mapping[str, float]) -> int:
    """How many workers the joined cluster may ever have room for: as far as its autoscaler may grow it, if it says so.

    Args:
        each: Resources of one worker, such as {"CPU": 1}.
    """
    return max(1, room_on(alive_nodes(), each), room_on(autoscaler_reach(), each))


def autoscaler_reach() -> list[dict[str, float]]:
    """What the joined cluster may have at most, in one entry, if its autoscaler says so; else no entry."""
    from ray._private.state import state  # the one place where what an autoscaler may reach is told

    reach = state.get_max_resources_from_cluster_config()
    return [dict(reach)] if reach else []


def room_on(nodes: Iterable[Mapping[str, float]], each: Mapping[str, float]) -> int:
    """How many workers nodes could hold together, had they nothing else to do.

    Args:
        nodes: Resources of each node, such as {"CPU": 8, "GPU": 1}.
        each: Resources of one worker, such as {"CPU": 1}, not all of them 0.
    """
    return sum(min(fitting(node.get(name, 0.0), amount) for name, amount in each.items()) for node in nodes)


def fitting(total: float, each: float) -> int:
    """How often a share fits into what there is; as often as one likes if it is nothing."""
    return int(total / each + 1e-9) if each else sys.maxsize


def cpus_per_worker(nodes: Iterable[Mapping[str, float]], workers: int, gpus_per_worker: float) -> int:
    """The most CPUs that each worker can have when all of them are to run at once; at least 1.

    Args:
        nodes: Resources of each node, such as {"CPU": 8, "GPU": 1}.
        workers: How many workers there are to be.
        gpus_per_worker: GPUs of each worker, which may be a fraction.
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


def node_name(node: Mapping[str, Any]) -> str:
    """What people call a node, such as "node 4f1c9a02 (worker-3)".

    Args:
        node: An entry of `ray.nodes()`.
    """
    return f"node {node['NodeID'][:8]} ({node['NodeManagerHostname']})"


def memory_share(workers: int, each: Mapping[str, float] | None = None) -> float:
    """Memory that one worker may use, in bytes: an equal share of nine tenths of the smallest node.

    Args:
        workers: How many workers there may be at once.
        each: Resources of one worker, such as {"CPU": 1}: there are no more at once than the cluster has room for.
    """
    import ray

    nodes, total = alive_nodes(), ray.cluster_resources()
    room = [int(total.get(name, 0.0) / amount) for name, amount in (each or {}).items() if amount]
    at_once = max(1, min([workers, *room]))
    return 0.9 * min(node.get("memory", math.inf) for node in nodes) / math.ceil(at_once / len(nodes))


def placed_groups() -> set[str]:
    """Ids of the placement groups that have their resources, of whichever job; what they are for may still start."""
    from ray.util import placement_group_table

    return {name for name, group in placement_group_table().items() if group["state"] == "CREATED"}


def has_room(needs: Mapping[str, float], workers: int) -> bool:
    """Whether what is free in the cluster, taken together, suffices for some workers with these needs each."""
    import ray

    free = ray.available_resources()
    return all(free.get(name, 0.0) >= workers * amount for name, amount in needs.items())
