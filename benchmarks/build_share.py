"""Which share of a score is building the network and drawing its weights?

    python benchmarks/build_share.py [--space as-vit] [--img-size 64] [--batch-size 16] [--quick]

Each proxy alone on the same random architectures, one thread. Expected: under 10 % of every score that needs a forward
pass. It also says how long each score takes; expected with --space autoformer-tiny --batch-size 8 at 64 px: l2_norm
under 50 ms, az_nas and grasp under 6 s, the others under 2 s.
"""

from __future__ import annotations

import argparse

import numpy as np
import torch
from timing import hardware

from raynas.proxies.registered import proxies, unmeasured
from raynas.scoring.evaluator import Evaluator
from raynas.searching.config import RunConfig
from raynas.searching.plan import make_plan

EXPECTED = 0.1
WITHOUT_PASSES = ("depth", "width", "l2_norm", "layer_width_sum")
SECONDS = {**dict.fromkeys(("az_nas", "grasp"), 6.0), **dict.fromkeys(WITHOUT_PASSES, 0.05)}
OTHER_SECONDS = 2.0
SETTING_OF_SECONDS = ("autoformer-tiny", 64, 8)


def main() -> None:
    """Score with every proxy, and print the shares."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--space", default="as-vit")
    parser.add_argument("--img-size", type=int, default=64)
    parser.add_argument("--batch-size", type=int, default=16)
    parser.add_argument("--architectures", type=int, default=40)
    parser.add_argument("--proxy", action="append", help="only these")
    parser.add_argument("--quick", action="store_true", help="a small setting, to see that the script works")
    arguments = parser.parse_args()
    count, img_size = (3, 32) if arguments.quick else (arguments.architectures, arguments.img_size)

    torch.set_num_threads(1)
    print(hardware())
    for name in arguments.proxy or [name for name in unmeasured() if not proxies.get(name).needs_teacher]:
        values = {
            "space": arguments.space, "objectives": [], "proxies": [name], "data": "digits", "img_size": img_size,
            "batch_size": arguments.batch_size, "searcher": "random",
        }  # fmt: skip
        plan = make_plan(RunConfig.make(values))
        evaluator = Evaluator(plan.task("cpu"))
        rng = np.random.default_rng(0)
        sampled = [plan.space.sample(rng) for _ in range(count + 3)]
        for architecture in sampled[:3]:  # the pool of random numbers is drawn, caches are filled
            evaluator(architecture, [0])
        outcomes = [evaluator(architecture, [0])[0] for architecture in sampled[3:]]
        seconds = float(np.median([outcome.seconds for outcome in outcomes]))
        share = float(np.median([outcome.build_seconds / outcome.seconds for outcome in outcomes]))
        says = []
        if (arguments.space, img_size, arguments.batch_size) == SETTING_OF_SECONDS:
            limit = SECONDS.get(name, OTHER_SECONDS)
            says.append(f"under {limit:g} s: {'met' if seconds < limit else 'NOT met'}")
        if name not in WITHOUT_PASSES:
            says.append(f"building under {EXPECTED:.0%}: {'met' if share < EXPECTED else 'NOT met'}")
        expected = f" (expected {', '.join(says)})" if says else ""
        print(f"{name}: {1e3 * seconds:.0f} ms a score, {share:.1%} of it building{expected}")


if __name__ == "__main__":
    main()
