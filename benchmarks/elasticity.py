"""How soon is a node that joins used, and how soon is what a killed worker had computed again?

    python benchmarks/elasticity.py [--rounds 5] [--quick]

A cluster of nodes with two workers each on this machine, evaluations that wait for 0.3 s and note where they are. Nodes
join a search with as many workers as find room; processes of one with two workers are killed. Told are the seconds from
the node's joining to the first result from it, with workers that import torch and with such that do not; and from the
kill to the begin of what the worker had. Expected: under 10 s beyond the imports, and under 5 s.
"""

from __future__ import annotations

import argparse
import os
import statistics
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
from timing import hardware

from raynas import Architecture
from raynas.cluster.joining import imported_ray
from raynas.scoring.pool import Waiting
from raynas.scoring.task import Output
from raynas.searching.config import RunConfig
from raynas.searching.plan import plan_of_task
from raynas.searching.run import SearchListener, execute
from raynas.searching.scores import Score
from raynas.space.registered import spaces
from raynas.space.results import Outcome, ScoreIdentity, Status

WAIT_S = 0.3
JOINED_S, RERUN_S = 10.0, 5.0


@dataclass(frozen=True)
class Noted:
    """Waits, and notes in a file what is computed where and when.

    Args:
        log: The file.
        uses_torch: Whether processes import torch, as for scores of networks.
        device, threads: See `raynas.scoring.task`.
    """

    log: str
    uses_torch: bool = False
    device: str = "cpu"
    threads: int = 1

    @property
    def outputs(self) -> list[list[Output]]:
        """One value."""
        return [[Output("nothing", True)]]

    @property
    def own_code(self) -> list[Callable[..., object]]:
        """What workers could not import."""
        return [type(self)]

    def evaluator(self) -> Callable[[Architecture, Sequence[int]], list[Outcome]]:
        """A function; what scores networks imports torch and timm before it."""
        if self.uses_torch:
            import timm  # noqa: F401
            import torch  # noqa: F401
        return self.evaluated

    def evaluated(self, architecture: Architecture, wanted: Sequence[int]) -> list[Outcome]:
        """The value."""
        with Path(self.log).open("a") as file:
            file.write(f"{architecture.key} {os.getpid()} {time.monotonic()}\n")
        time.sleep(WAIT_S)
        return [Outcome(0.0, Status.OK)]


def noted(log: Path) -> list[tuple[str, int, float]]:
    """Architecture, process and time of each evaluation that has begun."""
    found = [line.split() for line in log.read_text().splitlines()]
    return [(key, int(process), float(began)) for key, process, began in found]


def wait_for(found: Callable[[], Any], seconds: float = 120) -> Any:
    """What there is, once there is something."""
    deadline = time.monotonic() + seconds
    while not (what := found()):
        assert time.monotonic() < deadline, "nothing came"
        time.sleep(0.02)
    return what


class Ended(Exception):
    """Ends a search from outside."""


class Ends(SearchListener):
    """Ends a search once it is told to."""

    def __init__(self) -> None:
        self.is_over = threading.Event()

    def on_waiting(self, waiting: Waiting | None) -> None:
        """After each look at what has come back."""
        if self.is_over.is_set():
            raise Ended


def searched(task: Noted, folder: Path, workers: str, ends: Ends) -> None:
    """A search that goes on until it is ended."""
    space, size = spaces.get("as-vit"), {"img_size": 64, "num_classes": 10}
    identity = ScoreIdentity(space.name, **size, model_version=space.model_version, proxy="nothing")
    asked = {
        "space": space.name, **size, "objectives": ["nothing"], "searcher": "random", "budget": 100_000,
        "workers": workers, "window": 64, "worker_memory_gib": 2.0,
    }  # fmt: skip

    def make_task(device: str, threads: int) -> Noted:
        return task

    plan = plan_of_task(RunConfig.make(asked), space, (Score("nothing", identity, True, 0),), make_task)
    with suppress(Ended):
        execute(plan, folder, listener=ends)


@contextmanager
def searching(uses_torch: bool, workers: str) -> Iterator[Path]:
    """A context in which a search goes on, and the file with what it has begun."""
    with tempfile.TemporaryDirectory() as folder:
        log, ends = Path(folder) / "log", Ends()
        log.touch()
        arguments = (Noted(str(log), uses_torch), Path(folder) / "run", workers, ends)
        # Nodes can be added in a process's main thread alone.
        search = threading.Thread(target=searched, args=arguments, daemon=True)
        search.start()
        wait_for(lambda: len(noted(log)) > 20)
        yield log
        ends.is_over.set()
        search.join()


def joined(cluster: Any, *, uses_torch: bool, rounds: int) -> list[float]:
    """Seconds from a node's joining to the first result from it."""
    found = []
    with searching(uses_torch, "1:8") as log:
        for _ in range(rounds):
            before = {process for _, process, _ in noted(log)}
            node = cluster.add_node(num_cpus=2)
            since = time.monotonic()
            found.append(_first(log, lambda one, known=before: one[1] not in known) + WAIT_S - since)
            time.sleep(1.0)
            cluster.remove_node(node, allow_graceful=False)
            # Until Ray has noticed, the workers there count as being there, and no others are asked for.
            wait_for(lambda: sum(one["Alive"] for one in imported_ray().nodes()) == 1)
            time.sleep(3.0)
    return found


def rerun(*, uses_torch: bool, rounds: int) -> list[float]:
    """Seconds from the kill of a worker to when what it had begins again."""
    found = []
    with searching(uses_torch, "2") as log:
        for _ in range(rounds):
            time.sleep(3.0)
            key, process, began = noted(log)[-1]
            psutil.Process(process).kill()
            killed = time.monotonic()
            found.append(_first(log, lambda one, of=(key, began): one[0] == of[0] and one[2] > of[1]) - killed)
            time.sleep(6.0)
    return found


def _first(log: Path, is_wanted: Callable[[tuple[str, int, float]], bool]) -> float:
    """When the first evaluation of a kind has begun."""
    return float(wait_for(lambda: [one for one in noted(log) if is_wanted(one)])[0][2])


def main() -> None:
    """Run both and print what they took."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--quick", action="store_true", help="a small setting, to see that the script works")
    arguments = parser.parse_args()
    rounds = 1 if arguments.quick else arguments.rounds
    print(hardware())
    ray = imported_ray()
    from ray.cluster_utils import Cluster

    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 2, "include_dashboard": False})
    ray.init(address=cluster.address, log_to_driver=False, logging_level="error")
    try:
        for what, uses_torch in (("light workers", False), ("workers that import torch and timm", True)):
            seconds = joined(cluster, uses_torch=uses_torch, rounds=rounds)
            first, again = statistics.median(seconds), statistics.median(rerun(uses_torch=uses_torch, rounds=rounds))
            met = "met" if uses_torch or first < JOINED_S else "NOT met"
            expected = "" if uses_torch else f" (under {JOINED_S:g} s: {met})"
            print(
                f"{what}: first result of a node that joins after {first:.1f} s{expected}, at most {max(seconds):.1f} s"
            )
            met = "met" if again < RERUN_S else "NOT met"
            print(f"{what}: what a killed one had begins again after {again:.1f} s (under {RERUN_S:g} s: {met})")
    finally:
        ray.shutdown()
        cluster.shutdown()


if __name__ == "__main__":
    main()
