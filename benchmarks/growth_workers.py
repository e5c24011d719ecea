"""How much faster are a growth step's candidates scored on two actors than on one?

    python benchmarks/growth_workers.py [--start GENOTYPE] [--img-size 128] [--steps 3] [--quick]

As-ViT grown with the scores of its paper at the divided width, the same family on both sides, each with as many actors.
A step's candidates are scored together and the next step waits for all of them. The two sides grow at the same time and
take turns, step by step, so that both meet the same machine, whose speed drifts within a minute. Start-up is left out:
the first step, in which actors make their banks of random numbers, and what was before. The median of the rounds'
ratios. Expected on an idle machine with two cores: at least 1.8 times. (At 64 px, where a candidate takes a third of a
second, the driver and Ray itself, which have no core of their own, take more of the time.)
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from timing import Turns, hardware, verdict

import raynas
from raynas.cluster.joining import connect
from raynas.searching.ranking import Ranking
from raynas.searching.run import SearchListener
from raynas.space.results import Evaluation

EXPECTED = 1.8
EXPECTED_SHARE = 0.9
START = "8,2,3,1|4,1,2,2|4,1,4,2|4,1,6,1|32,80"
"""Of twenty million parameters; its steps have 16 candidates."""


class Side(SearchListener):
    """Stops between steps until it is its turn; what each step took, and what its actors were scoring, in seconds."""

    def __init__(self, workers: int, turns: Turns, ends: list[int]) -> None:
        self.workers = workers
        self.ends = ends  # candidates told at the end of each step
        self.seconds: list[float] = []
        self.scoring: list[float] = []
        self._turns = turns
        self._since = 0.0
        self._scored = 0.0

    def on_start(self, folder: Path, budget: int) -> None:
        """Wait for the first turn."""
        self._turns.wait_for(0, self.workers)
        self._since = time.perf_counter()

    def on_tell(self, evaluation: Evaluation, told: int, ranking: Ranking) -> None:
        """Hand over at the end of a step."""
        self._scored += evaluation.seconds
        if told != self.ends[len(self.seconds)]:
            return
        self.seconds.append(time.perf_counter() - self._since)
        self.scoring.append(self._scored)
        self._turns.end()
        if len(self.seconds) < len(self.ends):
            self._turns.wait_for(len(self.seconds), self.workers)
        self._since, self._scored = time.perf_counter(), 0.0


def main() -> None:
    """Measure both sides in turns, and print the ratio."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--start", default=START)
    parser.add_argument("--img-size", type=int, default=128)
    parser.add_argument("--steps", type=int, default=3)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--quick", action="store_true", help="a small setting, to see that the script works")
    arguments = parser.parse_args()
    if arguments.steps < 2:
        parser.error("--steps is at least 2, as the first is left out")
    steps, rounds = (2, 1) if arguments.quick else (arguments.steps, arguments.rounds)
    img_size = 32 if arguments.quick else arguments.img_size

    print(hardware())
    seconds: dict[int, list[float]] = {1: [], 2: []}
    busy: dict[int, list[float]] = {1: [], 2: []}
    disconnect = connect(None, min_cpus=3)  # both sides' actors
    with tempfile.TemporaryDirectory() as folder, ThreadPoolExecutor(2) as threads:

        def grown(name: str, workers: int, listener: SearchListener | None = None) -> list[dict[str, Any]]:
            return raynas.scale(
                arguments.start,
                data="digits",
                img_size=img_size,
                workers=workers,
                settings={"searcher": {"max_steps": steps}},
                out=Path(folder) / name,
                listener=listener,
            ).family

        family = grown("alone", 2)
        ends = [member["asked"][1] for member in family]
        if len(ends) < 3:
            raise SystemExit("the growth ended after its first step")
        for turn in range(rounds):
            turns = Turns(len(ends), sides=tuple(seconds))
            sides = [Side(workers, turns, ends) for workers in seconds]
            running = [threads.submit(grown, f"{turn}-{side.workers}", side.workers, side) for side in sides]
            if any(found.result() != family for found in running):
                raise SystemExit("the families differ")
            candidates = ends[-1] - ends[1]
            for side in sides:
                elapsed = sum(side.seconds[2:])  # without the start and the first step
                seconds[side.workers].append(elapsed / candidates)
                busy[side.workers].append(sum(side.scoring[2:]) / (side.workers * elapsed))
    disconnect()
    one, two = (statistics.median(found) for found in seconds.values())
    print(f"{steps} steps without the first: one actor {one:.3f} s, two actors {two:.3f} s a candidate")
    one_busy, two_busy = (statistics.median(shares) for shares in busy.values())
    is_met = "met" if two_busy >= EXPECTED_SHARE else "NOT met"
    print(f"actors score for {two_busy:.2f} of their time (expected at least {EXPECTED_SHARE:g}: {is_met})")
    print(f"one actor alone for {one_busy:.2f}")
    ratios = sorted(one / two for one, two in zip(*seconds.values(), strict=True))
    print(f"rounds: {', '.join(f'{ratio:.2f}' for ratio in ratios)} times")
    print(f"two actors are faster by {verdict(statistics.median(ratios), EXPECTED)}")


if __name__ == "__main__":
    main()
