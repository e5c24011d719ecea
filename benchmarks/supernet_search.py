"""How much faster do two actors evaluate sub-networks than one, and what does inheriting cost beside the forward pass?

    python benchmarks/supernet_search.py [--data parquet:train.parquet] [--img-size 64] [--quick]

A supernet of vit-res-nano, trained for one epoch, on a hold-out of the data; random members, the same ones on both
sides, rates from the tenth evaluation told to the last, so that start-up is left out; sides take turns, medians of the
rounds. Then, in this process, whole evaluations of members against the forward passes of stand-alone models of the same
architectures over the same images, in turns. Expected on an idle machine with two cores: two actors at least 1.8 times
as fast; inheriting at most 5 % more than the forward passes.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from scoring_workers import Rate
from timing import hardware, interleaved_medians, verdict

import raynas
from raynas.api.supernets import search_supernet
from raynas.cluster.joining import connect
from raynas.scoring.inherited import BATCH_SIZE, InheritedEvaluator, normalized
from raynas.searching.config import RunConfig
from raynas.searching.inherited import open_supernet
from raynas.space.registered import spaces
from raynas.training.run import TrainingListener

EXPECTED, MOST = 1.8, 1.05
SPACE = "vit-res-nano"


def main() -> None:
    """Measure all sides in turns, and print the ratios."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--data", default="digits")
    parser.add_argument("--img-size", type=int, default=64)
    parser.add_argument("--images", type=int, default=500, help="images of the hold-out")
    parser.add_argument("--budget", type=int, default=60)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--quick", action="store_true", help="a small setting, to see that the script works")
    arguments = parser.parse_args()
    budget, rounds, images = (13, 1, 40) if arguments.quick else (arguments.budget, arguments.rounds, arguments.images)
    img_size = 16 if arguments.quick else arguments.img_size

    torch.set_num_threads(1)
    print(hardware())
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        raynas.train_supernet(
            SPACE, data=arguments.data, img_size=img_size, max_images=images + 64, max_val_images=images,
            val_fraction=0.95, batch_size=64, epochs=1, augment="none", workers=0, loader_processes=0,
            out=root / "supernet", listener=TrainingListener(),
        )  # fmt: skip
        one, two = (statistics.median(found) for found in _rates(root, budget, rounds))
        print(f"one actor: {one:.2f} members per second; two actors: {two:.2f} members per second")
        print(f"two actors are faster by {verdict(two / one, EXPECTED)}")
        inherited, alone = _seconds(root / "supernet", 2 if arguments.quick else 12, rounds)
    ratio = inherited / alone
    is_met = "met" if ratio <= MOST else "NOT met"
    print(f"a member by inherited weights: {1e3 * inherited:.0f} ms, its forward passes alone {1e3 * alone:.0f} ms")
    print(f"inheriting takes {ratio:.3f} x the passes (expected at most {MOST:g} x: {is_met})")


def _rates(root: Path, budget: int, rounds: int) -> tuple[list[float], list[float]]:
    rates: dict[int, list[float]] = {1: [], 2: []}
    disconnect = connect(None, min_cpus=2)
    for turn in range(rounds):
        for workers, found in rates.items():
            rate = Rate(skipped=10)
            search_supernet(
                root / "supernet", searcher="random", window=16, budget=budget, compare=0, workers=workers,
                out=root / f"{turn}-{workers}", listener=rate,
            )  # fmt: skip
            found.append(rate.per_s)
    disconnect()
    return rates[1], rates[2]


def _seconds(supernet: Path, members: int, rounds: int) -> tuple[float, float]:
    """Median seconds of evaluating a member, and of the forward passes of a stand-alone model like it."""
    space = spaces.get(SPACE)
    opened = open_supernet(RunConfig.make({"space": SPACE, "supernet": str(supernet)}))
    evaluator = InheritedEvaluator(opened.scoring("cpu", 1))
    images = normalized(torch.from_numpy(opened.scoring.images))
    rng = np.random.default_rng(0)
    tasks: dict[str, Callable[[], Any]] = {}
    for i in range(members):
        architecture = space.sample(rng)
        size = {"img_size": images.shape[-1], "num_classes": opened.scoring.settings["num_classes"]}
        alone = raynas.build(space, architecture, **size, **space.training).eval()
        tasks[f"inherited {i}"] = partial(evaluator, architecture, [0])
        tasks[f"alone {i}"] = partial(_passes, alone, images)
    medians = interleaved_medians(tasks, rounds)
    sums = [sum(medians[f"{side} {i}"] for i in range(members)) / members for side in ("inherited", "alone")]
    return sums[0], sums[1]


@torch.inference_mode()
def _passes(model: torch.nn.Module, images: torch.Tensor) -> None:
    for part in torch.split(images, BATCH_SIZE):
        model(part)


if __name__ == "__main__":
    main()
