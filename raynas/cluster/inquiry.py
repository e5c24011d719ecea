"""What a running cluster says of itself, asked before it is joined.

Ray's own way of joining waits for minutes where nobody answers, and ends the whole process, in a way that no `except`
catches, where no raylet runs on this machine or a token is missing. So it is asked in a process of its own, which may
be stopped or end as it likes.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from time import monotonic, sleep
from typing import Any, cast

from raynas.errors import PoolError, error_words, on_one_line

CONNECT_S = 5.0
"""How long a port may take to be opened."""
_IMPORTS_S = 60.0
"""How long the process that asks may take to import Ray, as from a file system of a network on a busy machine."""
ANSWER_S = 12.0
"""How long a cluster may take to answer after that."""
_STARTS_S = 8.0
"""How long of that a head that listens already may take to write what it is and to become a node itself."""
_MARK = "raynas cluster: "


@dataclass(frozen=True)
class ClusterInfo:
    """A running cluster, as its head knows it.

    Args:
        address: HOST:PORT of the head.
        ray_version: The version of Ray that it was started with.
        python_version: The version of Python there.
        nodes: The addresses of its living nodes.
        has_node_here: Whether this machine is one of them, as it must be for a process on it to join.
    """

    address: str
    ray_version: str
    python_version: str
    nodes: Sequence[str]
    has_node_here: bool


def ask_cluster(address: str) -> ClusterInfo:
    """Ask who is there.

    Args:
        address: HOST:PORT of a head, or "auto" for the cluster that this machine is a node of.

    Raises:
        PoolError: There is no cluster, or it does not let us in; the message says what to do.
    """
    check_reachable(address)
    try:
        done = subprocess.run(
            [sys.executable, "-P", "-m", __name__, address],
            stdin=subprocess.DEVNULL, capture_output=True, text=True, errors="replace", check=False,
            timeout=_IMPORTS_S + ANSWER_S,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},  # finds what is found here
            start_new_session=True,  # a Ctrl-C is for this process alone
        )  # fmt: skip
    except subprocess.TimeoutExpired:
        raise PoolError(
            f"cannot join the Ray cluster at {address!r}: Ray takes over {_IMPORTS_S:g} s to import on this machine"
        ) from None
    answers = [line for line in done.stdout.splitlines() if line.startswith(_MARK)]
    if answers:
        answer = json.loads(answers[-1].removeprefix(_MARK))
        if "error" not in answer:
            return ClusterInfo(**answer)
        said = answer["error"]
    elif done.returncode == -signal.SIGALRM:
        said = f"what listens there does not answer as Ray {_version()} does"
    else:  # Ray has ended the process
        said = next((line for line in done.stderr.splitlines() if "Check failed" in line or "token" in line), "")
    if "token" in said.lower():
        raise PoolError(
            f"the Ray cluster at {address!r} does not let this process in: set RAY_AUTH_MODE=token and RAY_AUTH_TOKEN "
            "as on the head node"
        )
    reason = on_one_line(said) or f"the process that asked it ended with status {done.returncode}"
    raise PoolError(f"cannot join the Ray cluster at {address!r}: {reason}")


def check_joinable(cluster: ClusterInfo) -> None:
    """Refuse a cluster of another version of Ray or Python, and one that has lost all its nodes.

    Raises:
        PoolError: It is of another version, or has no nodes; the message says which.
    """
    if not cluster.nodes:
        raise PoolError(
            f"the Ray cluster at {cluster.address!r} has no living node: `ray status --address={cluster.address}` "
            "says what became of them, and `ray start --head` starts another cluster"
        )
    theirs = cluster.ray_version, cluster.python_version
    ours = _version(), ".".join(map(str, sys.version_info[:3]))
    if theirs != ours:
        raise PoolError(
            f"the Ray cluster at {cluster.address!r} was started with Ray {theirs[0]} and Python {theirs[1]}; here are "
            f"Ray {ours[0]} and Python {ours[1]}: use an environment with the same versions"
        )


def check_reachable(address: str) -> None:
    """Refuse HOST:PORT where nobody listens at once.

    Raises:
        PoolError: Nobody listens there, or it is no such address.
    """
    if address == "auto":
        return
    host, _, port = address.rpartition(":")
    if not host or not port.isdigit() or not 0 < int(port) < 2**16 or "/" in host:
        raise PoolError(
            f"{address!r} is no address of a Ray cluster: HOST:PORT of its head, or auto on one of its nodes"
        )
    try:
        address_towards(address)
    except OSError as error:
        raise PoolError(f"cannot join the Ray cluster at {address!r}: {error_words(error)}") from error


def address_towards(address: str) -> str:
    """The address of this machine in the network over which it reaches another one.

    Args:
        address: HOST:PORT, where somebody listens.

    Raises:
        OSError: It is not reached.
    """
    host, _, port = address.rpartition(":")
    with socket.create_connection((host.strip("[]"), int(port)), timeout=CONNECT_S) as connection:
        return str(connection.getsockname()[0])


def _version() -> str:
    from importlib.metadata import version

    return version("ray")


def _answer(address: str) -> Mapping[str, Any]:
    """What the cluster says; run in the process that asks."""
    import psutil
    from ray import _raylet
    from ray._common.usage import usage_lib
    from ray._private import services

    signal.setitimer(signal.ITIMER_REAL, ANSWER_S)  # ends the process, also where it waits in Ray's own code
    if address == "auto":
        found = services.canonicalize_bootstrap_address("auto")
        if found is None:
            return {
                "error": "no Ray runs on this machine: `ray start --address=HOST:PORT` makes it a node of a cluster"
            }
        address = found
    client: Any = vars(_raylet)["GcsClient"](address=address)
    until = monotonic() + _STARTS_S
    while not ((metadata := _metadata(usage_lib, client)) and (nodes := _living_nodes(client))) and monotonic() < until:
        sleep(0.2)  # a head listens before it has written the one, and becomes a node itself only after that
    if metadata is None:
        return {"error": f"its head has listened for {_STARTS_S:g} s without saying which Ray it is"}
    here = {one.address for addresses in psutil.net_if_addrs().values() for one in addresses}
    return {
        "address": address,
        "ray_version": metadata["ray_version"],
        "python_version": metadata["python_version"],
        "nodes": sorted(node.node_manager_address for node in nodes),
        # Of private addresses, another machine may have the same; the socket of its node is not in our file system.
        "has_node_here": any(
            node.node_manager_address in here and Path(node.raylet_socket_name).exists() for node in nodes
        ),
    }


def _metadata(usage_lib: Any, client: Any) -> Mapping[str, Any] | None:
    """What a cluster was started with; None where its head has not written it yet."""
    try:
        return cast(Mapping[str, Any], usage_lib.get_cluster_metadata(client))
    except AttributeError:  # not the None that its documentation names
        return None


def _living_nodes(client: Any) -> list[Any]:
    return [node for node in client.get_all_node_info(timeout=ANSWER_S).values() if node.state == 0]


def _main(address: str) -> None:
    signal.signal(signal.SIGALRM, signal.SIG_DFL)  # what ignores it hands that down
    # Of a child: its parent has read the settings of its own already.
    os.environ.setdefault("RAY_ENABLE_UV_RUN_RUNTIME_ENV", "0")
    try:
        answer = _answer(address)
    except Exception as error:  # Ray's errors of many kinds, which the parent puts into words
        answer = {"error": f"{type(error).__name__}: {error}"[:2000]}
    print(f"{_MARK}{json.dumps(answer)}", flush=True)


if __name__ == "__main__":
    _main(sys.argv[1])
