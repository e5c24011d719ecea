"""Which share of a score is building the network and drawing its weights?

    python benchmarks/build_share.py [--img-size 64] [--quick]

As-ViT space, each proxy alone on the same random architectures, one thread. Expected: under 10 % of every score that
needs a forward pass.
"""

from __future__ import annotations

import argparse

import numpy as np
import torch
from timing import hardware

from raynas.config import RunConfig
from raynas.evaluator import Evaluator
from raynas.plan import make_plan
from raynas.registry import proxies

EXPECTED = 0.1


def main() -> None:
    """Score with every proxy, and print the shares."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--img-size", type=int, default=64)
    parser.add_argument("--architectures", type=int, default=40)
    parser.add_argument("--quick", action="store_true", help="a small setting, to see that the script works")
    arguments = parser.parse_args()
    count, img_size = (3, 32) if arguments.quick else (arguments.architectures, arguments.img_size)

    torch.set_num_threads(1)
    print(hardware())
    for name in proxies:
        values = {"space": "as-vit", "objectives": [name], "data": "digits", "img_size": img_size}
        plan = make_plan(RunConfig.make(values))
        evaluator = Evaluator(plan.task("cpu"))
        rng = np.random.default_rng(0)
        sampled = [plan.space.sample(rng) for _ in range(count + 3)]
        for architecture in sampled[:3]:  # the bank of numbers is drawn, caches are filled
            evaluator(architecture, [0])
        outcomes = [evaluator(architecture, [0])[0] for architecture in sampled[3:]]
        seconds = float(np.median([outcome.seconds for outcome in outcomes]))
        share = float(np.median([outcome.build_seconds / outcome.seconds for outcome in outcomes]))
        met = "met" if share < EXPECTED else "NOT met"
        print(
            f"{name}: {1e3 * seconds:.0f} ms a score, {share:.1%} of it building (expected under {EXPECTED:.0%}: {met})"
        )


if __name__ == "__main__":
    main()
