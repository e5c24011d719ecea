"""The network interface over which the processes of a training talk with each other, on each node its own.

Without being told, gloo takes the address of the host's name, which many machines have as their loopback, so that
processes on two nodes do not find each other; NCCL takes the first interface that it finds.
"""

from __future__ import annotations

import os

VARIABLES = ("GLOO_SOCKET_IFNAME", "NCCL_SOCKET_IFNAME")
"""Where gloo and NCCL look for the name of an interface; what a user has set there stays."""


def interface_of(address: str) -> str | None:
    """The name of the interface of this machine that has an address; None if none has it."""
    import psutil

    for name, addresses in psutil.net_if_addrs().items():
        if any(one.address.partition("%")[0] == address for one in addresses):
            return name
    return None


def use_interface_of_the_node() -> None:
    """Have gloo and NCCL in this process, a worker of Ray's, use the interface by which its node is in the cluster."""
    import ray

    if (name := interface_of(ray.util.get_node_ip_address())) is not None:
        for variable in VARIABLES:
            os.environ.setdefault(variable, name)
