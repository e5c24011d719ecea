"""A cluster of machines with a store that speaks S3 on its head."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from time import monotonic
from typing import Any

from machines import Machine, Machines
from object_stores import credentials

PATIENT = {  # with processes that compute on all cores; those of a lost machine are noticed in 15 s even so
    "RAY_health_check_period_ms": "3000",
    "RAY_health_check_timeout_ms": "20000",
    "RAY_health_check_failure_threshold": "5",
}


class Cluster:
    """A head without cores, on whose machine a store listens too, and three nodes of a core each.

    Args:
        machines: The machines, of which the first is the head's.
    """

    def __init__(self, machines: Machines) -> None:
        self._machines, self.head = machines, machines[0]
        self.head.popen([sys.executable, "-m", "moto.server", "-H", "0.0.0.0", "-p", "5000"], stderr=subprocess.DEVNULL)
        self.env = credentials(f"http://{self.head.address}:5000")
        self.address = self.head.start_ray("--num-cpus=0", env={**self.env, **PATIENT})
        self.nodes: list[Machine] = []

    def complete(self) -> None:
        """Have three nodes."""
        while len(self.nodes) < 3:
            self.nodes.append(self._machines.add(len(self._machines.machines)))
        code = f"import ray\nray.init({self.address!r}, log_to_driver=False, logging_level='error')"
        deadline = monotonic() + 600
        cores = None
        while cores != 3:
            assert monotonic() < deadline
            for node in self.nodes:
                if not node.has_raylet():  # or it has ended, as on a busy machine its agents come too late for it
                    node.start_ray("--num-cpus=1", head=self.head, env={**self.env, **PATIENT})
            cores = self.value(f"{code}\nray.cluster_resources().get('CPU')")

    def lose(self, node: Machine) -> None:
        """Lose a node."""
        self.nodes.remove(node)
        node.lose()

    def bucket(self) -> str:
        """The URI of a new bucket."""
        made = f"from object_stores import made_bucket; print(made_bucket({self.env['AWS_ENDPOINT_URL']!r}))"
        return self.python(made).stdout.strip()

    def python(self, code: str, machine: Machine | None = None) -> subprocess.CompletedProcess[str]:
        """Run code beside the tests' helpers."""
        code = f"import sys; sys.path.insert(0, {str(Path(__file__).parents[1])!r})\n{code}"
        done: subprocess.CompletedProcess[str] = (machine or self.head).run([sys.executable, "-c", code], env=self.env)
        assert done.returncode == 0, done.stderr
        return done

    def value(self, code: str) -> Any:
        """What an expression of code is, as JSON."""
        *before, last = code.strip().splitlines()
        said = self.python("\n".join(["import json", *before, f"print('value:', json.dumps({last}))"])).stdout
        (found,) = (line for line in said.splitlines() if line.startswith("value:"))  # Ray may have something to say
        return json.loads(found.removeprefix("value:"))

    def start(self, said: Path, *words: str, machine: Machine | None = None) -> subprocess.Popen[str]:
        """Start a command of raynas whose lines go into a file."""
        with said.open("w") as file:
            command = [sys.executable, "-m", "raynas.cli", *words, "--address", self.address]
            started: subprocess.Popen[str] = (machine or self.head).popen(
                command, env=self.env, stdout=file, stderr=file
            )
            return started
