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
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
from scipy.stats import spearmanr
from timing import hardware

import raynas
from raynas.proxies.registered import proxies
from raynas.scoring.evaluator import EvaluationTask, Evaluator
from raynas.searching.ranking import Ranking
from raynas.searching.run import SearchListener
from raynas.space.architecture import Architecture
from raynas.space.build import builder
from raynas.space.registered import spaces
from raynas.space.results import Evaluation
from raynas.space.search_space import SearchSpace
from raynas.stats.proportion import wilson_interval
from raynas.storage.latencies import latency_predictor
from raynas.storage.learned import LATENCY, RATIO

RHO, COVERED, SECONDS = 0.98, (0.87, 0.93), 300.0

Measure = Callable[[Architecture], dict[str, float]]


def drawn(space: SearchSpace, number: int, seed: int) -> list[Architecture]:
    """Architectures of a space, each once."""
    rng = np.random.default_rng([seed, number])  # no numbers that a searcher draws by
    found: dict[str, Architecture] = {}
    while len(found) < number:
        one = space.sample(rng)
        found[one.key] = one
    return list(found.values())


def measure_of(space: SearchSpace, sizes: Mapping[str, int], settings: Mapping[str, float]) -> Measure:
    """What measures an architecture as a search does.

    Args:
        space: The space.
        sizes: Keywords of its builder.
        settings: Those of the score.
    """
    timed = proxies.get("latency").configured(**settings)
    used = {**sizes, **space.training}
    evaluate = Evaluator(EvaluationTask(builder(space), sizes, (timed,), used_settings=used))

    def measured(architecture: Architecture) -> dict[str, float]:
        outcomes = evaluate(architecture, [0])
        return {name: one.value for name, one in zip(timed.outputs, outcomes, strict=True) if one is not None}

    return measured


class InTurns(SearchListener):
    """Measures others in turns with what a run measures, spread evenly over it.

    Args:
        measure: Measures one.
        others: What is measured.
        measurements: Of the run.
    """

    def __init__(self, measure: Measure, others: Sequence[Architecture], measurements: int) -> None:
        self._measure = measure
        self._others = others
        self._measurements = measurements
        self.found: dict[str, dict[str, float]] = {}
        self.seconds = 0.0

    def on_tell(self, evaluation: Evaluation, told: int, ranking: Ranking) -> None:
        """Measure those whose turn it is."""
        began = time.perf_counter()
        for one in self._others[len(self.found) : round(told / self._measurements * len(self._others))]:
            self.found[one.key] = self._measure(one)
        self.seconds += time.perf_counter() - began


def main() -> None:
    """Measure some, predict others, which are measured in turns with them, and print how both agree."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--space", default="vit")
    parser.add_argument("--img-size", type=int, default=64)
    parser.add_argument("--measurements", type=int, default=60)
    parser.add_argument("--predictors", type=int, default=8)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--quick", action="store_true", help="a small setting, to see that the script works")
    given = parser.parse_args()
    img_size, measurements, number = (32, 10, 6) if given.quick else (given.img_size, given.measurements, 240)
    settings = {"runs": 3, "warmup": 1, "seconds": 0.0} if given.quick else {"runs": 30, "warmup": 5, "seconds": 2.0}
    space, number_of_them = spaces.get(given.space), 2 if given.quick else given.predictors
    sizes = {"img_size": img_size, "num_classes": 10}
    measure, others = measure_of(space, sizes, settings), drawn(space, number, given.seed)
    predictors, paces, seconds = [], [], []
    found: dict[str, dict[str, float]] = {}
    learner: dict[str, int] = {}  # the predictor that learned when an architecture was measured
    began = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        for n in range(number_of_them):
            started = time.perf_counter()
            in_turns = InTurns(measure, others[n::number_of_them], measurements)
            learned = raynas.learn_latency(
                given.space,
                out=Path(folder) / f"learned-{n}",
                measurements=measurements,
                seed=given.seed + n,
                listener=in_turns,
                **sizes,
                **settings,
            )
            predictors.append(latency_predictor(learned))
            predictors[-1].predict(others[:1])  # it is fitted when it is asked first
            seconds.append(time.perf_counter() - started - in_turns.seconds)
            paces.append(float(np.median([row[LATENCY] / row[RATIO] for row in learned.table.to_pylist()])))
            found |= in_turns.found
            learner |= dict.fromkeys(in_turns.found, n)
    ratios, as_measured = (np.array([found[one.key][name] for one in others]) for name in (RATIO, LATENCY))
    agreement = []  # of each predictor: rho, rho at any pace, median error, shares of its minutes and of others
    held_then, asked_then = 0, 0
    for n, (predictor, pace) in enumerate(zip(predictors, paces, strict=True)):
        seen = {one.key for one in predictor.architectures}
        is_unseen = np.array([one.key not in seen for one in others])
        is_then = np.array([learner[one.key] == n for one in others])[is_unseen]
        predicted = predictor.predict([one for one, is_taken in zip(others, is_unseen, strict=True) if is_taken])
        measured = (ratios * pace)[is_unseen]
        latencies = np.array([one.latency_ms for one in predicted])
        is_held = np.array([one.low_ms <= ms <= one.high_ms for one, ms in zip(predicted, measured, strict=True)])
        rho, rho_at_any_pace = (
            float(spearmanr(latencies, values).statistic) for values in (measured, as_measured[is_unseen])
        )
        error = float(np.median(np.abs(latencies / measured - 1)))
        agreement.append((rho, rho_at_any_pace, error, float(is_held[is_then].mean()), float(is_held[~is_then].mean())))
        held_then, asked_then = held_then + int(is_held[is_then].sum()), asked_then + int(is_then.sum())
    rho, rho_at_any_pace, error, _, held_else = np.mean(agreement, axis=0).tolist()
    held = held_then / asked_then
    low, high = wilson_interval(held, asked_then)
    references = as_measured / ratios / np.mean(paces)
    macs = [] if space.macs is None else [space.macs(one, img_size, 10) for one in others]
    print(f"{given.space}, {img_size} pixels, {measurements} measured, {asked_then} unseen; {hardware()}")
    print(
        f"latencies from {as_measured.min():.3g} to {as_measured.max():.3g} ms, "
        f"{time.perf_counter() - began:.0f} s in all"
    )
    print(f"the machine's pace: from {references.min():.2f} to {references.max():.2f} of that while they learned")
    for (own_rho, _, own_error, then, other), took in zip(agreement, seconds, strict=True):
        print(
            f"a predictor: rho {own_rho:.4f}, median error {100 * own_error:.1f} %, {100 * then:.0f} % held of those "
            f"in turns with it, {100 * other:.1f} % of the others, {took:.0f} s"
        )
    print(f"rho: {rho:.4f} (expected at least {RHO}: {_said(rho >= RHO)})")
    print(f"rho with latencies at whatever pace: {rho_at_any_pace:.4f}")
    if macs:
        print(f"rho of macs: {float(spearmanr(macs, ratios).statistic):.4f}")
    print(
        f"held by 90 % intervals: {100 * held:.1f} % (expected {100 * COVERED[0]:.0f} to {100 * COVERED[1]:.0f}: "
        f"{_said(COVERED[0] <= held <= COVERED[1])})"
    )
    print(
        f"by chance, {100 * low:.0f} to {100 * high:.0f} %; of those measured while others learned: "
        f"{100 * held_else:.1f} %"
    )
    print(f"median error: {100 * error:.1f} %")
    print(f"seconds: {max(seconds):.0f} s (expected at most {SECONDS:.0f}: {_said(max(seconds) <= SECONDS)})")


def _said(is_met: bool) -> str:
    return "met" if is_met else "NOT met"


if __name__ == "__main__":
    main()
