"""What do scores cost beside the passes that they are made of?

    python benchmarks/proxy_passes.py [--space autoformer-tiny] [--img-size 224] [--threads 2] [--quick]

One architecture of the space, drawn by seed; medians of interleaved rounds. Expected: all first-order saliencies
together at most 1.3 times the dearest of them alone; a dss score, building and nuclear norms included, at most 2 times
a forward and backward pass of one image in the same precision; the AZ-NAS scores at batch 64 at most 1.5 times a
forward and backward pass of the batch; TVT, with the teacher's features cached, at most 1.2 times a forward pass of the
batch. On two cores of an AMD EPYC: 1.0, 1.6 and 0.95 times.
"""

from __future__ import annotations

import argparse
import multiprocessing
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from timing import hardware, interleaved_medians

from raynas.models.networks import Networks
from raynas.scoring.evaluator import Evaluator
from raynas.searching.config import RunConfig
from raynas.searching.plan import make_plan
from raynas.space.architecture import Architecture

SALIENCIES = ("grad_norm", "snip", "plain", "fisher", "l2_norm")
AZ_BATCH = 64


def main() -> None:
    """Time scores beside plain passes, and print the ratios."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--space", default="autoformer-tiny")
    parser.add_argument("--img-size", type=int, default=224)
    parser.add_argument("--batch-size", type=int, default=16)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--quick", action="store_true", help="a small setting, to see that the script works")
    arguments = parser.parse_args()
    img_size, rounds, threads = arguments.img_size, arguments.rounds, arguments.threads
    az_batch = AZ_BATCH
    if arguments.quick:
        img_size, rounds, threads, az_batch = 32, 1, 1, 4

    torch.set_num_threads(threads)
    print(f"{arguments.space}, {img_size} px, batch {arguments.batch_size}; {hardware()}")
    bench = _Bench(arguments.space, img_size, arguments.batch_size, threads)
    times = interleaved_medians(
        {
            "together": bench.score(*SALIENCIES),
            **{name: bench.score(name) for name in SALIENCIES},
            "dss": bench.score("dss"),
            "forward and backward of an image": bench.forward_and_backward(1, torch.float64),
        },
        rounds,
    )
    dearest = max(SALIENCIES, key=lambda name: times[name])
    _say(f"{', '.join(SALIENCIES)} together", times["together"], f"{dearest} alone", times[dearest], 1.3)
    of_image = times["forward and backward of an image"]
    _say("dss", times["dss"], "forward and backward of one image, float64", of_image, 2.0)
    times = interleaved_medians(
        {"tvt": bench.score("tvt"), "forward": bench.forward(arguments.batch_size)},
        rounds,
    )
    _say("tvt, teacher's features cached", times["tvt"], "forward of the batch", times["forward"], 1.2)
    settings = (az_batch, arguments.space, img_size, arguments.batch_size, threads)
    with multiprocessing.get_context("spawn").Pool(1) as fresh:
        memory = fresh.apply(_memory_of_az_nas, settings)
    times = interleaved_medians(
        {
            "az": bench.score("az_nas", batch_size=az_batch),
            "passes": bench.forward_and_backward(az_batch, torch.float32, step=16),
        },
        max(1, rounds // 2),
    )
    _say(f"az_nas at batch {az_batch}", times["az"], "forward and backward of the batch", times["passes"], 1.5)
    print(f"az_nas at batch {az_batch} takes {memory:,.0f} MiB, the network included")


class _Bench:
    """One architecture, its evaluators and its network."""

    def __init__(self, space: str, img_size: int, batch_size: int, threads: int) -> None:
        self._values = {
            "space": space, "objectives": [], "searcher": "random", "data": "digits", "img_size": img_size,
            "batch_size": batch_size, "threads": threads,
        }  # fmt: skip
        plan = self._plan("snip")
        self._architecture: Architecture = plan.space.sample(np.random.default_rng(0))
        self._task = plan.task("cpu")
        self._img_size = img_size

    def _plan(self, *names: str, **settings: object):
        given = {name: dict(settings) for name in names} if settings else {}
        values = {**self._values, "proxies": list(names), "settings": given}
        return make_plan(RunConfig.make({**values, "teacher": "random:resnet20"} if "tvt" in names else values))

    def score(self, *names: str, **settings: object) -> Callable[[], object]:
        """Score with some proxies, building included."""
        evaluator = Evaluator(self._plan(*names, **settings).task("cpu"))
        return partial(self._checked, evaluator, range(len(names)))

    def _checked(self, evaluator: Evaluator, wanted: range) -> None:
        outcomes = evaluator(self._architecture, wanted)
        assert {outcome.status for outcome in outcomes} == {"ok"}, outcomes

    def forward(self, n: int) -> Callable[[], object]:
        """A plain forward pass of n images."""
        model = self._network(torch.float32)
        images = torch.randn(n, 3, self._img_size, self._img_size)

        def passes() -> None:
            with torch.no_grad():
                model(images)

        return passes

    def _network(self, dtype: torch.dtype) -> torch.nn.Module:
        networks = Networks(self._task.builder, self._task.settings, score_seed=0)
        return networks.network(self._architecture, 0, dtype)

    def forward_and_backward(self, n: int, dtype: torch.dtype, step: int | None = None) -> Callable[[], object]:
        """Plain passes of n images through the network that is scored, step at once; gradients of all parameters."""
        model = self._network(dtype).requires_grad_(True)
        images = torch.randn(n, 3, self._img_size, self._img_size, dtype=dtype)

        def passes() -> None:
            for start in range(0, n, step or n):
                loss = model(images[start : start + (step or n)]).sum()
                torch.autograd.grad(loss, list(model.parameters()), allow_unused=True)

        return passes


def _memory_of_az_nas(batch_size: int, *bench: Any) -> float:
    """MiB by which the score raises the resident memory of a fresh process at its peak."""
    task = _Bench(*bench).score("az_nas", batch_size=batch_size)
    before = _status("VmRSS")
    task()
    return (_status("VmHWM") - before) / 1024


def _status(name: str) -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(f"{name}:"))


def _say(what: str, seconds: float, beside: str, reference: float, expected: float) -> None:
    ratio = seconds / reference
    met = "met" if ratio <= expected else "NOT met"
    print(
        f"{what}: {1e3 * seconds:.0f} ms, {ratio:.2f} x {beside} ({1e3 * reference:.0f} ms; "
        f"expected at most {expected:g} x: {met})"
    )


if __name__ == "__main__":
    main()
