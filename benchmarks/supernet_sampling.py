"""Which way of sampling sub-networks makes a supernet rank them as training them alone does?

    python benchmarks/supernet_sampling.py --data parquet:train.parquet --val-data parquet:test.parquet \
        [--space small|NAME] [--networks 20] [--seeds 3] [--epochs 24] [--images 4000] --out runs/sampling

Random members of a space are trained alone, and evaluated by the weights that they inherit of supernets trained in
three ways: multi (two members in each block of images), single (one member a step) and sandwich (the largest, the
smallest and two random members, which learn from the largest). All supernets cost nearly the same multiply-adds, passes
without gradient included: epochs are as many as come nearest to those of multi. Of each way counts Kendall's tau-b
between both accuracies over the members, for each seed of the supernet, and its mean with the interval that resampled
members give. Both sides are evaluated on the images of --val-data, or without it on those that no training sees.

What is trained alone is trained with several seeds, too, whose mean counts. How well two of these seeds agree says what
can be asked of any way: where they hardly do, the members are too much alike, or trained too little, to be ranked.

It can be interrupted and run again: finished trainings are kept. --results writes the accuracies to a Parquet file. On
a GPU at the size of CIFAR-10:

    python benchmarks/supernet_sampling.py --data parquet:train.parquet --val-data parquet:test.parquet \
        --space vit-res-nano --img-size 32 --networks 24 --images 0 --epochs 60 --alone-epochs 30 --batch-size 256 \
        --augment strong --workers 0 --out runs/sampling
"""

from __future__ import annotations

import argparse
import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from timing import hardware

import raynas
from raynas import Architecture, Choice, PerBlock, SearchSpace
from raynas.evaluation.run import EvaluationListener
from raynas.searching.run import SearchListener
from raynas.seeds import seed_from
from raynas.space.registered import spaces
from raynas.stats.kendall import kendall_tau
from raynas.stats.rank_correlation import interval
from raynas.stats.resampling import resampled_weights
from raynas.training.run import TrainingListener

STRATEGIES: Mapping[str, Mapping[str, Any]] = {
    "multi": {"sampling": "multi", "subnets": 2},
    "single": {"sampling": "single", "subnets": 1},
    "sandwich": {"sampling": "sandwich", "subnets": 4},
}
LEVEL, RESAMPLES = 0.95, 2000


def small_space() -> SearchSpace:
    """ViT-Res of a size that trains within a minute on two cores."""
    nano = spaces.get("vit-res-nano")
    return SearchSpace(
        "vit-res-small-study",
        {
            "width": (Choice(32, 24, 16), Choice(64, 48, 32), Choice(96, 80, 64)),
            "depth": (Choice(2), Choice(2), Choice(2)),
            "head_size": (Choice(8), Choice(16), Choice(16)),
            "num_heads": PerBlock(
                tuple(Choice(4, 3, 2, 1, *([0] if removable else [])) for _ in range(3) for removable in (False, True))
            ),
            "mlp_units": PerBlock(
                tuple(Choice(*(width * ratio for ratio in (3, 2, 1))) for width in (32, 64, 96) for _ in range(2))
            ),
        },
        model="vit-res-nano",
        training={"fused_attn": True},
        num_params=nano.num_params,
        macs=nano.macs,
        grammar=nano.grammar,
        img_size_multiple=16,
    )


def main() -> None:
    """Train all, and print how well each way ranks."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--data", default="digits")
    parser.add_argument("--val-data")
    parser.add_argument("--space", default="small")
    parser.add_argument("--img-size", type=int, default=32)
    parser.add_argument("--networks", type=int, default=20)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--epochs", type=int, default=24, help="of the supernet with sampling multi")
    parser.add_argument("--alone-epochs", type=int, default=12, help="of each member that is trained alone")
    parser.add_argument("--alone-seeds", type=int, default=2, help="trainings of each member that is trained alone")
    parser.add_argument("--images", type=int, default=4000, help="to train on; 0: all")
    parser.add_argument(
        "--val-images", type=int, default=2000, help="to evaluate on while training, or without --val-data"
    )
    parser.add_argument("--batch-size", type=int, default=64)
    parser.add_argument("--augment", default="light")
    parser.add_argument("--lr", type=float, help="of all trainings")
    parser.add_argument("--workers", type=int, default=0)
    parser.add_argument("--out", type=Path, default=Path("runs/sampling"))
    parser.add_argument("--results", type=Path, help="folder for a Parquet file")
    parser.add_argument("--quick", action="store_true", help="a small setting, to see that the script works")
    given = parser.parse_args()
    if given.quick:
        given.networks, given.seeds, given.alone_seeds = 4, 1, 2
        given.images, given.val_images, given.img_size, given.batch_size = 320, 200, 16, 32
        given.lr, given.epochs, given.alone_epochs = 3e-3, 4, 4
    print(hardware())
    space = small_space() if given.space == "small" else spaces.get(given.space)
    members = _members(space, given.networks)
    study = _Study(space, members, given)
    of_seeds = [[study.alone(member, seed) for member in members] for seed in range(given.alone_seeds)]
    alone = [statistics.fmean(values) for values in zip(*of_seeds, strict=True)]
    print(f"{len(members)} members alone: top-1 {min(alone):.3f} to {max(alone):.3f}", flush=True)
    if given.alone_seeds > 1:
        first, second = of_seeds[:2]
        low, high = _interval([first], second)
        print(f"alone: tau-b {kendall_tau(first, second):.3f} [{low:.3f}, {high:.3f}] between two seeds", flush=True)
    rows = []
    taus: dict[str, list[float]] = {}
    found: dict[str, list[list[float]]] = {}
    for strategy in STRATEGIES:
        epochs = study.epochs_of(strategy)
        for seed in range(given.seeds):
            inherited = study.inherited(strategy, seed, epochs)
            found.setdefault(strategy, []).append(inherited)
            taus.setdefault(strategy, []).append(kendall_tau(inherited, alone))
            rows += [
                {"strategy": strategy, "seed": seed, "epochs": epochs, "architecture": member.to_json(),
                 "inherited": one, "alone": other}
                for member, one, other in zip(members, inherited, alone, strict=True)
            ]  # fmt: skip
        low, high = _interval(found[strategy], alone)
        each = ", ".join(f"{tau:.2f}" for tau in taus[strategy])
        tau = statistics.fmean(taus[strategy])
        print(
            f"{strategy}: tau-b {tau:.3f} [{low:.3f}, {high:.3f}] over {given.seeds} seeds ({each}), "
            f"{epochs} epochs, inherited top-1 {np.mean(found[strategy]):.3f} on average",
            flush=True,
        )
    for other in ("single", "sandwich"):
        difference = statistics.fmean(taus["multi"]) - statistics.fmean(taus[other])
        print(f"multi against {other}: {difference:+.3f} in tau-b")
    if given.results is not None:
        pq.write_table(pa.Table.from_pylist(rows), given.results / "supernet_sampling.parquet")
        print(f"wrote {given.results / 'supernet_sampling'}.parquet")


def _members(space: SearchSpace, number: int) -> list[Architecture]:
    rng = np.random.default_rng(seed_from("supernet sampling", space.name))
    found: dict[Architecture, None] = {}
    while len(found) < number:
        found[space.sample(rng)] = None
    return list(found)


def _interval(inherited: Sequence[Sequence[float]], alone: Sequence[float]) -> tuple[float, float]:
    """Of the mean over seeds of tau-b, on resampled members."""
    columns, other = np.array(inherited), np.array(alone)
    drawn = []
    for weights in resampled_weights(len(other), RESAMPLES, 0):
        for counts in weights.astype(int):
            rows = np.repeat(np.arange(len(other)), counts)
            drawn.append(np.mean([kendall_tau(column[rows], other[rows]) for column in columns]))
    return interval(np.array(drawn), LEVEL)


class _Study:
    """What is trained, each in a folder of its own, in which it is found again."""

    def __init__(self, space: SearchSpace, members: Sequence[Architecture], given: Any) -> None:
        self.space, self.members, self.given, self.out = space, members, given, given.out
        self.common: dict[str, Any] = {
            "data": given.data, "img_size": given.img_size, "batch_size": given.batch_size, "augment": given.augment,
            "workers": given.workers, "loader_processes": 0 if given.quick else None, "seed": 0,
            "lr": given.lr,
            "max_images": given.images + (0 if given.val_data else given.val_images) if given.images else None,
        }  # fmt: skip
        self.val_fraction = given.val_images / self.common["max_images"] if self.common["max_images"] else 0.1

    def alone(self, member: Architecture, seed: int) -> float:
        """Top-1 of a member that is trained by itself."""
        held_out = {"val_fraction": self.val_fraction} if self.given.val_data is None else {
            "val_data": self.given.val_data, "max_val_images": self.given.val_images}  # fmt: skip
        done = raynas.train(
            self.space, architecture=member.to_json(), epochs=self.given.alone_epochs, mixup=0.0, cutmix=0.0,
            out=self.out / f"alone-{member.key[:8]}-{seed}", resume=True, listener=TrainingListener(), **held_out,
            **{**self.common, "seed": seed},
        )  # fmt: skip
        if self.given.val_data is None:
            return float(done.metrics["val_top1"].to_pylist()[-1])
        # On all images, as members of supernets are: a thousand leave more noise than members differ by.
        return raynas.evaluate(
            done.folder, data=self.given.val_data, space=self.space, listener=EvaluationListener()
        ).top1

    def epochs_of(self, strategy: str) -> int:
        """As many as cost what those of multi do."""
        return max(1, round(self.given.epochs * self._macs("multi") / self._macs(strategy)))

    def _macs(self, strategy: str) -> float:
        """Multiply-adds of an image, forward and backward passes as three forward ones."""

        def macs(one: Architecture) -> float:
            assert self.space.macs is not None
            return float(self.space.macs(one, self.given.img_size, 10))

        drawn = float(np.mean([macs(member) for member in _members(self.space, 200)]))
        largest, smallest = macs(self.space.largest()), macs(self.space.smallest())
        if strategy != "sandwich":
            return 3 * drawn
        n = int(STRATEGIES[strategy]["subnets"])
        return 3 * (largest + smallest + (n - 2) * drawn) / n + (n - 1) / n * largest

    def inherited(self, strategy: str, seed: int, epochs: int) -> list[float]:
        """Top-1 of all members by the weights that they inherit of a supernet."""
        folder = self.out / f"{strategy}-{seed}"
        # The seed of a supernet is its own; that of the images to evaluate on is not.
        settings = {**self.common, **STRATEGIES[strategy], "seed": seed, "mixup": 0.0, "cutmix": 0.0}
        held_out = {"val_fraction": self.val_fraction} if self.given.val_data is None else {"val_fraction": 0.02}
        raynas.train_supernet(
            self.space, epochs=epochs, out=folder, resume=True, listener=TrainingListener(), **held_out, **settings
        )
        run = raynas.score(
            self.space, self.members, supernet=str(folder), holdout=self.given.val_data, workers=0,
            out=self.out / f"{strategy}-{seed}-scores", resume=True, listener=SearchListener(),
        )  # fmt: skip
        known = {row["architecture"]: row["top1"] for row in run.table.to_pylist()}
        return [float(known[member.to_json()]) for member in self.members]


if __name__ == "__main__":
    main()
