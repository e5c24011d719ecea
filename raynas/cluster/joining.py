"""Joining a Ray cluster, or starting a local one."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from tempfile import TemporaryFile
from time import monotonic, sleep
from typing import Any

from raynas.cluster.inquiry import address_towards, ask_cluster, check_joinable
from raynas.cluster.ray_log import NOWHERE, RayLog, said_to
from raynas.cores import usable_cores
from raynas.errors import ConfigError, PoolError, on_one_line
from raynas.wording import plural

_STARTS_S, _ENDS_S, _POLL_S = 60.0, 20.0, 0.5


def cluster_address(given: str | None) -> str | None:
    """The address of the cluster to join: what is given, else RAY_ADDRESS; None for a Ray that this process starts.

    RAY_ADDRESS is what Ray sets in the jobs of a cluster (`ray job submit`).

    Args:
        given: HOST:PORT, auto, or local for none; None or an empty text where nothing is asked for.
    """
    address = given or os.environ.get("RAY_ADDRESS") or "local"
    return None if address == "local" else address


def connect(
    address: str | None,
    *,
    min_cpus: int,
    min_gpus: float = 0.0,
    makes_node: bool = False,
    log: RayLog | None = None,
) -> Callable[[], None]:
    """Join a running cluster, or start Ray on this machine; returns what undoes it.

    A Ray that this process has joined already is used as it is, and left so.

    Args:
        address: The address of a running cluster, as `cluster_address` takes it.
        min_cpus: A Ray that is started offers at least as many, so that a worker per core and more of them fit.
        min_gpus: A Ray that is started must have as many; a cluster may still grow.
        makes_node: Whether to make this machine a node of the cluster, without cores, if it is none; it ends with the
            rest.
        log: Takes what Ray says in this process until it is undone; None: nobody does.

    Raises:
        ConfigError: A node is to be made of no cluster.
        PoolError: There is no cluster at the address, it does not let us in, this machine is none of its nodes, or Ray
            does not start here.
    """
    address = cluster_address(address)
    if address is None and makes_node:
        raise ConfigError("to join a cluster, its address is needed: --address, or RAY_ADDRESS")
    if address is None:
        # Of the head that is started here: a cut link is noticed in 10 s instead of 65.
        for name, value in (("period_ms", 1000), ("timeout_ms", 2000), ("failure_threshold", 3)):
            os.environ.setdefault(f"RAY_health_check_{name}", str(value))
        # Nobody takes this machine away with a warning; saves Ray Train a process.
        os.environ.setdefault("RAY_TRAIN_ENABLE_PREEMPTION_WATCHER", "0")
    ray, log = imported_ray(), log or RayLog(NOWHERE)
    with ExitStack() as undo:
        if ray.is_initialized():
            if not _is_worker(ray):  # else whose driver has the log of all
                undo.enter_context(said_to(log))
                log.begin()
            return undo.pop_all().close
        if address is not None:
            _prepare_to_join(address, undo, makes_node=makes_node)
        undo.enter_context(said_to(log))
        settings: dict[str, Any] = {"log_to_driver": True, "logging_level": "info"}
        if address is None:
            settings |= {"num_cpus": max(min_cpus, usable_cores()), "include_dashboard": False}
        undo.callback(ray.shutdown)
        try:
            ray.init(address=address or "local", **settings)
        except Exception as error:  # Ray raises what is no more than an Exception where a node does not start in time
            if address is None:
                raise PoolError(f"cannot start Ray on this machine: {error}") from error
            raise PoolError(f"cannot join the Ray cluster at {address!r}: {error}") from error
        gpus = ray.cluster_resources().get("GPU", 0.0)
        if address is None and gpus < min_gpus:
            raise PoolError(f"the workers need {min_gpus:g} GPUs together; this machine has {gpus:g}")
        log.begin()
        return undo.pop_all().close
    raise AssertionError("unreachable")


def _prepare_to_join(address: str, undo: ExitStack, *, makes_node: bool) -> None:
    """Refuse a cluster that cannot be joined, or make this machine a node of it where that is asked for.

    Raises:
        PoolError: It cannot be joined; the message says what to do.
    """
    if "://" in address:
        raise PoolError(
            f"{address!r} is the address of a Ray client, over which runs are not carried out: submit them "
            "(`ray job submit -- raynas ...`), or name HOST:PORT of the head, or auto on one of its nodes"
        )
    cluster = ask_cluster(address)
    check_joinable(cluster)
    if cluster.has_node_here:
        return
    if not makes_node:
        raise PoolError(
            f"this machine is no node of the Ray cluster at {address!r} (of {_named(cluster.nodes)}): `ray start "
            f"--address={address} --num-cpus=0` makes it one, and --join does so for as long as the run lasts"
        )
    undo.enter_context(_node_here(cluster.address))


def _named(nodes: Sequence[str]) -> str:
    some = ", ".join(nodes[:5])
    return f"{plural(len(nodes), 'node', 'nodes')}: {some}{', ...' * (len(nodes) > 5)}"


@contextmanager
def _node_here(address: str) -> Iterator[None]:
    """Make this machine a node without cores or GPUs, on which a driver can run, until the block ends.

    Raises:
        PoolError: It does not become one.
    """
    command = [
        str(Path(sys.executable).with_name("ray")), "start", "--block", f"--address={address}",
        f"--node-ip-address={address_towards(address)}", "--num-cpus=0", "--num-gpus=0", "--disable-usage-stats",
    ]  # fmt: skip
    with TemporaryFile("w+", errors="replace") as told:  # a pipe that nobody reads would fill up
        process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=told, stderr=subprocess.STDOUT,
            start_new_session=True,  # a Ctrl-C is the run's, which ends the node last
        )  # fmt: skip
        try:
            deadline = monotonic() + _STARTS_S
            while not ask_cluster(address).has_node_here:
                if process.poll() is not None or monotonic() > deadline:
                    told.seek(0)
                    said = [line for line in told if line.strip()]
                    why = on_one_line(said[-1]) if said else f"it did not within {_STARTS_S:g} s"
                    raise PoolError(f"this machine did not become a node of the Ray cluster at {address!r}: {why}")
                sleep(_POLL_S)
            yield
        finally:
            _end(process)


def _end(process: subprocess.Popen[bytes]) -> None:
    """End a process that leads a session, in good order if it does so in time."""
    for sent in (signal.SIGTERM, signal.SIGKILL):
        with suppress(ProcessLookupError):
            os.killpg(process.pid, sent)
        with suppress(subprocess.TimeoutExpired):
            process.wait(_ENDS_S)
            return


def _is_worker(ray: Any) -> bool:
    return bool(ray._private.worker.global_worker.mode == ray.WORKER_MODE)


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
