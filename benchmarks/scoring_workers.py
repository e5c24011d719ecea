"""How much faster do two actors score than one process on one thread?

    python benchmarks/scoring_workers.py [--proxy length_distortion] [--img-size 64] [--quick]

As-ViT space, random architectures, the same ones on both sides, rates from the tenth evaluation told to the last, so
that start-up is left out; sides take turns, medians of the rounds. Expected on an idle machine with two cores: at least
1.8 times, and that actors score for 90 % of the time in which they are ready.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from pathlib import Path

from timing import hardware, verdict

import raynas
from raynas.cluster.joining import connect
from raynas.searching.ranking import Ranking
from raynas.searching.run import SearchListener
from raynas.space.results import Evaluation

EXPECTED = 1.8
EXPECTED_SHARE = 0.9


class Rate(SearchListener):
    """Evaluations per second, the first ones left out."""

    def __init__(self, skipped: int) -> None:
        self.skipped = skipped
        self.counted = -1
        self.first = self.last = 0.0

    def on_tell(self, evaluation: Evaluation, told: int, ranking: Ranking) -> None:
        """Note the time."""
        if told >= self.skipped:
            self.last = time.perf_counter()
            self.first = self.first or self.last
            self.counted += 1

    @property
    def per_s(self) -> float:
        """The rate."""
        return self.counted / (self.last - self.first)


def main() -> None:
    """Measure both sides in turns, and print the ratio."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--proxy", default="length_distortion")
    parser.add_argument("--img-size", type=int, default=64)
    parser.add_argument("--budget", type=int, default=120)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--quick", action="store_true", help="a small setting, to see that the script works")
    arguments = parser.parse_args()
    budget, rounds = (24, 1) if arguments.quick else (arguments.budget, arguments.rounds)
    img_size = 32 if arguments.quick else arguments.img_size

    print(hardware())
    rates: dict[int, list[float]] = {0: [], 2: []}
    shares = []
    disconnect = connect(None, min_cpus=2)
    with tempfile.TemporaryDirectory() as folder:
        for turn in range(rounds):
            for workers, found in rates.items():
                rate = Rate(skipped=10)
                run = raynas.search(
                    "as-vit",
                    objectives=[arguments.proxy],
                    data="digits",
                    img_size=img_size,
                    searcher="random",
                    window=16,
                    budget=budget,
                    workers=workers,
                    out=Path(folder) / f"{turn}-{workers}",
                    listener=rate,
                )
                found.append(rate.per_s)
                if workers:
                    spent = run.summary["worker_seconds"]
                    shares.append(spent["scoring"] / sum(spent[part] for part in ("scoring", "transfers", "waiting")))
    disconnect()
    one, two = (statistics.median(found) for found in rates.values())
    print(f"one process: {one:.2f} per second; two actors: {two:.2f} per second")
    print(f"two actors are faster by {verdict(two / one, EXPECTED)}")
    print(f"actors score for {statistics.median(shares):.3f} of their time (expected at least {EXPECTED_SHARE})")


if __name__ == "__main__":
    main()
