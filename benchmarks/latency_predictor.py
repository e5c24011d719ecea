"""How well does a predictor that has measured 40 architectures tell the latency of 200 that it has not seen?

    python benchmarks/latency_predictor.py [--space vit] [--img-size 64] [--measurements 40] [--quick]

Architectures are measured as `raynas latency SPACE` does, on one thread and one image; then 200 others, drawn at
random, are measured in the same way, and compared with their predictions and 90 % intervals, which are made before. All
measurements are brought to the pace that the machine had while it learned, by the passes of a reference that are in
each; how well latencies are ordered that are not is told beside. Run it on a machine that does nothing else. Expected:
Spearman's rho of 0.98, intervals that hold 87 to 93 % of the measurements, and at most 300 seconds for all that is
measured first together with the fit.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path

import numpy as np
from scipy.stats import spearmanr
from timing import hardware

import raynas
from raynas.searching.run import SearchListener
from raynas.space.architecture import Architecture
from raynas.space.registered import spaces
from raynas.stats.proportion import wilson_interval
from raynas.storage.latencies import LatencyPredictor, latency_predictor
from raynas.storage.learned import LATENCY, RATIO

RHO, COVERED, SECONDS = 0.98, (0.87, 0.93), 300.0


def unseen(predictor: LatencyPredictor, number: int, seed: int) -> list[Architecture]:
    """Architectures of the predictor's space that it has not measured, each once."""
    rng = np.random.default_rng(seed)
    seen, found = {one.key for one in predictor.architectures}, {}
    for _ in range(100 * number):
        one = predictor.space.sample(rng)
        if one.key not in seen and len(found) < number:
            found[one.key] = one
    return list(found.values())


def main() -> None:
    """Measure some, predict others, measure these, and print how both agree."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--space", default="vit")
    parser.add_argument("--img-size", type=int, default=64)
    parser.add_argument("--measurements", type=int, default=40)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--quick", action="store_true", help="a small setting, to see that the script works")
    given = parser.parse_args()
    img_size, measurements, number = (32, 10, 6) if given.quick else (given.img_size, given.measurements, 200)
    passes = {"runs": 3, "warmup": 1} if given.quick else {"runs": 30, "warmup": 5}
    silent = SearchListener()
    with tempfile.TemporaryDirectory() as folder:
        started = time.perf_counter()
        sizes = {"img_size": img_size, "num_classes": 10, "seed": given.seed}
        learned = raynas.learn_latency(
            given.space, out=Path(folder) / "learned", measurements=measurements, listener=silent, **sizes, **passes
        )
        predictor = latency_predictor(learned)
        others = unseen(predictor, number, given.seed + 1)
        predicted = predictor.predict(others)
        seconds = time.perf_counter() - started
        scored = raynas.score(
            given.space,
            others,
            out=Path(folder) / "others",
            proxies=["latency"],
            settings={"latency": {"batch_size": 1, "precision": "float32", **passes}},
            workers=0,
            window=1,
            listener=silent,
            **sizes,
        )
        rows = {row["architecture_key"]: row for row in scored.table.to_pylist()}
        pace = float(np.median([row[LATENCY] / row[RATIO] for row in learned.table.to_pylist()]))
        total = time.perf_counter() - started
    space = spaces.get(given.space)
    measured = np.array([rows[one.key][RATIO] * pace for one in others])
    as_measured = np.array([rows[one.key][LATENCY] for one in others])
    references = as_measured / measured
    latencies = np.array([one.latency_ms for one in predicted])
    is_held = [one.low_ms <= ms <= one.high_ms for one, ms in zip(predicted, measured.tolist(), strict=True)]
    rho, held = float(spearmanr(latencies, measured).statistic), float(np.mean(is_held))
    low, high = wilson_interval(held, len(others))
    error = float(np.median(np.abs(latencies / measured - 1)))
    macs = [] if space.macs is None else [space.macs(one, img_size, 10) for one in others]
    print(f"{given.space}, {img_size} pixels, {measurements} measured, {len(others)} unseen; {hardware()}")
    print(f"latencies from {measured.min():.3g} to {measured.max():.3g} ms, {total:.0f} s in all")
    print(f"the machine's pace: from {references.min():.2f} to {references.max():.2f} of that while it learned")
    print(f"rho: {rho:.4f} (expected at least {RHO}: {_said(rho >= RHO)})")
    print(f"rho with latencies at whatever pace: {float(spearmanr(latencies, as_measured).statistic):.4f}")
    if macs:
        print(f"rho of macs: {float(spearmanr(macs, measured).statistic):.4f}")
    print(
        f"held by 90 % intervals: {100 * held:.1f} % ({100 * low:.0f} to {100 * high:.0f} by chance; "
        f"expected {100 * COVERED[0]:.0f} to {100 * COVERED[1]:.0f}: {_said(COVERED[0] <= held <= COVERED[1])})"
    )
    print(f"median error: {100 * error:.1f} %")
    print(f"seconds: {seconds:.0f} s (expected at most {SECONDS:.0f}: {_said(seconds <= SECONDS)})")


def _said(is_met: bool) -> str:
    return "met" if is_met else "NOT met"


if __name__ == "__main__":
    main()
