"""How much of a training's time does progressive re-tokenization save, beside the multiply-adds that it saves?

    python benchmarks/retokenization.py [--data parquet:train.parquet] [--img-size 64] [--epochs 15] [--quick]

As-ViT with a patch kernel of 4, the published schedule (strides 16, 8, 4 from 0, 27 and 44 % of the epochs) scaled to
the epochs, against the same training without it; rounds take turns, medians of the epochs. Expected: at least 25 % of
the time on a CPU; on a GPU, within 10 points of the multiply-adds saved.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
from pathlib import Path

import torch
from timing import hardware

from raynas.training.config import TrainConfig
from raynas.training.folder import load_training
from raynas.training.plan import make_training_plan
from raynas.training.run import execute_training

ARCHITECTURE = "4,2,3|4,1,2|4,1,4|4,1,6|32"


def main() -> None:
    """Train both ways in turns, and print what was saved."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--data", default="digits")
    parser.add_argument("--architecture", default=ARCHITECTURE)
    parser.add_argument("--img-size", type=int, default=64)
    parser.add_argument("--epochs", type=int, default=15)
    parser.add_argument("--images", type=int, default=1400)
    parser.add_argument("--batch-size", type=int, default=64)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--quick", action="store_true", help="a small setting, to see that the script works")
    arguments = parser.parse_args()
    if arguments.quick:
        arguments.images, arguments.epochs, arguments.rounds, arguments.img_size = 300, 7, 1, 32

    print(hardware())
    seconds: dict[str | None, list[float]] = {None: [], "as-vit": []}
    top1: dict[str | None, float] = {}
    saved = 0.0
    with tempfile.TemporaryDirectory() as folder:
        for turn in range(arguments.rounds):
            for schedule, found in seconds.items():
                config = TrainConfig.make(
                    {
                        "space": "as-vit",
                        "architecture": arguments.architecture,
                        "img_size": arguments.img_size,
                        "data": arguments.data,
                        "max_images": arguments.images,
                        "epochs": arguments.epochs,
                        "batch_size": arguments.batch_size,
                        "augment": "light",
                        "retokenize": schedule,
                        "workers": 0,
                        "loggers": [],
                    }
                )
                plan = make_training_plan(config)
                summary = execute_training(plan, Path(folder) / f"{turn}-{schedule}")
                rows = load_training(Path(folder) / f"{turn}-{schedule}").metrics.to_pylist()
                of_phase: dict[int | None, list[float]] = {}
                for row in rows:
                    of_phase.setdefault(row["stride"], []).append(row["train_s"])
                # Medians, so that a disturbed epoch does not count.
                found.append(sum(len(times) * statistics.median(times) for times in of_phase.values()))
                top1[schedule] = summary["top1"]
                saved = max(saved, summary["saved"])
    full, short = (statistics.median(found) for found in seconds.values())
    print(f"{arguments.epochs} epochs of {arguments.images} images at {arguments.img_size} px: {full:.1f} s")
    print(f"re-tokenized: {short:.1f} s; multiply-adds saved: {saved:.1%}; time saved: {1 - short / full:.1%}")
    print(f"top-1 {top1[None]:.2%} without, {top1['as-vit']:.2%} with re-tokenization")
    if torch.cuda.is_available():
        print(
            f"expected within 10 points of each other: {'met' if abs(saved - (1 - short / full)) <= 0.1 else 'NOT met'}"
        )
    else:
        print(f"expected at least 25 % of the time: {'met' if 1 - short / full >= 0.25 else 'NOT met'}")


if __name__ == "__main__":
    main()
