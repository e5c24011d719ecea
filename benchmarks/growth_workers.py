"""How much faster are a growth step's candidates scored on two actors than on one?

    python benchmarks/growth_workers.py [--start GENOTYPE] [--img-size 64] [--steps 3] [--quick]

As-ViT grown with the scores of its paper at the divided width, the same family on both sides, each with as many actors.
A step's candidates are scored together and the next step waits for all of them. Start-up is left out: the first step,
in which the second actor makes its bank of random numbers, and what was before. Sides take turns in going first; the
median of the rounds' ratios. Expected on an idle machine with two cores: at least 1.8 times.
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
    """When each result came, and how long actors took for it, in seconds."""

    def __init__(self) -> None:
        self.told: list[float] = []
        self.scoring: list[float] = []

    def on_tell(self, evaluation: Evaluation, told: int, ranking: Ranking) -> None:
        """Note the time."""
        self.told.append(time.perf_counter())
        self.scoring.append(evaluation.seconds)


def main() -> None:
    """Measure both sides in turns, and print the ratio."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--start", default=START)
    parser.add_argument("--img-size", type=int, default=64)
    parser.add_argument("--steps", type=int, default=3)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--quick", action="store_true", help="a small setting, to see that the script works")
    arguments = parser.parse_args()
    if arguments.steps < 2:
        parser.error("--steps is at least 2, as the first is left out")
    steps, rounds = (2, 1) if arguments.quick else (arguments.steps, arguments.rounds)
    img_size = 32 if arguments.quick else arguments.img_size

    print(hardware())
    seconds: dict[int, list[float]] = {1: [], 2: []}
    busy: dict[int, list[float]] = {1: [], 2: []}
    families = []
    disconnect = connect(None, min_cpus=2)
    with tempfile.TemporaryDirectory() as folder:
        for turn in range(rounds):
            for workers in (1, 2) if turn % 2 else (2, 1):
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
                if len(run.family) < 3:
                    raise SystemExit("the growth ended after its first step")
                _, first_step, *_, last_step = (member["asked"][1] for member in run.family)
                elapsed = listener.told[last_step - 1] - listener.told[first_step - 1]
                seconds[workers].append(elapsed / (last_step - first_step))
                busy[workers].append(sum(listener.scoring[first_step:last_step]) / (workers * elapsed))
    disconnect()
    if any(family != families[0] for family in families):
        raise SystemExit("the families differ")
    one, two = (statistics.median(found) for found in seconds.values())
    print(f"{steps} steps without the first: one actor {one:.3f} s, two actors {two:.3f} s a candidate")
    one_busy, two_busy = (statistics.median(shares) for shares in busy.values())
    print(f"actors were scoring {one_busy:.0%} of the time (one), {two_busy:.0%} (two)")
    ratios = sorted(one / two for one, two in zip(*seconds.values(), strict=True))
    print(f"rounds: {', '.join(f'{ratio:.2f}' for ratio in ratios)} times")
    print(f"two actors are faster by {verdict(statistics.median(ratios), EXPECTED)}")


if __name__ == "__main__":
    main()
