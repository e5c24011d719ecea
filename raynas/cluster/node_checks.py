"""What must be on each node as it is at the driver, before the processes of a training meet: code, and files."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from raynas.cluster.installed import code_versions, differences
from raynas.errors import PoolError, error_line


class NodeCheck(NamedTuple):
    """A question to one process of each node.

    Args:
        wanted: The answer that is wanted, in words by what they are about.
        look: Answers there; a function that a node finds in its own installation.
        given: What it is called with; a reference to an object in a list comes as it is.
        but_on: The id of a node that is not asked, such as that of the driver; None: all are.
    """

    wanted: Mapping[str, str]
    look: Callable[..., Mapping[str, str]]
    given: tuple[Any, ...] = ()
    but_on: str | None = None


def same_code(packages: Sequence[str]) -> NodeCheck:
    """Whether a node has the code of the driver.

    Args:
        packages: Names of installed packages that the user's own code is from, as `installed_packages` finds them.
    """
    return NodeCheck(code_versions(packages), code_versions, (packages,))


def check_nodes(workers: Sequence[Any], checks: Sequence[NodeCheck]) -> None:
    """Refuse nodes that differ from the driver.

    Args:
        workers: The workers of Ray Train, of which the first one on each node answers.
        checks: What is asked; what follows a check that refuses a node is not asked any more, since the code that would
            answer may be another one.

    Raises:
        PoolError: Nodes differ; the message names them, and how.
    """
    import ray

    first = {worker.metadata.node_id: worker for worker in reversed(workers)}
    for check in checks:
        asked = {
            node: worker.execute_async(check.look, *check.given)
            for node, worker in first.items()
            if node != check.but_on
        }
        refused = []
        for node, answer in asked.items():
            try:
                differs = differences(check.wanted, ray.get(answer))
            except ray.exceptions.RayTaskError as error:  # such as of a module that another version does not have
                differs = f"it cannot be asked for what it has: {error_line(error.cause or error)}"
            if differs:
                about = first[node].metadata
                refused.append(f"node {node[:8]} ({about.hostname}, {about.node_ip}) is not as the driver: {differs}")
        if refused:
            raise PoolError("; ".join(refused))
