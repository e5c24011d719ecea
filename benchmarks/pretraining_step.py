"""What do pre-training and analyses cost beside a supervised step and plain passes?

    python benchmarks/pretraining_step.py [--architecture mae-lite-tiny] [--img-size 128] [--batch-size 64] [--quick]

A step is what training does: forward, loss, backward, AdamW, on one batch in memory. ViT-Tiny of arXiv 2205.14443 at
128 pixels has 64 patches, of which a masked autoencoder computes on 16; the supervised step is that of the same network
with cross-entropy. A distilled one (d-mae) has the same network as a teacher, so that what it adds can be held against
the teacher's own pass over the patches that are kept. CKA compares all pairs of 13 points of two such networks over
1,024 images, in the passes that it looks at; beside it are plain passes of both. Waiting is the share of the steps'
time in which a training of the network on the digits stood still for images. Tasks take turns, so that all meet the
same machine; figures are medians.
Expected: a masked step at most 0.45 of a supervised one; what a teacher adds, the comparison with it included, at most
its own pass; likeness of layers takes at most 1.3 times as long as the passes; waiting under 5 %.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from timing import hardware, interleaved_medians

from raynas.analysis.points import Points
from raynas.analysis.similarity import Likeness
from raynas.models.masking import kept_tokens, random_masking
from raynas.models.token_stages import TokenStages
from raynas.space.build import build
from raynas.space.registered import spaces
from raynas.training.batch import Batch
from raynas.training.config import TrainConfig
from raynas.training.defaults import PRETRAINING_DEFAULTS
from raynas.training.folder import load_training
from raynas.training.plan import TrainingPlan, make_training_plan
from raynas.training.run import execute_training
from raynas.training.step import StepRunner
from raynas.training.task import WorkerRank


def main() -> None:
    """Time all, and print the ratios."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--architecture", default="mae-lite-tiny")
    parser.add_argument("--img-size", type=int, default=128)
    parser.add_argument("--batch-size", type=int, default=64)
    parser.add_argument("--images", type=int, default=1024, help="over which layers are compared")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--rounds", type=int, default=21)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--quick", action="store_true", help="a small setting, to see that the script works")
    given = parser.parse_args()
    if given.quick:
        given.architecture, given.img_size, given.batch_size, given.rounds = "p8-w48-d3-h4-m2", 32, 8, 1
        given.images, given.threads = 32, 1
    torch.set_num_threads(given.threads)
    print(f"{given.architecture}, {given.img_size} px, batch {given.batch_size}, {given.device}; {hardware()}")
    compare_steps(given)
    compare_likeness(given)
    measure_waiting(given)


def compare_steps(given: argparse.Namespace) -> None:
    """A supervised step, a masked one, and a distilled one, beside the teacher's pass."""
    device = torch.device(given.device)
    images = torch.randn(given.batch_size, 3, given.img_size, given.img_size, device=device)
    labels = torch.arange(given.batch_size, device=device) % 10
    with tempfile.TemporaryDirectory() as folder:
        teacher = Path(folder) / "teacher"
        execute_training(planned(given, "mae", epochs=1, max_images=2 * given.batch_size), teacher)
        steps = {
            name: Step(planned(given, name, **more), images, labels)
            for name, more in (("classification", {}), ("mae", {}), ("d-mae", {"teacher": str(teacher)}))
        }
    distilled: Any = steps["d-mae"].runner.objective
    stages = TokenStages(distilled.teacher.model)
    patches = (given.img_size // 16 if not given.quick else 4) ** 2
    masking = random_masking(torch.rand(given.batch_size, patches, device=device), patches // 4)

    def teach() -> None:
        with torch.no_grad():
            stages.through(kept_tokens(stages.embedded(images), masking, stages.prefix))
        synchronise(device)

    tasks: dict[str, Callable[[], object]] = {name: step.do for name, step in steps.items()}
    seconds = interleaved_medians({**tasks, "teacher": teach}, given.rounds)
    supervised, masked = seconds["classification"], seconds["mae"]
    added = (seconds["d-mae"] - masked) / seconds["teacher"]
    print(f"supervised step: {1e3 * supervised:.1f} ms")
    share = masked / supervised
    print(f"masked step: {1e3 * masked:.1f} ms, {share:.2f} x a supervised one; {_met(share <= 0.45)}")
    own = f"its own pass over kept patches ({1e3 * seconds['teacher']:.1f} ms)"
    print(f"a teacher adds {added:.2f} x {own}; {_met(added <= 1.0)}")


class Step:
    """Steps of a training with one batch, again and again.

    Args:
        plan: The training.
        images, labels: The batch.
    """

    def __init__(self, plan: TrainingPlan, images: torch.Tensor, labels: torch.Tensor) -> None:
        device = images.device
        self.runner = StepRunner(plan.task(device.type, threads=None, loader_processes=0), WorkerRank(device=device))
        self.runner.start_epoch(0, is_new=True)
        self._batch = Batch((images,), labels, torch.arange(len(images), device=device))

    def do(self) -> None:
        """One step."""
        self.runner.run(0, 0, iter([self._batch]))
        synchronise(self._batch.images.device)


def planned(given: argparse.Namespace, objective: str, **more: Any) -> TrainingPlan:
    """A training of the network on noise."""
    values = {
        **PRETRAINING_DEFAULTS.get(objective, {"mixup": 0.0, "cutmix": 0.0, "drop_path_rate": 0.0}),
        "space": "vit",
        "architecture": given.architecture,
        "img_size": given.img_size,
        "objective": objective,
        "data": "random",
        "max_images": 2 * given.batch_size + 10,
        "batch_size": given.batch_size,
        "epochs": 10,
        "loggers": (),
        **more,
    }
    return make_training_plan(TrainConfig.make(values))


def compare_likeness(given: argparse.Namespace) -> None:
    """CKA of all pairs of points of two networks, beside plain passes of both."""
    space, device = spaces.get("vit"), torch.device(given.device)
    models = [
        build(space, space.read(given.architecture), img_size=given.img_size, num_classes=10, fused_attn=True)
        .to(device)
        .eval()
        for _ in range(2)
    ]
    batch = min(128, given.images)
    images = torch.randn(batch, 3, given.img_size, given.img_size, device=device)
    points = [Points(model) for model in models]
    rounds = given.images // batch

    @torch.no_grad()
    def plain() -> None:
        for _ in range(rounds):
            for model in models:
                model(images)
        synchronise(device)

    @torch.no_grad()
    def likeness() -> None:
        found = Likeness(is_same=False)
        for _ in range(rounds):
            features = [[one.flatten(1) for one in point.seen(images, attention=False).tokens] for point in points]
            found.add(*features)
        found.values()
        synchronise(device)

    seconds = interleaved_medians({"plain": plain, "likeness": likeness}, 1 if given.quick else 3)
    ratio = seconds["likeness"] / seconds["plain"]
    print(
        f"likeness of {len(points[0].names)} x {len(points[1].names)} layers over {given.images:,} images: "
        f"{seconds['likeness']:.2f} s, {ratio:.2f} x plain passes of both; {_met(ratio <= 1.3)}"
    )


def measure_waiting(given: argparse.Namespace) -> None:
    """The share of a masked autoencoder's steps in which it waits for images."""
    more = {"data": "digits", "max_images": None, "loader_processes": None, "epochs": 1 if given.quick else 2}
    with tempfile.TemporaryDirectory() as folder:
        execute_training(planned(given, "mae", **more), Path(folder) / "run")
        rows = load_training(Path(folder) / "run").metrics.to_pylist()
    share = sum(row["data_wait_s"] for row in rows[-1:]) / sum(row["train_s"] for row in rows[-1:])
    print(f"waiting for images: {100 * share:.1f} % of the steps' time; {_met(share < 0.05)}")


def synchronise(device: torch.device) -> None:
    """Wait until a GPU has done what it was given."""
    if device.type == "cuda":
        torch.cuda.synchronize()


def _met(is_met: bool) -> str:
    return "met" if is_met else "NOT met"


if __name__ == "__main__":
    main()
