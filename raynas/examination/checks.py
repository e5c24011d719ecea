"""What is to be said of the nodes and pairs that were looked at, and the bounds that it is said by.

A check fails where runs would fail or nodes not be used, and warns where they may suffer. docs/cluster.md has the
bounds with their reasons.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple, TypeAlias

from raynas.cluster.installed import differences
from raynas.examination.pairs import is_sample
from raynas.examination.report import Finding, NodeReport, PairReport, State
from raynas.wording import duration, memory_size, percent, plural

DISK_FAILS, DISK_WARNS = 0.05, 0.10
"""Shares of a disk that are free: Ray spills no objects to one that is 95 % full."""
MEMORY_FAILS, MEMORY_WARNS = 0.05, 0.10
"""Shares of the memory that are free: Ray ends workers where 95 % of it are taken."""
TEMPORARY_BYTES = 2**30
SHARED_MEMORY_BYTES = 2 * 2**30
"""What is to be left of /dev/shm beside Ray's objects, for the processes that prepare a training's images."""
OPEN_FILES = 8192
"""What Ray itself recommends: a head has some connections to each worker."""
CLOCK_S = 2.0
GPU_FREE = 0.9
CALL_S = 0.05
BYTES_PER_S = 50e6

_Said: TypeAlias = Iterator[tuple[State, str]]
_Facts: TypeAlias = Mapping[str, Any]


def versions_there(wanted: Mapping[str, str], node: NodeReport, facts: _Facts) -> _Said:
    """Whether a node has the code that the driver has."""
    if "versions" in facts and (other := differences(wanted, facts["versions"])):
        yield "fail", f"{other}: install the same on all nodes, since workers do not use one that differs"


def gpus_there(node: NodeReport, facts: _Facts) -> _Said:
    """Whether torch sees the GPUs that Ray counts, and whether they are free."""
    if "gpus" not in facts:
        return
    seen = facts["gpus"]
    if len(seen) < node.gpus:
        counted = plural(int(node.gpus), "GPU", "GPUs")
        yield "fail", f"Ray counts {counted} and torch sees {len(seen)}: see to the driver, or start Ray anew there"
    for number, gpu in enumerate(seen):
        if gpu["free_bytes"] < GPU_FREE * gpu["total_bytes"]:
            free = f"{memory_size(gpu['free_bytes'])} of {memory_size(gpu['total_bytes'])}"
            yield "warn", f"of GPU {number}, {free} are free: see what else runs on it (`nvidia-smi`)"


def memory_there(node: NodeReport, facts: _Facts) -> _Said:
    """Whether there is memory left."""
    if "memory" not in facts:
        return
    free, total = facts["memory"]["free_bytes"], facts["memory"]["total_bytes"]
    said = f"{memory_size(free)} of {memory_size(total)} are free"
    if free < MEMORY_FAILS * total:
        yield "fail", f"{said}: end what else runs there; below {percent(MEMORY_FAILS, 0)}, Ray ends workers"
    elif free < MEMORY_WARNS * total:
        yield "warn", f"{said}: end what else runs there, or take fewer workers"


def disks_there(node: NodeReport, facts: _Facts) -> _Said:
    """Whether Ray can spill objects to the disk of its session, and temporary files find place."""
    if "session_disk" in facts:
        path, free, total = (facts["session_disk"][name] for name in ("path", "free_bytes", "total_bytes"))
        said = f"{memory_size(free)} of {memory_size(total)} are free for what Ray keeps in {path}"
        mend = "make room, or start Ray with --temp-dir elsewhere"
        if free < DISK_FAILS * total:
            yield "fail", f"{said}: {mend}; below {percent(DISK_FAILS, 0)}, Ray spills no objects"
        elif free < DISK_WARNS * total:
            yield "warn", f"{said}: {mend}, before less than {percent(DISK_FAILS, 0)} are free"
    if "temporary_disk" in facts and facts["temporary_disk"]["free_bytes"] < TEMPORARY_BYTES:
        free, path = memory_size(facts["temporary_disk"]["free_bytes"]), facts["temporary_disk"]["path"]
        yield "warn", f"{free} are free for temporary files in {path}: make room, or set TMPDIR elsewhere"


def shared_memory_there(node: NodeReport, facts: _Facts) -> _Said:
    """Whether the processes that prepare images have shared memory, beside Ray's objects."""
    if "shared_memory" not in facts:
        return
    path, total = facts["shared_memory"]["path"], facts["shared_memory"]["total_bytes"]
    beside = total - node.object_store_bytes
    mend = "make it larger (docker run --shm-size), or start Ray with a smaller --object-store-memory"
    if beside < 0:
        yield "warn", f"{memory_size(total)} of {path} are too little for Ray's objects, which lie on disk then: {mend}"
    elif beside < SHARED_MEMORY_BYTES:
        yield "warn", f"{memory_size(beside)} of {path} are left beside Ray's objects, for preparing images: {mend}"


def open_files_there(node: NodeReport, facts: _Facts) -> _Said:
    """Whether processes may open files enough."""
    if 0 <= facts.get("open_files", OPEN_FILES) < OPEN_FILES:  # negative: without limit
        limit = facts["open_files"]
        yield "warn", f"a process may open {limit:,} files: `ulimit -n {OPEN_FILES}` or more before `ray start`"


def clock_there(node: NodeReport, facts: _Facts) -> _Said:
    """Whether the clock is that of the driver."""
    if node.clock is None:
        if node.silent is None:
            yield "warn", "not known, since it was late to answer: look again when less is running there"
    elif abs(node.clock.seconds) - node.clock.uncertainty_s > CLOCK_S:  # certainly
        off = duration(abs(node.clock.seconds))
        which = "ahead of" if node.clock.seconds > 0 else "behind"
        yield "warn", f"the clock is {off} {which} the driver's: have both set over the network (NTP)"


def network_there(node: NodeReport, facts: _Facts) -> _Said:
    """Whether gloo and NCCL find the interface by which the node is in the cluster."""
    if "network" not in facts:
        return
    interface, told, there = (facts["network"][name] for name in ("interface", "told", "interfaces"))
    for variable, name in told.items():
        # Some take several names, the beginning of a name, or what is left out.
        if name.isalnum() and not any(one.startswith(name) for one in there):
            yield (
                "fail",
                f"{variable} is {name}, and interfaces there are {', '.join(there)}: correct it, or leave it out",
            )
    if interface is None and not told:
        mend = "start Ray with --node-ip-address, or set GLOO_SOCKET_IFNAME and NCCL_SOCKET_IFNAME before"
        yield "warn", f"no interface has the node's address in Ray, by which trainings over several nodes talk: {mend}"


class _Check(NamedTuple):
    """A check of nodes: its name, what looks, the facts that it needs, and what is said where all is well."""

    name: str
    look: Callable[[NodeReport, _Facts], _Said]
    needs: tuple[str, ...]
    fine: str


def _node_checks(versions: Mapping[str, str]) -> list[_Check]:
    disk, memory = f"{percent(DISK_WARNS, 0)} or more are free", f"{percent(MEMORY_WARNS, 0)} or more are free"
    shared = f"{memory_size(SHARED_MEMORY_BYTES)} or more are left beside Ray's objects"
    return [
        _Check("versions", partial(versions_there, versions), ("versions",), "all are as the driver's"),
        _Check("GPUs", gpus_there, ("gpus",), "torch sees all that Ray counts, and they are free"),
        _Check("memory", memory_there, ("memory",), memory),
        _Check("disk", disks_there, ("session_disk", "temporary_disk"), disk),
        _Check("shared memory", shared_memory_there, ("shared_memory",), shared),
        _Check("open files", open_files_there, ("open_files",), f"{OPEN_FILES:,} or more for each process"),
        _Check("clock", clock_there, (), f"within {CLOCK_S:g} s of the driver's"),
        _Check("network", network_there, ("network",), "each node's address is that of one of its interfaces"),
    ]


_GRAVE = ("versions", "gpus")
"""Facts without which a node is of no use."""


def findings_on_nodes(nodes: Sequence[NodeReport], versions: Mapping[str, str]) -> list[Finding]:
    """What is to be said of the nodes, by checks; of GPUs only where Ray counts some.

    Args:
        nodes: What was found on each.
        versions: Those of the driver.
    """
    mend = "see that Ray runs there (`ray status`), and that no firewall is between nodes, whatever the port"
    silent: list[tuple[str, State, str]] = [
        (node.name, "fail", f"{node.silent}: {mend}") for node in nodes if node.silent is not None
    ]
    found = _merged("nodes", silent, f"{plural(len(nodes), 'node answers', 'nodes answer')}")
    known = [(node, node.facts) for node in nodes if node.facts is not None]
    for check in _node_checks(versions):
        if not known or (check.look is gpus_there and not any(node.gpus for node, _ in known)):
            continue
        said = [(node.name, *one) for node, facts in known for one in check.look(node, facts)]
        for node, facts in known:
            errors = [(name, facts["errors"][name]) for name in check.needs if name in facts["errors"]]
            said += [(node.name, "fail" if name in _GRAVE else "warn", f"not known: {text}") for name, text in errors]
        if check.look is gpus_there:
            said += _kinds(known)
        found += _merged(check.name, said, check.fine)
    return found


def _kinds(known: Sequence[tuple[NodeReport, _Facts]]) -> list[tuple[str, State, str]]:
    kinds = sorted({gpu["name"] for _, facts in known for gpu in facts.get("gpus", ())})
    if len(kinds) < 2:
        return []
    return [("", "warn", f"there are {len(kinds)} kinds, {', '.join(kinds)}: a search uses one, see --device-type")]


def findings_on_pairs(pairs: Sequence[PairReport], nodes: int) -> list[Finding]:
    """What is to be said of pairs; nothing where there are none.

    Args:
        pairs: Those that were to be measured.
        nodes: How many nodes they were chosen from.
    """
    if not pairs:
        return []
    said: list[tuple[str, State, str]] = []
    for one in pairs:
        between = f"{one.taker} from {one.giver}"
        if one.error is not None:
            said.append((between, "fail", f"{one.error}: see to the network between them, whatever the port"))
        elif one.call_s is None:
            said.append((between, "warn", "not measured, for lack of time: look again when less is running"))
        elif one.call_s > CALL_S:
            said.append((between, "warn", f"a call takes {duration(one.call_s)}: have the nodes near each other"))
        if one.bytes_per_s is not None and one.bytes_per_s < BYTES_PER_S:
            speed = f"objects come at {one.bytes_per_s / 1e6:.3g} MB/s"
            said.append((between, "warn", f"{speed}: have a faster network for trainings over several nodes"))
    sample = f", a sample of {nodes * (nodes - 1):,}: each node from the next" if is_sample(nodes) else ""
    bounds = f"calls within {duration(CALL_S)}, objects at {BYTES_PER_S / 1e6:g} MB/s or more"
    return _merged("pairs", said, f"{plural(len(pairs), 'pair', 'pairs')}{sample}: {bounds}")


def _merged(check: str, said: Iterable[tuple[str, State, str]], fine: str) -> list[Finding]:
    """A finding for each text, with all that it is true of; or that all is well."""
    where: dict[tuple[State, str], list[str]] = {}
    for name, state, text in said:
        where.setdefault((state, text), []).extend([name] * bool(name))
    found = [Finding(check, state, tuple(names), text) for (state, text), names in where.items()]
    return found or [Finding(check, "ok", (), fine)]
