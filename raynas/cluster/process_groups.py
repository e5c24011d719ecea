"""Process groups of trainings, made when each worker has chosen its network interface."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from ray.train.torch import TorchConfig
from ray.train.torch.config import _TorchBackend

from raynas.cluster.interfaces import use_interface_of_the_node


class _Backend(_TorchBackend):  # type: ignore[misc]
    """Makes the process group when each worker has chosen its interface."""

    def on_start(self, worker_group: Any, backend_config: Any) -> None:
        worker_group.execute(use_interface_of_the_node)
        super().on_start(worker_group, backend_config)


@dataclass
class NodeInterfaces(TorchConfig):  # type: ignore[misc]
    """A configuration of Ray Train with which workers talk over the interface that holds their node's address."""

    @property
    def backend_cls(self) -> type[_TorchBackend]:
        """What makes the process group."""
        return _Backend
