"""How many evaluations per second does the loop itself carry, with a proxy that does nothing and builds nothing?

    python benchmarks/loop_throughput.py [--budget 100000] [--workers 2] [--quick]

As-ViT space, random searcher, window 1,024: ask, costs, dispatch to actors, Parquet and tell are all included; start of
Ray is not. Expected on two cores: at least 5,000 evaluations per second; with 100,000 of them the driver's memory grows
by less than 200 MB, `load_run` takes under 2 s, and `--resume` reaches its first new evaluation in under 15 s, start of
Ray included.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path
from typing import Any

import psutil
from timing import hardware

import raynas
from raynas.proxies.probe import Probe, Proxy
from raynas.searching.ranking import Ranking
from raynas.searching.run import SearchListener
from raynas.space.results import Evaluation


def nothing(probe: Probe) -> float:
    """The least that a proxy can do."""
    return 0.0


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
    settings: dict[str, Any] = {
        "objectives": ["nothing"],
        "proxies": [Proxy("nothing", nothing)],
        "searcher": "random",
        "window": 1024,
        "workers": arguments.workers,
    }
    print(hardware())
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "run"
        clock = Clock(from_told=1)
        run = raynas.search("as-vit", budget=budget, out=out, listener=clock, **settings)
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

        clock = Clock(from_told=budget + 1)
        started = time.perf_counter()
        raynas.search("as-vit", budget=budget + 10, out=out, resume=True, listener=clock, **settings)
        print(f"resume to the first new evaluation: {clock.first - started:.1f} s (expected under 15 s)")


if __name__ == "__main__":
    main()
