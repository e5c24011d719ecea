"""How much of a training's time does progressive re-tokenization save, beside the multiply-adds that it saves?

    python benchmarks/retokenization.py [--data parquet:train.parquet] [--img-size 64] [--epochs 15] [--quick]

As-ViT with a patch kernel of 4, the published schedule (strides 16, 8, 4 from 0, 27 and 44 % of the epochs) scaled to
the epochs, against the same training without it. The two take turns, epoch by epoch, so that both meet the same
machine, whose speed drifts within minutes. The time of an epoch is that of its steps. Of each phase counts the median
ratio of its epochs to those of the training without; its first epoch, in which processes start or a GPU meets tensors
of new sizes (half a second on an H200, in whichever phase), counts only where it is the only one. In the last phase
both do the same: what it differs from 100 % is noise. While a side waits for its turn, its processes prepare four
batches each; where images are what steps wait for, take epochs that are much longer.
Expected: at least 25 % of the time on a CPU; on a GPU, within 10 points of the multiply-adds saved.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from as_vit_training import as_vit_plan, rows_of
from timing import Turns, hardware

from raynas.training.best_epoch import counted_top1
from raynas.training.plan import TrainingPlan
from raynas.training.run import TrainingListener
from raynas.training.task import Row

ARCHITECTURE = "4,2,3|4,1,2|4,1,4|4,1,6|32"
SCHEDULES = (None, "as-vit")


class Side(TrainingListener):
    """Stops between epochs until it is its turn."""

    def __init__(self, schedule: str | None, epochs: int, turns: Turns) -> None:
        self._schedule, self._epochs, self._turns = schedule, epochs, turns

    def on_start(self, folder: Path, plan: TrainingPlan, history: list[Row]) -> None:
        """Wait for the first turn."""
        self._turns.wait_for(0, self._schedule)

    def on_epoch(self, row: Row) -> None:
        """Hand over."""
        self._turns.end()
        if row["epoch"] + 1 < self._epochs:
            self._turns.wait_for(row["epoch"] + 1, self._schedule)


def main() -> None:
    """Train both ways in turns, and print what was saved."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--data", default="digits")
    parser.add_argument("--architecture", default=ARCHITECTURE)
    parser.add_argument("--img-size", type=int, default=64)
    parser.add_argument("--epochs", type=int, default=15)
    parser.add_argument("--images", type=int, default=1400)
    parser.add_argument("--batch-size", type=int, default=64)
    parser.add_argument("--quick", action="store_true", help="a small setting, to see that the script works")
    arguments = parser.parse_args()
    if arguments.quick:
        arguments.images, arguments.epochs, arguments.img_size = 300, 7, 32

    print(hardware())
    settings = {name: getattr(arguments, name) for name in ("data", "architecture", "img_size", "epochs", "images")}
    found = compared(**settings, batch_size=arguments.batch_size)
    print(
        f"{arguments.epochs} epochs of {arguments.images} images at {arguments.img_size} px, {found.epoch_s:.1f} s each"
    )
    for phase in found.phases:
        print(
            f"  {phase.epochs} epochs at stride {phase.stride}: {phase.share:.1%} of the time; waiting for images "
            f"{phase.waiting:.1%} of it"
        )
    print(f"multiply-adds saved: {found.macs_saved:.1%}; time saved: {found.time_saved:.1%}")
    without, with_it = found.top1
    print(f"top-1 {without:.2%} without, {with_it:.2%} with re-tokenization")
    if torch.cuda.is_available():
        is_met = abs(found.macs_saved - found.time_saved) <= 0.1
        print(f"expected within 10 points of each other: {'met' if is_met else 'NOT met'}")
    else:
        print(f"expected at least 25 % of the time: {'met' if found.time_saved >= 0.25 else 'NOT met'}")


@dataclass(frozen=True)
class Phase:
    """Epochs of one stride.

    Args:
        stride: Of the patch embedding, in pixels.
        epochs: How many.
        share: Median ratio of their times to those of the same epochs without re-tokenization.
        waiting: Median share of their times in which steps waited for images.
    """

    stride: int
    epochs: int
    share: float
    waiting: float


@dataclass(frozen=True)
class Compared:
    """A training with re-tokenization beside the same one without.

    Args:
        epoch_s: Median seconds of an epoch without.
        images: Of an epoch.
        phases: In their order.
        num_params: Of the network.
        macs_saved, time_saved: Shares of those without.
        top1: Without and with, at the end.
    """

    epoch_s: float
    images: int
    phases: tuple[Phase, ...]
    num_params: int
    macs_saved: float
    time_saved: float
    top1: tuple[float, float]


def compared(*, epochs: int, **settings: Any) -> Compared:
    """Train both ways, epoch by epoch in turns.

    Args:
        epochs: Of both.
        settings: The other keywords of `as_vit_plan`.
    """
    plans = {schedule: as_vit_plan(epochs=epochs, **settings, retokenize=schedule) for schedule in SCHEDULES}
    turns = Turns(epochs, sides=SCHEDULES)
    with tempfile.TemporaryDirectory() as folder, ThreadPoolExecutor(2) as threads:
        running = [
            threads.submit(rows_of, plan, Path(folder) / str(schedule), Side(schedule, epochs, turns))
            for schedule, plan in plans.items()
        ]
        full, short = (one.result() for one in running)
    shares = phase_shares(full, short)
    phases = []
    for stride, (count, share) in shares.items():
        waits = [row["data_wait_s"] / row["train_s"] for row in short if row["stride"] == stride]
        phases.append(Phase(stride, count, share, statistics.median(waits)))
    short_plan = plans["as-vit"]
    return Compared(
        epoch_s=statistics.median(row["train_s"] for row in full),
        images=short_plan.steps * short_plan.config.batch_size,
        phases=tuple(phases),
        num_params=short_plan.num_params,
        macs_saved=1 - short_plan.training_macs() / short_plan.training_macs(full=True),
        time_saved=1 - sum(count * share for count, share in shares.values()) / epochs,
        top1=(counted_top1(full[-1]), counted_top1(short[-1])),
    )


def phase_shares(full: list[Row], short: list[Row]) -> dict[int, tuple[int, float]]:
    """Epochs by stride, and the median ratio of their times to those of the same epochs without re-tokenization.

    The first epoch of a stride counts only where it is the only one.
    """
    ratios: dict[int, list[float]] = {}
    for without, row in zip(full, short, strict=True):
        ratios.setdefault(row["stride"], []).append(row["train_s"] / without["train_s"])
    counted = {stride: found[1:] or found for stride, found in ratios.items()}
    return {stride: (len(ratios[stride]), statistics.median(found)) for stride, found in counted.items()}


if __name__ == "__main__":
    main()
