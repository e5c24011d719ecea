"""What does a training step of a supernet cost beside one of its largest network, by slices and by masks?

    python benchmarks/supernet_step.py [--img-size 32 64] [--batch-size 128] [--device cuda] [--rounds 5] [--quick]

A step is what training does: forward, cross-entropy, backward, zeros for gradients that are missing, AdamW. All share
one batch, which members divide among themselves. Several of the largest are what a warm-up begins with, and are one;
`large` ones are all different, each with one choice less; `sampled` ones are drawn anew for each step. Sliced
members compute with the first parts of the largest network's tensors; masks compute all of it for each image and put
zeros in place of what members lack. Then a LayerNorm by masks beside a plain one, with backward; a member's evaluation
in the supernet and by itself, beside the same network built anew, and by a search, which extracts it for all images of
its hold-out (2,560 here), beside the extracted network's passes alone; and images per second of the published
ViT-ResNAS networks at 224 px. Tasks take turns, so that all meet the same machine; figures are medians. On a GPU in
float32 and in bfloat16, with the peak of memory.
Expected, beside the largest network's step: 2 sub-networks at most 1.1 times, whatever is drawn; 2 of half its
multiply-adds at most 0.65 times; 4 at most 1.15 times, and at most 1.03 times as long as one after the other. LayerNorm
by masks at most 1.5 times the plain one, forms of a member at most 1.05 times; on a GPU, images per second of
Tiny:Small:Medium as 1:0.69:0.48, to 0.05.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from itertools import count
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from timing import hardware, interleaved_medians
from torch import Tensor, nn

from raynas.errors import SpaceError
from raynas.models.elastic.masking import MaskedSupernet, masked_layer_norm
from raynas.models.elastic.sampling import SubnetSampler
from raynas.models.elastic.supernet import Supernet
from raynas.scoring.inherited import BATCH_SIZE, InheritedTask, normalized
from raynas.space.architecture import Architecture
from raynas.space.build import build
from raynas.space.cost import cost
from raynas.space.registered import spaces
from raynas.space.search_space import SearchSpace

Form = Supernet | MaskedSupernet
NORM_SHAPE, NORM_KEPT = (64, 257, 256), ((32, 256), (32, 176))
PUBLISHED = {
    "tiny": ("vit-res-tiny", "vit-resnas-tiny", 1.0),
    "small": ("vit-res-small", "vit-resnas-small", 0.69),
    "medium": ("vit-res-small", "vit-resnas-medium", 0.48),
}
"""Space, name, and images per second beside Tiny's, on one V100 of the authors."""


def main() -> None:
    """Time all, and print the ratios."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--space", default="vit-res-nano")
    parser.add_argument("--img-size", type=int, nargs="+", default=[32, 64])
    parser.add_argument("--batch-size", type=int, default=128)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--precision", nargs="+", choices=["float32", "bfloat16", "float16"], help="default: by device")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--quick", action="store_true", help="a small setting, to see that the script works")
    arguments = parser.parse_args()
    device = torch.device(arguments.device)
    sides, batch_size, rounds, published = arguments.img_size, arguments.batch_size, arguments.rounds, 224
    if arguments.quick:
        sides, batch_size, rounds, arguments.threads, published = [32], 4, 1, 1, 56
    torch.set_num_threads(arguments.threads)
    torch.manual_seed(0)
    is_gpu = device.type == "cuda"
    print(f"{arguments.space}, batch {batch_size}, {device}; {hardware()}")
    space = spaces.get(arguments.space)
    for side in sides:
        for precision in arguments.precision or (["float32", "bfloat16"] if is_gpu else ["float32"]):
            steps = Steps(space, side, batch_size, device, getattr(torch, precision))
            label = f"{side} px {precision}"
            compare_steps(steps, label, rounds)
            compare_evaluation(steps, label, rounds, 2 * batch_size if arguments.quick else 2_560)
    compare_norms(device, 2 if arguments.quick else 10 * rounds)
    compare_published(published, 1 if arguments.quick else batch_size if is_gpu else 8, device, rounds)


class Steps:
    """Training steps of one supernet with one batch.

    Args:
        space: The space.
        img_size: Side of the images in pixels.
        batch_size: How many images a step has.
        device: Where it computes.
        dtype: float32, or the type of mixed precision.
    """

    def __init__(
        self, space: SearchSpace, img_size: int, batch_size: int, device: torch.device, dtype: torch.dtype
    ) -> None:
        self.space, self.img_size, self.device, self.dtype = space, img_size, device, dtype
        self.settings = {"img_size": img_size, "num_classes": 100, **space.training}
        self.sliced = Supernet.fresh(space, **self.settings)
        self.sliced.whole.to(device)
        self.masked = MaskedSupernet(self.sliced)
        self.images = torch.randn(batch_size, 3, img_size, img_size, device=device)
        self.labels = torch.arange(batch_size, device=device) % 100
        self._optimizer = torch.optim.AdamW(self.sliced.whole.parameters(), lr=1e-4, fused=True)  # as trainings do
        self._sampler = SubnetSampler(space, 0, per_block=4, warmup_epochs=0)

    def of_largest(self) -> None:
        """A step of the largest network as such."""
        self._step([lambda: self.sliced.whole(self.images)])

    def of(self, architectures: Sequence[Architecture], form: Form | None = None) -> None:
        """A step of some members in one pass."""
        self._step([lambda: (form or self.sliced)(self.images, architectures)])

    def one_by_one(self, architectures: Sequence[Architecture]) -> None:
        """A step of some members in a pass each."""
        passes = [
            lambda i=i, one=one: self.sliced(self.images[i :: len(architectures)], [one])
            for i, one in enumerate(architectures)
        ]
        self._step(passes)

    def drawn(self, number: int, step: int) -> list[Architecture]:
        """Members that a step draws."""
        return self._sampler.drawn(0, step, 0)[:number]

    def halves(self) -> list[Architecture]:
        """Of 500 members, the two with most nearly half of the largest one's multiply-adds."""
        rng = np.random.default_rng(0)
        members = [self.space.sample(rng) for _ in range(500)]
        return sorted(members, key=lambda one: abs(self.share(one) - 0.5))[:2]

    def large(self, number: int) -> list[Architecture]:
        """Different members that cost nearly what the largest one does: each has one choice less than it has."""
        rng = np.random.default_rng(0)
        largest = self.sliced.largest
        found: dict[Architecture, float] = {}
        while len(found) < 20 * number:
            drawn, fields = self.space.sample(rng), dict(largest)
            name = sorted(fields)[rng.integers(len(fields))]
            if isinstance(value := fields[name], tuple):
                at = rng.integers(len(value))
                fields[name] = (*value[:at], drawn[name][at], *value[at + 1 :])
            else:
                fields[name] = drawn[name]
            with suppress(SpaceError):
                self.space.validate(Architecture(fields))
                one = self.space.canonical(Architecture(fields))
                if one != self.space.canonical(largest):
                    found[one] = self.share(one)
        return sorted(found, key=lambda one: -found[one])[:number]

    def share(self, architecture: Architecture) -> float:
        """Multiply-adds of a member beside those of the largest."""
        own, largest = (
            cost(self.space, one, "macs", img_size=self.img_size, num_classes=100)
            for one in (architecture, self.sliced.largest)
        )
        return own / largest

    def autocast(self) -> torch.autocast:
        """Mixed precision, if it is wanted."""
        is_mixed = self.dtype != torch.float32
        return torch.autocast(self.device.type, self.dtype if is_mixed else None, enabled=is_mixed)

    def _step(self, passes: Sequence[Callable[[], Tensor]]) -> None:
        for i, one in enumerate(passes):
            with self.autocast():
                logits = one()
                loss = F.cross_entropy(logits.float(), self.labels[i :: len(passes)]) / len(passes)
            loss.backward()
        for parameter in self.sliced.whole.parameters():
            if parameter.grad is None:
                parameter.grad = torch.zeros_like(parameter)
        self._optimizer.step()
        self._optimizer.zero_grad()


def compare_steps(steps: Steps, label: str, rounds: int) -> None:
    """Print what steps take."""
    largest, halves, large = steps.sliced.largest, steps.halves(), steps.large(4)
    calls = {name: count() for name in ("2 sampled", "2 sampled by masks", "4 sampled", "4 one by one")}
    tasks: dict[str, Callable[[], object]] = {
        "largest": steps.of_largest,
        "2 largest": lambda: steps.of([largest] * 2),
        "2 large": lambda: steps.of(large[:2]),
        "2 sampled": lambda: steps.of(steps.drawn(2, next(calls["2 sampled"]))),
        "2 sampled by masks": lambda: steps.of(steps.drawn(2, next(calls["2 sampled by masks"])), steps.masked),
        "2 halves": lambda: steps.of(halves),
        "2 halves by masks": lambda: steps.of(halves, steps.masked),
        "4 largest": lambda: steps.of([largest] * 4),
        "4 large": lambda: steps.of(large),
        "4 sampled": lambda: steps.of(steps.drawn(4, next(calls["4 sampled"]))),
        "4 one by one": lambda: steps.one_by_one(steps.drawn(4, next(calls["4 one by one"]))),
    }
    times = medians(tasks, rounds, steps.device)
    print(f"{label} largest: {1e3 * times['largest']:.1f} ms a step of {len(steps.images)} images")
    for what, members in (("large ones", large), ("halves", halves)):
        shares = " and ".join(f"{steps.share(one):.2f}" for one in members)
        print(f"{label} {what} have {shares} of its multiply-adds")
    for what, beside, expected in (
        ("2 largest", "largest", 1.1),
        ("2 large", "largest", 1.1),
        ("2 sampled", "largest", 1.1),
        ("2 halves", "largest", 0.65),
        ("4 largest", "largest", 1.15),
        ("4 large", "largest", 1.15),
        ("4 sampled", "4 one by one", 1.03),
        ("2 sampled by masks", "2 sampled", None),
        ("2 halves by masks", "2 halves", None),
    ):
        say(f"{label} {what}", times[what], beside, times[beside], expected)
    if steps.device.type == "cuda":
        for what in ("largest", "2 largest", "2 halves", "2 halves by masks", "4 largest"):
            torch.cuda.reset_peak_memory_stats(steps.device)
            tasks[what]()
            print(f"{label} {what}: {torch.cuda.max_memory_allocated(steps.device) / 2**20:,.0f} MiB at most")


def compare_evaluation(steps: Steps, label: str, rounds: int, held_out: int) -> None:
    """Print what evaluating a member takes: by itself, in the supernet, and as a search does it with its hold-out."""
    member = steps.halves()[0]
    steps.sliced.whole.eval()
    networks: dict[str, Callable[[Tensor], Tensor]] = {
        "built anew": build(steps.space, member, **steps.settings).to(steps.device).eval(),
        "extracted": steps.sliced.extract(member),
        "in the supernet": lambda images: steps.sliced(images, [member]),
    }

    def task(network: Callable[[Tensor], Tensor]) -> Callable[[], object]:
        def evaluate() -> None:
            with torch.no_grad(), steps.autocast():
                network(steps.images)

        return evaluate

    times = medians({name: task(network) for name, network in networks.items()}, 2 * rounds, steps.device)
    for what, expected in (("extracted", 1.05), ("in the supernet", None)):
        say(f"{label} a member {what}", times[what], "a network built anew", times["built anew"], expected)
    steps.sliced.whole.train()
    compare_search(steps, member, label, rounds, held_out)


def compare_search(steps: Steps, member: Architecture, label: str, rounds: int, held_out: int) -> None:
    """Print what a search takes to evaluate a member on its hold-out, beside the extracted model's passes alone."""
    state = steps.sliced.whole.state_dict()
    pixels = np.random.default_rng(0).integers(0, 256, (held_out, 3, steps.img_size, steps.img_size), dtype=np.uint8)
    task = InheritedTask(
        space=steps.space,
        largest=steps.sliced.largest,
        settings=steps.settings,
        weights={name: one.detach().cpu().numpy() for name, one in state.items()},
        images=pixels,
        labels=np.arange(held_out) % 100,
        precision=str(steps.dtype).removeprefix("torch."),
        device=steps.device.type,
    )
    evaluator = task.evaluator()
    extracted = steps.sliced.extract(member).to(steps.device).eval()
    batches = [normalized(one).to(steps.device) for one in torch.split(torch.from_numpy(pixels), BATCH_SIZE)]

    def passes() -> None:
        with torch.inference_mode(), steps.autocast():
            for images in batches:
                extracted(images)

    tasks = {"passes": passes, "search": lambda: evaluator(member, [0])}
    times = medians(tasks, rounds, steps.device)
    say(f"{label} a member searched on {held_out:,} images", times["search"], "its passes", times["passes"], 1.05)


def compare_norms(device: torch.device, rounds: int) -> None:
    """Print what a LayerNorm of two widths takes beside a plain one, forward and backward."""
    width = NORM_SHAPE[-1]
    x = torch.randn(NORM_SHAPE, device=device, requires_grad=True)
    weight, bias = nn.LayerNorm(width, device=device).parameters()
    towards = torch.randn(NORM_SHAPE, device=device)

    def task(norm: Callable[[], Tensor]) -> Callable[[], object]:
        return lambda: torch.autograd.grad(norm(), (x, weight, bias), towards)

    tasks = {
        "plain": task(lambda: F.layer_norm(x, (width,), weight, bias, 1e-6)),
        "masked": task(lambda: masked_layer_norm(x, NORM_KEPT, weight, bias, 1e-6)),
    }
    times = medians(tasks, rounds, device)
    say("LayerNorm by masks", times["masked"], "plain", times["plain"], 1.5)


def compare_published(img_size: int, batch_size: int, device: torch.device, rounds: int) -> None:
    """Print images per second of the published networks, without gradients; in mixed precision on a GPU."""
    images = torch.randn(batch_size, 3, img_size, img_size, device=device)
    is_gpu = device.type == "cuda"

    def task(space: SearchSpace, name: str) -> Callable[[], object]:
        network = build(space, space.named[name], img_size=img_size, **space.training).to(device).eval()

        def evaluate() -> None:
            with torch.no_grad(), torch.autocast(device.type, torch.bfloat16, enabled=is_gpu):
                network(images)

        return evaluate

    tasks = {size: task(spaces.get(space), name) for size, (space, name, _) in PUBLISHED.items()}
    times = medians(tasks, rounds, device)
    for size, (_, _, asked) in PUBLISHED.items():
        share = times["tiny"] / times[size]
        is_met = "" if not is_gpu else ": met" if abs(share - asked) <= 0.05 else ": NOT met"
        print(
            f"{size}: {batch_size / times[size]:,.1f} images per second at {img_size} px, {share:.2f} of tiny "
            f"(expected {asked:g} on a GPU{is_met})"
        )


def medians(tasks: Mapping[str, Callable[[], object]], rounds: int, device: torch.device) -> dict[str, float]:
    """Median seconds of tasks that take turns, until the device has done them."""

    def whole(task: Callable[[], object]) -> Callable[[], object]:
        def run() -> None:
            task()
            if device.type == "cuda":
                torch.cuda.synchronize(device)

        return run

    return interleaved_medians({name: whole(task) for name, task in tasks.items()}, rounds)


def say(what: str, seconds: float, beside: str, reference: float, expected: float | None) -> None:
    """Print a time beside another one."""
    ratio = seconds / reference
    said: Any = ""
    if expected is not None:
        said = f"; expected at most {expected:g} x: {'met' if ratio <= expected else 'NOT met'}"
    print(f"{what}: {1e3 * seconds:.1f} ms, {ratio:.3f} x {beside} ({1e3 * reference:.1f} ms{said})")


if __name__ == "__main__":
    main()
