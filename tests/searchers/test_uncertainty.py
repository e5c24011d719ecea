"""Searching where the score is least known, on a latency that is arithmetic."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy.stats import binom, spearmanr

from raynas.errors import ConfigError
from raynas.searchers.uncertainty import UncertaintySampling
from raynas.space.architecture import Architecture
from raynas.space.features import Features
from raynas.space.registered import spaces
from raynas.space.results import Evaluation, Objective
from raynas.space.search_space import SearchSpace
from raynas.storage.latencies import LatencyPredictor

NOISE = 0.03
SPACE = spaces.get("autoformer-tiny")
LATENCY = (Objective("latency_ms", maximize=False),)


def true_latency(architecture: Architecture, space: SearchSpace = SPACE) -> float:
    """Milliseconds of a machine on which each block costs something, and wide ones are computed faster."""
    total = 0.3
    for stage in space.stages(architecture, 224):  # type: ignore[misc]
        products = 12 * stage.tokens * stage.width**2 / (4e7 * min(1.0, stage.width / 192))
        total += stage.depth * (0.05 + products + 2 * stage.tokens**2 * stage.width / 2e7)
    ratios: list[float] = list(architecture["mlp_ratio"])  # type: ignore[arg-type]
    return total * (1 + 0.05 * math.fsum(ratios) / len(ratios))


def measured(architecture: Architecture, rng: np.random.Generator) -> float:
    return true_latency(architecture) * math.exp(NOISE * rng.standard_normal())


def learned(seed: int, *, number: int = 40, at_random: bool = False) -> LatencyPredictor:
    rng = np.random.default_rng(seed)
    first = number if at_random else 10
    searcher = UncertaintySampling(SPACE, LATENCY, seed=seed, first=first, img_size=224)
    architectures, latencies = [], []
    for _ in range(number):
        (candidate,) = searcher.ask(1)
        latencies.append(measured(candidate.architecture, rng))
        architectures.append(candidate.architecture)
        searcher.tell([Evaluation(candidate.id, candidate.architecture, scores={"latency_ms": latencies[-1]})])
    return LatencyPredictor(SPACE, 224, 10, tuple(architectures), tuple(latencies))


def others(number: int, seed: int) -> list[Architecture]:
    rng = np.random.default_rng(seed)
    return [SPACE.sample(rng) for _ in range(number)]


@pytest.mark.slow
def test_asking_where_it_is_unsure_beats_asking_at_random() -> None:
    """On average over several studies; the error of the prediction against what is true."""
    unseen = others(150, seed=99)
    truth = np.array([true_latency(one) for one in unseen])
    errors = []
    for at_random in (False, True):
        predictors = [learned(seed, at_random=at_random) for seed in range(6)]
        found = [np.array([one.latency_ms for one in predictor.predict(unseen)]) for predictor in predictors]
        errors.append(np.mean([np.abs(np.log(one / truth)).mean() for one in found]))
    assert errors[0] < errors[1]


@pytest.mark.slow
def test_intervals_hold_as_many_new_measurements_as_they_say() -> None:
    """90 %, within what six predictors of 200 measurements each give by chance, and each orders well."""
    held = []
    for seed in range(6):
        predictor, unseen, rng = learned(seed), others(200, seed=100 + seed), np.random.default_rng(1000 + seed)
        new = np.array([measured(one, rng) for one in unseen])
        found = predictor.predict(unseen)
        held.append(sum(one.low_ms <= ms <= one.high_ms for one, ms in zip(found, new.tolist(), strict=True)))
        truth = [true_latency(one) for one in unseen]
        assert spearmanr([one.latency_ms for one in found], truth).statistic > 0.96
    # Of each predictor the width is an estimate from 40 errors, so that its share varies by some per cent more.
    low, high = binom.ppf([0.001, 0.999], 6 * 200, 0.9) / 1200
    assert low - 0.03 < sum(held) / 1200 < high + 0.03


def test_the_first_are_random_and_the_next_ones_not() -> None:
    one, other = (UncertaintySampling(SPACE, LATENCY, seed=3, first=5, img_size=224) for _ in range(2))
    first, same = one.ask(5), other.ask(5)
    assert first == same
    scores = [{"latency_ms": true_latency(candidate.architecture)} for candidate in first]
    one.tell([Evaluation(c.id, c.architecture, scores=score) for c, score in zip(first, scores, strict=True)])
    assert one.ask(1) != other.ask(1)


def test_what_is_asked_depends_on_what_was_found() -> None:
    asked = []
    for field in ("depth", "embed_dim"):
        searcher = UncertaintySampling(SPACE, LATENCY, seed=3, first=10, img_size=224)
        keys = []
        for _ in range(20):
            (candidate,) = searcher.ask(1)
            keys.append(candidate.architecture.key)
            value = float(candidate.architecture[field])  # type: ignore[arg-type]
            searcher.tell([Evaluation(candidate.id, candidate.architecture, scores={"latency_ms": value})])
        asked.append(keys)
    assert asked[0][:10] == asked[1][:10] and asked[0] != asked[1]


@pytest.mark.parametrize(("setting", "value"), [("first", 1), ("pool", 1), ("img_size", -1), ("num_classes", 0)])
def test_settings_out_of_range_are_refused(setting: str, value: int) -> None:
    with pytest.raises(ConfigError, match=setting):
        UncertaintySampling(SPACE, LATENCY, **{setting: value})


def test_features_are_costs_and_decisions() -> None:
    vit = spaces.get("vit")
    one = vit.read("p16-w192-d12-h3-m4")
    features = Features(vit, img_size=64, num_classes=10)
    (row,) = features([one]).tolist()
    assert vit.num_params is not None and vit.macs is not None
    tokens = 17
    expected = [vit.num_params(one, 64, 10), vit.macs(one, 64, 10), 12]
    expected += [12 * tokens * 192, 12 * tokens * 192**2, 12 * tokens**2 * 192]
    assert row[:6] == pytest.approx(np.log(expected))
    assert row[6:] == pytest.approx([16 / 16, 192 / 384, 12 / 12, 3 / 6, 4 / 4])
    assert features.groups == (0,) * 6 + (1,) * 5


def test_layers_that_are_not_there_count_as_nothing() -> None:
    space = spaces.get("autoformer-tiny")
    rng = np.random.default_rng(0)
    shallow = next(one for one in (space.sample(rng) for _ in range(100)) if one["depth"] == 12)
    (row,) = Features(space, img_size=224, num_classes=10)([shallow]).tolist()
    names = [decision.name for decision in space.decisions]
    last = row[-len(names) :]
    assert all(last[names.index(name)] == 0 for name in ("mlp_ratio[12]", "mlp_ratio[13]"))
    assert last[names.index("mlp_ratio[11]")] > 0
