"""How much faster do two workers train a supernet than one?

    python benchmarks/training_workers.py [--data parquet:train.parquet] [--img-size 64] [--quick]

vit-res-nano with two sub-networks a block, the same steps on both sides, one thread a worker; images per second
of the steps of the epochs after the first, medians of the rounds; sides take turns. Expected on an idle machine with
two cores: at least 1.7 times.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
from pathlib import Path

from timing import hardware, verdict

import raynas
from raynas.cluster.joining import connect
from raynas.training.run import TrainingListener

EXPECTED = 1.7


def main() -> None:
    """Measure both sides in turns, and print the ratio."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--data", default="digits")
    parser.add_argument("--space", default="vit-res-nano")
    parser.add_argument("--img-size", type=int, default=64)
    parser.add_argument("--steps", type=int, default=8, help="steps of an epoch")
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--quick", action="store_true", help="a small setting, to see that the script works")
    arguments = parser.parse_args()
    img_size = 16 if arguments.quick else arguments.img_size
    steps, epochs, rounds = (1, 2, 1) if arguments.quick else (arguments.steps, arguments.epochs, arguments.rounds)
    batch_size = 16 if arguments.quick else 128

    print(hardware())
    rates: dict[int, list[float]] = {1: [], 2: []}
    disconnect = connect(None, min_cpus=2)
    with tempfile.TemporaryDirectory() as folder:
        for turn in range(rounds):
            for workers, found in rates.items():
                trained = raynas.train_supernet(
                    arguments.space, data=arguments.data, img_size=img_size, max_images=steps * batch_size + 20,
                    max_val_images=20, val_fraction=0.5, batch_size=batch_size, epochs=epochs, augment="none",
                    workers=workers, threads=1, loader_processes=0, out=Path(folder) / f"{turn}-{workers}",
                    listener=TrainingListener(),
                )  # fmt: skip
                found.append(statistics.median(trained.metrics["images_per_s"].to_pylist()[1:]))
    disconnect()
    one, two = (statistics.median(found) for found in rates.values())
    print(f"one worker: {one:.1f} images per second; two workers: {two:.1f} images per second")
    print(f"two workers are faster by {verdict(two / one, EXPECTED)}")


if __name__ == "__main__":
    main()
