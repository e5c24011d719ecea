"""Does a search that loses an actor every two seconds and a node every half minute end as an undisturbed one does?

    python benchmarks/soak.py [--budget 100000] [--wait 0.02] [--quick]

A cluster of three nodes on this machine, two workers each, as-vit space, random searcher; evaluations wait for a moment
and give a number that follows from the architecture. While it runs, processes of actors are killed, and nodes removed
and added again. Expected: every evaluation there once, with its right value and no status but ok, and a driver whose
memory grows, from a tenth of the way on, by no more than 40 MB beyond what that of an undisturbed search does, which
keeps the same results: it is carried out first, in a process of its own, without waiting.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import psutil
from timing import hardware

import raynas
from raynas import Architecture
from raynas.cluster.joining import imported_ray
from raynas.scoring.task import Output
from raynas.searching.config import RunConfig
from raynas.searching.plan import plan_of_task
from raynas.searching.ranking import Ranking
from raynas.searching.run import SearchListener, execute
from raynas.searching.scores import Score
from raynas.space.registered import spaces
from raynas.space.results import Evaluation, Outcome, ScoreIdentity, Status

ACTOR_EVERY_S, NODE_EVERY_S = 2.0, 30.0
MOST_MB = 40


def value_of(architecture: Architecture) -> float:
    """The number that an evaluation gives."""
    return float(int(architecture.key[:8], 16))


@dataclass(frozen=True)
class Numbered:
    """Waits, and gives the number of an architecture.

    Args:
        wait_s: Seconds of each evaluation.
        device, threads, uses_torch: See `raynas.scoring.task`.
    """

    wait_s: float
    device: str = "cpu"
    threads: int = 1
    uses_torch: bool = False

    @property
    def outputs(self) -> list[list[Output]]:
        """One value."""
        return [[Output("number", True)]]

    @property
    def own_code(self) -> list[Callable[..., object]]:
        """What workers could not import."""
        return [type(self), value_of]

    def evaluator(self) -> Callable[[Architecture, Sequence[int]], list[Outcome]]:
        """A function, as nothing has to be kept."""
        return self.evaluated

    def evaluated(self, architecture: Architecture, wanted: Sequence[int]) -> list[Outcome]:
        """The value."""
        time.sleep(self.wait_s)
        return [Outcome(value_of(architecture), Status.OK)]


class Memory(SearchListener):
    """The driver's memory from a tenth of the way on."""

    def __init__(self, budget: int) -> None:
        self.budget = budget
        self.first = self.most = 0
        self._process = psutil.Process()

    def on_tell(self, evaluation: Evaluation, told: int, ranking: Ranking) -> None:
        """Note it."""
        if told % max(1, self.budget // 100) == 0 and told >= self.budget // 10:
            now = self._process.memory_info().rss
            self.first = self.first or now
            self.most = max(self.most, now)


class Harm:
    """Kills actors and nodes."""

    def __init__(self, cluster: Any, nodes: list[Any]) -> None:
        self.actors = self.lost_nodes = 0
        self._cluster, self._nodes = cluster, nodes
        self._rng = np.random.default_rng(0)

    def go_on_until(self, is_over: Callable[[], bool]) -> None:
        """Until something is so; in the process's main thread, where alone nodes can be added."""
        next_node = time.monotonic() + NODE_EVERY_S
        while not is_over():
            time.sleep(ACTOR_EVERY_S)
            if time.monotonic() > next_node:
                next_node += NODE_EVERY_S
                doomed = self._nodes.pop(int(self._rng.integers(len(self._nodes))))
                self._cluster.remove_node(doomed, allow_graceful=False)
                self._nodes.append(self._cluster.add_node(num_cpus=2))
                self.lost_nodes += 1
            processes = [one for one in psutil.Process().children(recursive=True) if _is_actor(one)]
            if processes:
                with suppress(psutil.NoSuchProcess):
                    processes[int(self._rng.integers(len(processes)))].kill()
                    self.actors += 1


def _is_actor(process: psutil.Process) -> bool:
    with suppress(psutil.Error):
        return "ray::Worker" in " ".join(process.cmdline())
    return False


def searched(budget: int, wait_s: float, folder: Path, listener: SearchListener, workers: int = 6) -> raynas.Run:
    """The search."""
    space, size = spaces.get("as-vit"), {"img_size": 64, "num_classes": 10}
    identity = ScoreIdentity(space.name, **size, model_version=space.model_version, proxy="number")
    asked = {
        "space": space.name, **size, "objectives": ["number"], "searcher": "random", "budget": budget,
        "workers": workers, "window": 512, "worker_memory_gib": 2.0,
    }  # fmt: skip

    def make_task(device: str, threads: int) -> Numbered:
        return Numbered(wait_s)

    execute(
        plan_of_task(RunConfig.make(asked), space, (Score("number", identity, True, 0),), make_task), folder,
        listener=listener,
    )  # fmt: skip
    return raynas.load_run(folder)


def calm(budget: int) -> None:
    """Print by how many MB the driver's memory grows where nothing is lost."""
    memory = Memory(budget)
    with tempfile.TemporaryDirectory() as folder:
        searched(budget, 0.0, Path(folder) / "run", memory, workers=2)
    print((memory.most - memory.first) / 1e6)


def main() -> None:
    """Run it, harm it, and look at what it has."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--budget", type=int, default=100_000)
    parser.add_argument("--wait", type=float, default=0.02)
    parser.add_argument("--quick", action="store_true", help="a small setting, to see that the script works")
    parser.add_argument("--calm", action="store_true", help="the undisturbed search alone, without waiting")
    arguments = parser.parse_args()
    budget = 3000 if arguments.quick else arguments.budget
    if arguments.calm:
        calm(budget)
        return
    print(hardware(), flush=True)
    own = [sys.executable, __file__, "--calm", "--budget", str(budget)]
    undisturbed = float(subprocess.run(own, check=True, capture_output=True, text=True).stdout.split()[-1])
    ray = imported_ray()
    from ray.cluster_utils import Cluster

    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, "include_dashboard": False})
    nodes = [cluster.add_node(num_cpus=2) for _ in range(3)]
    ray.init(address=cluster.address, log_to_driver=False, logging_level="error")
    memory, harm, started = Memory(budget), Harm(cluster, nodes), time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        found: list[raynas.Run] = []

        def search() -> None:
            found.append(searched(budget, arguments.wait, Path(folder) / "run", memory))

        thread = threading.Thread(target=search, daemon=True)
        thread.start()
        harm.go_on_until(lambda: not thread.is_alive())
        rows = found[0].evaluations.select(["architecture_key", "value", "status"]).to_pylist()
    ray.shutdown()
    cluster.shutdown()
    seconds = time.monotonic() - started
    wrong = sum(row["status"] != "ok" or row["value"] != float(int(row["architecture_key"][:8], 16)) for row in rows)
    missing = budget - len({row["architecture_key"] for row in rows})
    grown = (memory.most - memory.first) / 1e6
    print(
        f"{budget:,} evaluations in {seconds:.0f} s, {harm.actors} actors and {harm.lost_nodes} nodes lost on the way"
    )
    print(f"evaluations that are missing, twice or wrong: {missing + len(rows) - budget + wrong} (expected none)")
    more = grown - undisturbed
    print(f"driver memory grew by {grown:.0f} MB, and by {undisturbed:.0f} MB in an undisturbed search")
    print(f"losses cost {more:.0f} MB of it (at most {MOST_MB}: {'met' if more <= MOST_MB else 'NOT met'})")


if __name__ == "__main__":
    main()
