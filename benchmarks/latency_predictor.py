"""How well do predictors that have measured 60 architectures each tell the latency of 200 that they have not seen?

    python benchmarks/latency_predictor.py [--space vit] [--img-size 64] [--measurements 60] [--predictors 8] [--quick]

Architectures are measured as `raynas latency SPACE` does, on one thread and one image, for each predictor anew. 240
others, drawn at random, are measured in the same way, each once: a share of them while each predictor learns, in turns
with what it measures itself. Those that a predictor happens to measure itself, too, are not asked of it.

An interval is to hold another measurement made in the same minutes. So each of the others is asked of the predictor
that learned while it was measured. How many each holds of those that were measured while others learned is told beside:
where a machine is shared, measurements of one network differ more in one minute than in another. All are brought to the
pace of the minutes in which a predictor learned, by the passes of a reference that are in each; how well latencies are
ordered that are not is told beside, too. Run it on a machine that does nothing else.

Expected: Spearman's rho of 0.98 with all others, in the mean of the predictors; intervals that hold 87 to 93 % of what
was measured in the same minutes, all predictors together; and at most 300 seconds for all that each one measures
together with its fit.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
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
from raynas.storage.latencies import LatencyPredictor, latency_predictor
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
    device = "cuda" if torch.cuda.is_available() else "cpu"  # as a run without workers takes it
    evaluate = Evaluator(EvaluationTask(builder(space), sizes, (timed,), device=device, used_settings=used))

    def measured(architecture: Architecture) -> dict[str, float]:
        found = {}
        for name, outcome in zip(timed.outputs, evaluate(architecture, [0]), strict=True):
            if outcome is None or outcome.value is None:
                raise RuntimeError(f"{architecture} was not measured: {outcome and outcome.error}")
            found[name] = outcome.value
        return found

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


class Agreement(NamedTuple):
    """How measurements agree with what a predictor said of them."""

    rho: float
    rho_at_any_pace: float  # with the measurements as they were
    error: float  # median of the differences, as a share of the measurement
    is_held_in_turns: np.ndarray  # (n,) bool: which of those that were measured in turns with it an interval holds
    held_else: float  # share of those that were measured while others learned

    @classmethod
    def of(
        cls,
        predictor: LatencyPredictor,
        others: Sequence[Architecture],
        measured: np.ndarray,
        as_measured: np.ndarray,
        is_in_turns: np.ndarray,
    ) -> Agreement:
        """The agreement of a predictor with the measurements of those that it has not measured itself.

        Args:
            predictor: The predictor.
            others: n architectures.
            measured: (n,) milliseconds at the predictor's pace.
            as_measured: (n,) milliseconds at the machine's own.
            is_in_turns: (n,) whether each was measured while the predictor learned.
        """
        seen = {one.key for one in predictor.architectures}
        unseen = np.array([number for number, one in enumerate(others) if one.key not in seen])
        predicted = predictor.predict([others[number] for number in unseen])
        latencies, measured = np.array([one.latency_ms for one in predicted]), measured[unseen]
        is_held = np.array([one.low_ms <= ms <= one.high_ms for one, ms in zip(predicted, measured, strict=True)])
        return cls(
            float(spearmanr(latencies, measured).statistic),
            float(spearmanr(latencies, as_measured[unseen]).statistic),
            float(np.median(np.abs(latencies / measured - 1))),
            is_held[is_in_turns[unseen]],
            float(is_held[~is_in_turns[unseen]].mean()),
        )


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
    if given.predictors < 2:
        parser.error("--predictors is at least 2, as each is asked of what was measured while others learned, too")
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
    agreements = [
        Agreement.of(predictor, others, ratios * pace, as_measured, np.array([learner[one.key] == n for one in others]))
        for n, (predictor, pace) in enumerate(zip(predictors, paces, strict=True))
    ]
    rho, rho_at_any_pace, error, held_else = (
        float(np.mean([getattr(one, name) for one in agreements]))
        for name in ("rho", "rho_at_any_pace", "error", "held_else")
    )
    in_turns_held = np.concatenate([one.is_held_in_turns for one in agreements])
    held = float(in_turns_held.mean())
    low, high = wilson_interval(held, len(in_turns_held))
    references = as_measured / ratios / np.mean(paces)
    macs = [] if space.macs is None else [space.macs(one, img_size, 10) for one in others]
    print(f"{given.space}, {img_size} pixels, {measurements} measured, {len(in_turns_held)} unseen; {hardware()}")
    print(
        f"latencies from {as_measured.min():.3g} to {as_measured.max():.3g} ms, "
        f"{time.perf_counter() - began:.0f} s in all"
    )
    print(f"the machine's pace: from {references.min():.2f} to {references.max():.2f} of that while they learned")
    for one, took in zip(agreements, seconds, strict=True):
        print(
            f"a predictor: rho {one.rho:.4f}, median error {100 * one.error:.1f} %, "
            f"{100 * one.is_held_in_turns.mean():.0f} % held of {len(one.is_held_in_turns)} in turns with it, "
            f"{100 * one.held_else:.1f} % of the others, {took:.0f} s"
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
