"""Joining a Ray cluster, or starting a local one."""

from __future__ import annotations

import os
import socket
import sys
from collections.abc import Callable
from typing import Any

from raynas.errors import PoolError, error_words, on_one_line

_REACHABLE_S = 10.0


def connect(address: str | None, *, min_cpus: int, min_gpus: float = 0.0) -> Callable[[], None]:
    """Join the cluster at an address, or start Ray on this machine; returns what undoes it.

    A Ray that this process has joined already is used as it is, and left so.

    Args:
        address: The address of a running cluster; None starts a local one.
        min_cpus: A local one offers at least as many, so that a worker per core and more of them fit.
        min_gpus: A local one must have as many; a cluster may still grow.

    Raises:
        PoolError: There is no cluster at the address, it does not let us in, or Ray does not start here.
    """
    if address is None:
        # Of the head that is started here: a cut link is noticed in 10 s instead of 65.
        for name, value in (("period_ms", 1000), ("timeout_ms", 2000), ("failure_threshold", 3)):
            os.environ.setdefault(f"RAY_health_check_{name}", str(value))
        # Nobody takes this machine away with a warning; saves Ray Train a process.
        os.environ.setdefault("RAY_TRAIN_ENABLE_PREEMPTION_WATCHER", "0")
    ray = imported_ray()
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
    _have_losses_told_once(ray)
    shutdown: Callable[[], None] = ray.shutdown
    gpus = ray.cluster_resources().get("GPU", 0.0)
    if address is None and gpus < min_gpus:
        shutdown()
        raise PoolError(f"the workers need {min_gpus:g} GPUs together; this machine has {gpus:g}")
    return shutdown


def imported_ray() -> Any:
    """The module of Ray, imported with the settings that it reads then."""
    # Else `uv run` makes it build a new environment on every worker.
    os.environ.setdefault("RAY_ENABLE_UV_RUN_RUNTIME_ENV", "0")
    # Ray would hide the GPUs from tasks that ask for none, and warns that it will stop doing so.
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    # Ray Tune and Train would move workers to folders of their own; so, relative paths mean there what they mean here.
    os.environ.setdefault("RAY_CHDIR_TO_TRIAL_DIR", "0")
    import ray

    return ray


_TOLD_BY_US = ("A worker died or was killed", "The actor died", "The actor is dead")


def _have_losses_told_once(ray: Any) -> None:
    """Have Ray's own paragraphs on each lost process left out, and its other news said in a line, on standard error.

    Who has lost a process says so, and what becomes of its work. Ray has no setting for it: a thread of it prints them.
    """
    module = ray._private.worker

    def print_lines(data: dict[str, Any], *_: Any, **__: Any) -> None:
        for line in data.get("lines", ()):
            if not any(text in line for text in _TOLD_BY_US):
                print(f"Ray: {on_one_line(line)}", file=sys.stderr, flush=True)

    if hasattr(module, "print_to_stdstream"):
        module.print_to_stdstream = print_lines


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
        raise PoolError(f"cannot join the Ray cluster at {address!r}: {error_words(error)}") from error
