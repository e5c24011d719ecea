"""How well do predictors that have measured 60 architectures each tell the latency of 200 that they have not seen?

    python benchmarks/latency_predictor.py [--space vit] [--img-size 64] [--measurements 60] [--predictors 10] [--quick]

Architectures are measured as `raynas latency SPACE` does, on one thread and one image, for each predictor anew. 230
others, drawn at random, are measured in the same way, a part of them after each predictor. Those that a predictor has
not measured itself, 200 or more, are compared with what it predicts of them, and with its 90 % intervals. So they are
measured on the machine as it is while predictors learn: where it is shared, measurements of one network differ more in
one minute than in another, and an interval knows the minute in which it was learned. All measurements are brought to
the pace of that minute by the passes of a reference that are in each; how well latencies are ordered that are not is
told beside. Run it on a machine that does nothing else.

Expected, in the mean of the predictors: Spearman's rho of 0.98, intervals that hold 87 to 93 % of the measurements,
and at most 300 seconds for all that each one measures together with its fit. The share of one alone is printed, and
not asked for: on a machine that is shared, it was 10 percentage points more or less than that of others.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from scipy.stats import spearmanr
from timing import hardware

import raynas
from raynas.searching.run import SearchListener
from raynas.space.architecture import Architecture
from raynas.space.registered import spaces
from raynas.space.search_space import SearchSpace
from raynas.stats.proportion import wilson_interval
from raynas.storage.latencies import Prediction, latency_predictor
from raynas.storage.learned import LATENCY, RATIO

RHO, COVERED, SECONDS = 0.98, (0.87, 0.93), 300.0


def drawn(space: SearchSpace, number: int, seed: int) -> list[Architecture]:
    """Architectures of a space, each once."""
    rng = np.random.default_rng([seed, number])  # no numbers that a searcher draws by
    found: dict[str, Architecture] = {}
    while len(found) < number:
        one = space.sample(rng)
        found[one.key] = one
    return list(found.values())


class Agreement(NamedTuple):
    """How measurements agree with what a predictor said of them."""

    rho: float
    rho_at_any_pace: float  # with the measurements as they were
    held: float  # share of the measurements that their interval holds
    error: float  # median of the differences, as a share of the measurement
    unseen: int  # measurements

    @classmethod
    def of(cls, predicted: Sequence[Prediction], measured: np.ndarray, as_measured: np.ndarray) -> Agreement:
        """The agreement of measurements with predictions of them.

        Args:
            predicted: What was said of n architectures.
            measured: (n,) milliseconds at the predictor's pace.
            as_measured: (n,) milliseconds at the machine's own.
        """
        latencies = np.array([one.latency_ms for one in predicted])
        is_held = [one.low_ms <= ms <= one.high_ms for one, ms in zip(predicted, measured.tolist(), strict=True)]
        return cls(
            float(spearmanr(latencies, measured).statistic),
            float(spearmanr(latencies, as_measured).statistic),
            float(np.mean(is_held)),
            float(np.median(np.abs(latencies / measured - 1))),
            len(measured),
        )


def main() -> None:
    """Measure some, predict others, measure these, and print how both agree."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--space", default="vit")
    parser.add_argument("--img-size", type=int, default=64)
    parser.add_argument("--measurements", type=int, default=60)
    parser.add_argument("--predictors", type=int, default=10)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--quick", action="store_true", help="a small setting, to see that the script works")
    given = parser.parse_args()
    img_size, measurements, number = (32, 10, 6) if given.quick else (given.img_size, given.measurements, 230)
    passes = {"runs": 3, "warmup": 1, "seconds": 0.0} if given.quick else {"runs": 30, "warmup": 5, "seconds": 2.0}
    silent, sizes = SearchListener(), {"img_size": img_size, "num_classes": 10}
    space, number_of_them = spaces.get(given.space), 2 if given.quick else given.predictors
    others = drawn(space, number, given.seed)
    predictors, paces, seconds = [], [], []
    rows: dict[str, dict[str, float]] = {}
    began = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        for n in range(number_of_them):
            started = time.perf_counter()
            learned = raynas.learn_latency(
                given.space,
                out=Path(folder) / f"learned-{n}",
                measurements=measurements,
                seed=given.seed + n,
                listener=silent,
                **sizes,
                **passes,
            )
            predictors.append(latency_predictor(learned))
            predictors[-1].predict(others[:1])  # it is fitted when it is asked first
            seconds.append(time.perf_counter() - started)
            paces.append(float(np.median([row[LATENCY] / row[RATIO] for row in learned.table.to_pylist()])))
            scored = raynas.score(
                given.space,
                others[n::number_of_them],
                out=Path(folder) / f"others-{n}",
                proxies=["latency"],
                settings={"latency": {"batch_size": 1, "precision": "float32", **passes}},
                workers=0,
                window=1,
                seed=given.seed,
                listener=silent,
                **sizes,
            )
            rows |= {row["architecture_key"]: row for row in scored.table.to_pylist()}
    ratios, as_measured = (np.array([rows[one.key][name] for one in others]) for name in (RATIO, LATENCY))
    found = []
    for predictor, pace in zip(predictors, paces, strict=True):
        seen = {one.key for one in predictor.architectures}
        is_unseen = np.array([one.key not in seen for one in others])
        predicted = predictor.predict([one for one, is_taken in zip(others, is_unseen, strict=True) if is_taken])
        found.append(Agreement.of(predicted, (ratios * pace)[is_unseen], as_measured[is_unseen]))
    rho, rho_at_any_pace, held, error = np.mean([one[:4] for one in found], axis=0).tolist()
    references = as_measured / ratios / np.mean(paces)
    macs = [] if space.macs is None else [space.macs(one, img_size, 10) for one in others]
    print(
        f"{given.space}, {img_size} pixels, {measurements} measured, "
        f"{min(one.unseen for one in found)} or more unseen; {hardware()}"
    )
    print(
        f"latencies from {as_measured.min():.3g} to {as_measured.max():.3g} ms, "
        f"{time.perf_counter() - began:.0f} s in all"
    )
    print(f"the machine's pace: from {references.min():.2f} to {references.max():.2f} of that while they learned")
    for one, took in zip(found, seconds, strict=True):
        low, high = wilson_interval(one.held, one.unseen)
        print(
            f"a predictor, of {one.unseen}: rho {one.rho:.4f}, {100 * one.held:.1f} % held ({100 * low:.0f} to "
            f"{100 * high:.0f} by chance), median error {100 * one.error:.1f} %, {took:.0f} s"
        )
    print(f"rho: {rho:.4f} (expected at least {RHO}: {_said(rho >= RHO)})")
    print(f"rho with latencies at whatever pace: {rho_at_any_pace:.4f}")
    if macs:
        print(f"rho of macs: {float(spearmanr(macs, ratios).statistic):.4f}")
    print(
        f"held by 90 % intervals: {100 * held:.1f} % (expected {100 * COVERED[0]:.0f} to {100 * COVERED[1]:.0f}: "
        f"{_said(COVERED[0] <= held <= COVERED[1])})"
    )
    print(f"median error: {100 * error:.1f} %")
    print(f"seconds: {max(seconds):.0f} s (expected at most {SECONDS:.0f}: {_said(max(seconds) <= SECONDS)})")


def _said(is_met: bool) -> str:
    return "met" if is_met else "NOT met"


if __name__ == "__main__":
    main()
