"""How much faster are a growth step's candidates scored on two actors than on one?

    python benchmarks/growth_workers.py [--start GENOTYPE] [--img-size 64] [--steps 4] [--quick]

As-ViT grown with the scores of its paper at the divided width, the same family on both sides, each with as many actors.
A step's candidates are scored together and the next step waits for all of them. Time from the start's result to the
last one, so that start-up is left out; sides take turns, medians of the rounds. Expected on an idle machine with two
cores: at least 1.8 times.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from pathlib import Path

from timing import hardware, verdict

import raynas
from raynas.cluster import connect
from raynas.ranking import Ranking
from raynas.results import Evaluation
from raynas.run import Listener

EXPECTED = 1.8
START = "8,2,3,1|4,1,2,2|4,1,4,2|4,1,6,1|32,80"
"""Of twenty million parameters; its steps have 16 candidates."""


class StepTime(Listener):
    """Seconds from the first result to the last."""

    def __init__(self) -> None:
        self.first = self.last = 0.0

    def on_tell(self, evaluation: Evaluation, told: int, ranking: Ranking) -> None:
        """Note the time."""
        self.last = time.perf_counter()
        self.first = self.first or self.last


def main() -> None:
    """Measure both sides in turns, and print the ratio."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--start", default=START)
    parser.add_argument("--img-size", type=int, default=64)
    parser.add_argument("--steps", type=int, default=4)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--quick", action="store_true", help="a small setting, to see that the script works")
    arguments = parser.parse_args()
    steps, rounds = (1, 1) if arguments.quick else (arguments.steps, arguments.rounds)
    img_size = 32 if arguments.quick else arguments.img_size

    print(hardware())
    seconds: dict[int, list[float]] = {1: [], 2: []}
    families = []
    disconnect = connect(None, min_cpus=2)
    with tempfile.TemporaryDirectory() as folder:
        for turn in range(rounds):
            for workers, found in seconds.items():
                listener = StepTime()
                run = raynas.scale(
                    arguments.start,
                    data="digits",
                    img_size=img_size,
                    workers=workers,
                    settings={"searcher": {"max_steps": steps}},
                    out=Path(folder) / f"{turn}-{workers}",
                    listener=listener,
                )
                found.append(listener.last - listener.first)
                families.append(run.family)
    disconnect()
    if any(family != families[0] for family in families):
        raise SystemExit("the families differ")
    candidates = families[0][-1]["asked"][1] - 1
    one, two = (statistics.median(found) / candidates for found in seconds.values())
    print(f"{steps} steps, {candidates} candidates: one actor {one:.3f} s, two actors {two:.3f} s a candidate")
    print(f"two actors are faster by {verdict(one / two, EXPECTED)}")


if __name__ == "__main__":
    main()
