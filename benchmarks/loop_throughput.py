"""How many evaluations per second does the loop itself carry, with workers that do nothing and build nothing?

    python benchmarks/loop_throughput.py [--budget 100000] [--workers 2] [--quick]

As-ViT space, random searcher, window 1,024: ask, costs, dispatch to actors, Parquet and tell are all included; start of
Ray is not. Expected on two cores: at least 5,000 evaluations per second; with 100,000 of them the driver's memory grows
by less than 200 MB, `load_run` takes under 2 s, and `--resume` reaches its first new evaluation in 5 s more than a new
run takes to its first one, which is what Ray and the workers take to start.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
from timing import hardware

import raynas
from raynas import Architecture
from raynas.scoring.task import Output
from raynas.searching.config import RunConfig
from raynas.searching.plan import plan_of_task
from raynas.searching.ranking import Ranking
from raynas.searching.run import SearchListener, execute
from raynas.searching.scores import Score, cost_scores
from raynas.space.registered import spaces
from raynas.space.results import Evaluation, Outcome, ScoreIdentity, Status


@dataclass(frozen=True)
class Nothing:
    """The least that workers can carry out; a proxy of one's own would be looked after, which is `own_code.py`'s."""

    device: str = "cpu"
    threads: int = 1

    @property
    def outputs(self) -> list[list[Output]]:
        """One value."""
        return [[Output("nothing", True)]]

    @property
    def own_code(self) -> list[Callable[..., Any]]:
        """This class, which workers could not import."""
        return [type(self)]

    def evaluator(self) -> Callable[[Architecture, Sequence[int]], list[Outcome]]:
        """A function, as nothing has to be kept."""
        return self.evaluated

    def evaluated(self, architecture: Architecture, wanted: Sequence[int]) -> list[Outcome]:
        """The value."""
        return [Outcome(0.0, Status.OK)]


def searched(out: Path, budget: int, workers: int, listener: SearchListener, *, resume: bool = False) -> raynas.Run:
    """Search with the task that does nothing."""
    space, size = spaces.get("as-vit"), {"img_size": 64, "num_classes": 10}
    identity = ScoreIdentity(space.name, **size, model_version=space.model_version, proxy="nothing")
    scores = (Score("nothing", identity, True, 0), *cost_scores(space, **size))
    asked = {
        "space": space.name, **size, "objectives": ["nothing"], "searcher": "random", "window": 1024,
        "budget": budget, "workers": workers,
    }  # fmt: skip
    execute(plan_of_task(RunConfig.make(asked), space, scores, Nothing), out, resume=resume, listener=listener)
    return raynas.load_run(out)


class Clock(SearchListener):
    """When the first and the last evaluation were told, and the memory then."""

    def __init__(self, from_told: int) -> None:
        self.from_told = from_told
        self.first = self.last = 0.0
        self.first_bytes = self.peak_bytes = 0
        self._process = psutil.Process()

    def on_tell(self, evaluation: Evaluation, told: int, ranking: Ranking) -> None:
        """Note the time, and now and then the memory."""
        if told == self.from_told:
            self.first = time.perf_counter()
            self.first_bytes = self._process.memory_info().rss
        self.last = time.perf_counter()
        if told % 1000 == 0:
            self.peak_bytes = max(self.peak_bytes, self._process.memory_info().rss)


def main() -> None:
    """Run, load and resume, and print what each took."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--budget", type=int, default=100_000)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--quick", action="store_true", help="a small setting, to see that the script works")
    arguments = parser.parse_args()
    budget = 2000 if arguments.quick else arguments.budget
    print(hardware())
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "run"
        clock = Clock(from_told=1)
        run = searched(out, budget, arguments.workers, clock)
        rate = (budget - 1) / (clock.last - clock.first)
        grown = (clock.peak_bytes - clock.first_bytes) / 1e6
        print(f"{budget:,} evaluations: {rate:,.0f} per second (expected at least 5,000)")
        print(
            f"driver memory grew by {grown:.0f} MB to {clock.peak_bytes / 1e6:.0f} MB (expected under 200 MB of growth)"
        )
        print("driver seconds:", {name: round(value, 1) for name, value in run.summary["driver_seconds"].items()})

        started = time.perf_counter()
        loaded = raynas.load_run(out)
        seconds = time.perf_counter() - started
        print(f"load_run of {loaded.evaluations.num_rows:,} rows: {seconds:.2f} s (expected under 2 s)")

        clock, started = Clock(from_told=1), time.perf_counter()
        searched(Path(folder) / "new", 10, arguments.workers, clock)
        begun = clock.first - started
        clock = Clock(from_told=budget + 1)
        started = time.perf_counter()
        run = searched(out, budget + 10, arguments.workers, clock, resume=True)
        resumed = clock.first - started
        print(f"resume to the first new evaluation: {resumed:.1f} s, a new run to its first: {begun:.1f} s")
        print(f"resuming beyond the start: {resumed - begun:.1f} s (expected at most 5 s)")
        print("driver seconds:", {name: round(value, 1) for name, value in run.summary["driver_seconds"].items()})


if __name__ == "__main__":
    main()
