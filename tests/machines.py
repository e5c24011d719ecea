"""Machines of their own on one: network namespaces with a file system for what Ray keeps, joined by a switch.

Needs root. Each machine has its own address, loopback, process ids, `/tmp/ray` and `/dev/shm`; all other files are
those of this machine, as on shared storage.
"""

from __future__ import annotations

import functools
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from time import monotonic, sleep
from typing import Any

_NET = "10.87.0"
_PORT = 6379
_RAY = Path(sys.executable).with_name("ray")
_PATIENCE = {  # an agent that is slow to come up on a busy machine is waited for
    "RAY_agent_register_timeout_ms": "180000",
    "RAY_raylet_start_wait_time_s": "180",
    "RAY_ENABLE_UV_RUN_RUNTIME_ENV": "0",
    "RAY_AUTH_MODE": "disabled",  # unless a test says otherwise
    "OMP_NUM_THREADS": "1",
}
_QUICK_TO_NOTICE = {
    "RAY_health_check_period_ms": "1000",
    "RAY_health_check_timeout_ms": "2000",
    "RAY_health_check_failure_threshold": "3",
}


@functools.cache
def why_no_machines() -> str | None:
    """Why tests of machines cannot run here, None where they can: each right that they need is tried, and Ray.

    A container's root may lack the rights, and a sandbox's network may carry nothing between namespaces or refuse Ray.
    """
    if os.geteuid() != 0 or not all(map(shutil.which, ("ip", "unshare", "nsenter", "ps"))):
        return "machines of namespaces need root, ip, unshare, nsenter and ps"
    listen = f"import socket; socket.create_server(('{_NET}.1', 7)).accept()"
    call = f"import socket; socket.create_connection(('{_NET}.1', 7), timeout=1)"
    try:
        with Machines(2) as machines:
            server = machines[0].popen([sys.executable, "-c", listen])
            deadline = monotonic() + 20
            while machines[1].run([sys.executable, "-S", "-c", call]).returncode != 0:
                if monotonic() > deadline:
                    return "namespaces can be made here, but carry no connections"
                sleep(0.2)
            server.wait(20)
            machines[0].start_ray("--num-cpus=1", patience=45)
    except subprocess.CalledProcessError as error:
        return f"namespaces cannot be made here: {error.stderr or error}"
    except (AssertionError, subprocess.TimeoutExpired, OSError, ValueError) as error:
        return f"machines of namespaces do not work here: {error}"
    return None


class Machine:
    """One of them; a process in its namespaces keeps it up.

    Args:
        network: The name of its network namespace.
        address: Its address.
        env: What the environment of its commands has beside that of this process.
    """

    def __init__(self, network: str, address: str, env: dict[str, str]) -> None:
        self.network, self.address = network, address
        self._keeper = subprocess.Popen(
            ["ip", "netns", "exec", network, "unshare", "--mount", "--pid", "--fork", "--mount-proc", "--kill-child",
             "sh", "-c", "mkdir -p /tmp/ray && mount -t tmpfs tmpfs /tmp/ray && mount -t tmpfs -o size=1g tmpfs "
             "/dev/shm && echo up && exec sleep infinity"],
            stdout=subprocess.PIPE, text=True, start_new_session=True,
        )  # fmt: skip
        assert self._keeper.stdout is not None
        assert self._keeper.stdout.readline() == "up\n", "file systems of its own cannot be mounted"
        (child,) = Path(f"/proc/{self._keeper.pid}/task/{self._keeper.pid}/children").read_text().split()
        self.inside = child
        self.given = {**_PATIENCE, **env}
        self._started: list[subprocess.Popen[str]] = []

    def popen(self, command: Sequence[str], **settings: Any) -> subprocess.Popen[str]:
        """Start a command on it."""
        env = {**os.environ, **self.given, **settings.pop("env", {})}
        enter = ["nsenter", "-t", self.inside, "--net", "--mount", "--pid", f"--wd={Path.cwd()}"]
        process = subprocess.Popen([*enter, *command], env=env, text=True, start_new_session=True, **settings)
        self._started.append(process)
        return process

    def run(self, command: Sequence[str], **settings: Any) -> subprocess.CompletedProcess[str]:
        """Run a command on it to its end."""
        process = self.popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, **settings)
        out, err = process.communicate()
        return subprocess.CompletedProcess(list(command), process.returncode, out, err)

    def raynas(self, *words: str, **settings: Any) -> subprocess.CompletedProcess[str]:
        """Run a command of raynas on it to its end."""
        return self.run([sys.executable, "-m", "raynas.cli", *words], **settings)

    def start_ray(self, *options: str, head: Machine | None = None, env: dict[str, str] | None = None,
                  patience: float = 90) -> str:  # fmt: skip
        """Make it a node of the cluster of a head, or that head; returns the address of the cluster."""
        of = self if head is None else head
        role = ["--head", f"--port={_PORT}", "--include-dashboard=false"] if head is None else [
            f"--address={of.address}:{_PORT}"]  # fmt: skip
        with tempfile.TemporaryFile("w+") as said:
            ray = self.popen(
                [str(_RAY), "start", "--block", *role, f"--node-ip-address={self.address}", "--disable-usage-stats",
                 "--object-store-memory=200000000", *options],
                stdout=said, stderr=subprocess.STDOUT, env={**_QUICK_TO_NOTICE, **(env or {})},
            )  # fmt: skip
            deadline = monotonic() + patience
            while not self.has_raylet():
                if ray.poll() is not None or monotonic() > deadline:
                    said.seek(0)
                    raise AssertionError(f"Ray does not start on {self.address}: {said.read()[-2000:]}")
                sleep(0.5)
        return f"{of.address}:{_PORT}"

    def has_raylet(self) -> bool:
        """Whether a node of Ray runs on it."""
        return "raylet/raylet" in self.run(["ps", "-ww", "-eo", "args"]).stdout

    def lose(self) -> None:
        """Have all its processes killed at once."""
        self._keeper.kill()
        for process in (self._keeper, *self._started):
            process.wait()
            for pipe in (process.stdout, process.stderr):
                if pipe is not None:
                    pipe.close()


class Machines:
    """Some machines on one switch, as a context.

    Args:
        number: How many.
        env: What the environment of commands on all of them has beside that of this process, such as a token.
    """

    def __init__(self, number: int, env: dict[str, str] | None = None) -> None:
        self._prefix = f"rn{os.getpid()}"
        self._number, self._env = number, env or {}
        self.machines: list[Machine] = []

    def __enter__(self) -> Machines:
        switch = f"{self._prefix}s"
        _ip("netns", "add", switch)
        _ip("-n", switch, "link", "add", "switch", "type", "bridge")
        _ip("-n", switch, "link", "set", "switch", "up")
        for number in range(self._number):
            self.add(number)
        return self

    def __getitem__(self, number: int) -> Machine:
        return self.machines[number]

    def add(self, number: int) -> Machine:
        """Another machine."""
        switch, network, address = f"{self._prefix}s", f"{self._prefix}n{number}", f"{_NET}.{number + 1}"
        _ip("netns", "add", network)
        _ip("link", "add", f"eth{number}", "netns", network, "type", "veth", "peer", "name", f"port{number}", "netns",
            switch)  # fmt: skip
        _ip("-n", switch, "link", "set", f"port{number}", "master", "switch", "up")
        _ip("-n", network, "addr", "add", f"{address}/24", "dev", f"eth{number}")
        for device in (f"eth{number}", "lo"):
            _ip("-n", network, "link", "set", device, "up")
        _ip("-n", network, "route", "add", "default", "dev", f"eth{number}")  # by which Ray finds a machine's address
        self.machines.append(Machine(network, address, self._env))
        return self.machines[-1]

    def cut(self, number: int) -> None:
        """Cut the link of a machine to the switch."""
        _ip("-n", f"{self._prefix}s", "link", "set", f"port{number}", "down")

    def heal(self, number: int) -> None:
        """Heal the link of a machine."""
        _ip("-n", f"{self._prefix}s", "link", "set", f"port{number}", "up")

    def __exit__(self, *_: object) -> None:
        for machine in self.machines:
            machine.lose()
        for network in [*(machine.network for machine in self.machines), f"{self._prefix}s"]:
            subprocess.run(["ip", "netns", "delete", network], check=False)


def _ip(*words: str) -> None:
    subprocess.run(["ip", *words], check=True, capture_output=True)
