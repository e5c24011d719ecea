"""How much faster are a growth step's candidates scored on two actors than on one?

    python benchmarks/growth_workers.py [--start GENOTYPE] [--img-size 64] [--steps 5] [--quick]

As-ViT grown with the scores of its paper at the divided width, the same family on both sides, each with as many actors.
A step's candidates are scored together and the next step waits for all of them. Start-up is left out: the first step,
in which the second actor makes its bank of random numbers, and what was before. Sides take turns, medians of the
rounds. Expected on an idle machine with two cores: at least 1.8 times.
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


class Times(Listener):
    """When each result came, in seconds."""

    def __init__(self) -> None:
        self.told: list[float] = []

    def on_tell(self, evaluation: Evaluation, told: int, ranking: Ranking) -> None:
        """Note the time."""
        self.told.append(time.perf_counter())


def main() -> None:
    """Measure both sides in turns, and print the ratio."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--start", default=START)
    parser.add_argument("--img-size", type=int, default=64)
    parser.add_argument("--steps", type=int, default=5)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--quick", action="store_true", help="a small setting, to see that the script works")
    arguments = parser.parse_args()
    steps, rounds = (2, 1) if arguments.quick else (arguments.steps, arguments.rounds)
    img_size = 32 if arguments.quick else arguments.img_size

    print(hardware())
    seconds: dict[int, list[float]] = {1: [], 2: []}
    families = []
    disconnect = connect(None, min_cpus=2)
    with tempfile.TemporaryDirectory() as folder:
        for turn in range(rounds):
            for workers, found in seconds.items():
                listener = Times()
                run = raynas.scale(
                    arguments.start,
                    data="digits",
                    img_size=img_size,
                    workers=workers,
                    settings={"searcher": {"max_steps": steps}},
                    out=Path(folder) / f"{turn}-{workers}",
                    listener=listener,
                )
                families.append(run.family)
                _, first_step, *_, last_step = (member["asked"][1] for member in run.family)
                found.append((listener.told[last_step - 1] - listener.told[first_step - 1]) / (last_step - first_step))
    disconnect()
    if any(family != families[0] for family in families):
        raise SystemExit("the families differ")
    one, two = (statistics.median(found) for found in seconds.values())
    print(f"{steps} steps without the first: one actor {one:.3f} s, two actors {two:.3f} s a candidate")
    rounds_said = ", ".join(f"{one / two:.2f}" for one, two in zip(*seconds.values(), strict=True))
    print(f"rounds: {rounds_said} times")
    print(f"two actors are faster by {verdict(one / two, EXPECTED)}")


if __name__ == "__main__":
    main()
