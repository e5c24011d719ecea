"""What share of a training step is spent waiting for images?

    python benchmarks/data_waiting.py --data parquet:train.parquet [--img-size 64] [--augment strong] [--quick]

The time that the loop spends in taking the next batch, over the time of all steps, from the second epoch on; light and
strong augmentation, As-ViT's seed architecture unless another is named. On a GPU the loop runs ahead of the device, so
that the share bounds from above what the device waits. Expected: under 5 %.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

from as_vit_training import as_vit_plan, rows_of
from timing import hardware

from raynas.training.plan import TrainingPlan

EXPECTED = 0.05


def main() -> None:
    """Train, and print the share."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--data", default="digits")
    parser.add_argument("--architecture", default="seed")
    parser.add_argument("--img-size", type=int, default=64)
    parser.add_argument("--images", type=int, default=3000)
    parser.add_argument("--batch-size", type=int, default=128)
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--loader-processes", type=int)
    parser.add_argument("--quick", action="store_true", help="a small setting, to see that the script works")
    arguments = parser.parse_args()
    if arguments.quick:
        arguments.images, arguments.epochs, arguments.img_size = 400, 2, 32

    print(hardware())
    for augment in ("light", "strong"):
        plan = as_vit_plan(
            architecture=arguments.architecture,
            data=arguments.data,
            img_size=arguments.img_size,
            images=arguments.images,
            epochs=arguments.epochs,
            batch_size=arguments.batch_size,
            augment=augment,
            loader_processes=arguments.loader_processes,
        )
        rate, share = waiting(plan)
        verdict = "met" if share < EXPECTED else "NOT met"
        print(
            f"{augment}: {rate:,.0f} images per second, {share:.1%} of a step waiting for data (under 5 %: {verdict})"
        )


def waiting(plan: TrainingPlan) -> tuple[float, float]:
    """Images per second, and the share of the steps' time spent waiting for them, from the second epoch on."""
    with tempfile.TemporaryDirectory() as folder:
        rows = rows_of(plan, Path(folder) / "run")[1:]
    share = sum(row["data_wait_s"] for row in rows) / sum(row["train_s"] for row in rows)
    return sum(row["images_per_s"] for row in rows) / len(rows), share


if __name__ == "__main__":
    main()
