"""What workers wait for, in words: what starts, what has no place, what the autoscaler is doing about it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from raynas.cluster.resources import alive_nodes
from raynas.errors import on_one_line
from raynas.wording import plural

_TOLERANCE = 1e-9


def why_waiting(which: str, needs: Mapping[str, float], missing: int | None = None) -> str:
    """A line on what workers of the joined cluster wait for.

    Args:
        which: What waits, such as "2 of 4 workers".
        needs: Resources of each, such as {"CPU": 1}.
        missing: How many of them there are, where each asks for its place by itself: those that have one are starting.
    """
    import ray
    from ray.autoscaler.v2.sdk import get_cluster_status

    status: Any = get_cluster_status(ray.get_runtime_context().gcs_address)
    each = " and ".join(f"{amount:g} {name}" for name, amount in needs.items() if amount)
    parts = [f"waiting for {which} with {each} each"]
    without_place = None if missing is None else min(missing, asked_for(status.resource_demands, needs))
    if missing is not None and without_place is not None and missing > without_place:
        parts.append(f"{missing - without_place} {'is' if missing - without_place == 1 else 'are'} starting")
    if without_place is None or without_place:
        parts += [f"{without_place} without a place"] if without_place else []
        parts.append(in_cluster())
    parts += autoscaling(status)
    return "; ".join(parts)


def in_cluster() -> str:
    """What the joined cluster has."""
    import ray

    free, total, nodes = ray.available_resources(), ray.cluster_resources(), len(alive_nodes())
    has = ", ".join(f"{total.get(name, 0):g} {name} ({free.get(name, 0):g} free)" for name in ("CPU", "GPU"))
    return f"the cluster has {plural(nodes, 'node', 'nodes')} with {has}"


def asked_for(demands: Any, needs: Mapping[str, float]) -> int:
    """How many places for actors with these needs are asked for and not there, of whichever job.

    Args:
        demands: A `ResourceDemandSummary` of Ray's autoscaler.
        needs: Resources of each, such as {"CPU": 1}.
    """
    wanted = {name: amount for name, amount in needs.items() if amount}
    return sum(
        bundle.count
        for demand in demands.ray_task_actor_demand
        for bundle in demand.bundles_by_count
        if _are_same({name: amount for name, amount in bundle.bundle.items() if amount}, wanted)
    )


def autoscaling(status: Any) -> list[str]:
    """What the autoscaler does, a part of a line each; nothing where there is none.

    Args:
        status: A `ClusterStatus` of Ray's autoscaler.
    """
    found = []
    if asked := sum(launch.count for launch in status.pending_launches):
        found.append(f"{plural(asked, 'node', 'nodes')} asked for ({_types(status.pending_launches)})")
    if coming := len(status.pending_nodes):
        found.append(f"{plural(coming, 'node', 'nodes')} starting ({_types(status.pending_nodes)})")
    if status.failed_launches:
        last: Any = max(status.failed_launches, key=lambda launch: launch.failed_ts_s or 0)
        why = on_one_line(str(last.details or "no reason given"), 200)
        failed = plural(len(status.failed_launches), "request for a node", "requests for nodes")
        found.append(f"{failed} failed, the last one: {why}")
    return found


def _types(launches: Sequence[Any]) -> str:
    return ", ".join(dict.fromkeys(one.ray_node_type_name for one in launches))


def _are_same(one: Mapping[str, float], other: Mapping[str, float]) -> bool:
    return one.keys() == other.keys() and all(abs(one[name] - other[name]) < _TOLERANCE for name in one)
