"""Process groups of trainings, made when each node is as the driver and each worker has chosen its interface."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from ray.exceptions import RayActorError
from ray.train.torch import TorchConfig
from ray.train.torch.config import _TorchBackend

from raynas.cluster.interfaces import use_interface_of_the_node
from raynas.cluster.node_checks import NodeCheck, check_nodes
from raynas.cluster.ray_errors import in_words
from raynas.errors import PoolError

_TRIES = 3
"""Starts after which a process that is lost each time is one that cannot start; Ray Train would try for ever."""


class _Backend(_TorchBackend):  # type: ignore[misc]
    """Makes the process group when each node is as the driver, and each worker has chosen its interface."""

    _lost = 0  # starts in a row in which a process was lost

    def on_start(self, worker_group: Any, backend_config: CheckedNodes) -> None:
        try:
            check_nodes(worker_group.get_workers(), backend_config.checks)
            worker_group.execute(use_interface_of_the_node)
            super().on_start(worker_group, backend_config)
        except RayActorError as error:
            self._lost += 1
            if self._lost % _TRIES:
                raise
            raise PoolError(f"a worker was lost {_TRIES} times while it started: {in_words(error)}") from None
        self._lost = 0


@dataclass
class CheckedNodes(TorchConfig):  # type: ignore[misc]
    """A configuration of Ray Train with which nodes that differ from the driver are refused.

    Workers talk over the interface that holds their node's address.

    Args:
        checks: What is asked of each node, whenever the workers are started.
    """

    checks: tuple[NodeCheck, ...] = ()

    @property
    def backend_cls(self) -> type[_TorchBackend]:
        """What makes the process group."""
        return _Backend
