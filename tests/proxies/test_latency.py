"""Measured latency: what is timed, what becomes of the durations, and which network it is."""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

import raynas
from raynas.api.lists import listing
from raynas.errors import ConfigError, NotApplicableError
from raynas.proxies.latency import durations, durations_in_turns, latency, of_durations, reference_network
from raynas.proxies.probe import Probe, Proxy
from raynas.proxies.registered import proxies, unmeasured
from raynas.scoring.evaluator import EvaluationTask, Evaluator
from raynas.space.architecture import Architecture
from raynas.space.build import builder
from raynas.space.registered import spaces

NONE = Architecture({})


class Recorded(nn.Module):
    """Notes what it is given and in what state of torch."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(3, 2)
        self.seen: list[Any] = []

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        self.seen.append((tuple(images.shape), torch.is_inference_mode_enabled(), self.training, gc.isenabled()))
        return self.linear(images.mean((2, 3)))


def test_each_timed_call_lasts_from_its_start_to_when_the_device_is_done() -> None:
    now, steps = 0.0, iter([5.0, 7.0, 1.0, 2.0, 4.0])  # the first two are for warming up

    def run() -> None:
        nonlocal now
        now += next(steps)

    def synchronise() -> None:
        nonlocal now
        now += 0.5

    found = durations(run, runs=3, warmup=2, synchronise=synchronise, clock=lambda: now)
    assert found == [1.5, 2.5, 4.5]
    assert gc.isenabled()


def test_garbage_is_collected_again_also_after_a_failure() -> None:
    def fail() -> None:
        assert not gc.isenabled()
        raise ValueError("broken")

    with pytest.raises(ValueError, match="broken"):
        durations(fail, runs=3, warmup=0, synchronise=lambda: None)
    assert gc.isenabled()


@pytest.mark.parametrize("number", [1, 2, 3, 30])
def test_median_and_spread_are_those_of_numpy(number: int) -> None:
    seconds = np.random.default_rng(number).gamma(2.0, 0.01, number)
    found = of_durations(seconds.tolist())
    assert found["latency_ms"] == pytest.approx(1000 * np.median(seconds), rel=1e-12)
    low, high = np.percentile(seconds, [25, 75])
    assert found["latency_spread"] == pytest.approx((high - low) / np.median(seconds), rel=1e-12, abs=1e-15)


def test_one_slow_pass_of_many_moves_neither_median_nor_spread_far() -> None:
    found = of_durations([0.002] * 29 + [5.0])
    assert found == {"latency_ms": 2.0, "latency_spread": 0.0}


def test_passes_are_of_a_batch_in_eval_and_inference_mode_while_no_garbage_is_collected() -> None:
    model = Recorded()
    probe = Probe(NONE, model.eval(), img_size=12)
    found = proxies.get("latency").configured(batch_size=4, runs=3, warmup=2)(probe)
    assert model.seen == [((4, 3, 12, 12), True, False, False)] * (2 + 2 * 3)
    assert found.keys() == {"latency_ms", "latency_spread", "latency_ratio"}
    assert 0 < found["latency_ms"] < 1000
    assert 0 < found["latency_ratio"] < 100


def test_passes_follow_those_of_a_reference_in_pairs() -> None:
    now, called = 0.0, []

    def taking(name: str, seconds: Iterator[float]) -> Callable[[], None]:
        def call() -> None:
            nonlocal now
            called.append(name)
            now += next(seconds)

        return call

    reference = taking("reference", iter([9.0, 1.0, 2.0, 4.0]))
    own = taking("own", iter([8.0, 7.0, 6.0, 3.0, 6.0, 5.0, 6.0, 7.0]))
    found = durations_in_turns(
        reference, own, runs=3, warmup=2, synchronise=lambda: None, clock=lambda: now
    )  # fmt: skip
    assert called == ["own", "own", "reference", *["reference", "own", "own"] * 3]
    assert found == [(1.0, 3.0), (2.0, 5.0), (4.0, 7.0)]


@pytest.mark.parametrize(("seconds", "pairs"), [(0.0, 3), (12.0, 3), (12.5, 4), (19.0, 5)])
def test_passes_go_on_for_as_long_as_is_asked_for(seconds: float, pairs: int) -> None:
    now = 0.0

    def run() -> None:
        nonlocal now
        now += 1.0

    def reference() -> None:
        nonlocal now
        now += 2.0

    found = durations_in_turns(
        reference, run, runs=3, warmup=2, seconds=seconds, synchronise=lambda: None, clock=lambda: now
    )
    assert found == [(2.0, 1.0)] * pairs  # each with one that is not timed: 4 seconds


def test_a_ratio_is_the_geometric_mean_of_its_pairs(monkeypatch: pytest.MonkeyPatch) -> None:
    taken = [(0.001, 0.002), (0.002, 0.004), (0.001, 0.016)]  # ratios of 2, 2 and 16
    monkeypatch.setattr("raynas.proxies.latency.durations_in_turns", lambda *_, **__: taken)
    assert latency(Probe(NONE, Recorded().eval(), img_size=8))["latency_ratio"] == pytest.approx(4.0)


def test_passes_of_the_score_go_on_for_as_long_as_is_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = {}

    def noted(*_: Any, **keywords: Any) -> list[tuple[float, float]]:
        asked.update(keywords)
        return [(0.001, 0.002)]

    monkeypatch.setattr("raynas.proxies.latency.durations_in_turns", noted)
    latency(Probe(NONE, Recorded().eval(), img_size=8), runs=7, warmup=3, seconds=1.5)
    assert (asked["runs"], asked["warmup"], asked["seconds"]) == (7, 3, 1.5)


def test_a_machine_that_grows_slower_leaves_the_ratio_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    pairs = {"fast": [(0.001, 0.003)] * 5, "slow": [(0.002, 0.006)] * 5, "mixed": [(0.001, 0.003), (0.002, 0.006)]}
    found = {}
    for name, taken in pairs.items():
        monkeypatch.setattr("raynas.proxies.latency.durations_in_turns", lambda *_, taken=taken, **__: taken)
        found[name] = latency(Probe(NONE, Recorded().eval(), img_size=8))
    assert {name: one["latency_ratio"] for name, one in found.items()} == pytest.approx(dict.fromkeys(pairs, 3.0))
    assert (found["fast"]["latency_ms"], found["slow"]["latency_ms"]) == pytest.approx((3.0, 6.0))


def test_a_reference_leaves_random_numbers_as_they_were() -> None:
    probe = Probe(NONE, Recorded().eval(), img_size=8)
    torch.manual_seed(4)
    expected = torch.rand(3)
    torch.manual_seed(4)
    latency(probe, runs=2, warmup=0)
    assert torch.equal(torch.rand(3), expected)


def test_a_reference_is_of_float32_whatever_the_process_computes_in() -> None:
    torch.set_default_dtype(torch.float64)
    try:
        network, tokens = reference_network(torch.device("cpu"))
    finally:
        torch.set_default_dtype(torch.float32)
    with torch.inference_mode():
        assert network(tokens).dtype == torch.float32


def test_a_reference_is_always_the_same_and_computes_with_numbers_of_usual_size() -> None:
    seen: list[torch.Tensor] = []
    for _ in range(2):
        network, tokens = reference_network(torch.device("cpu"))
        for module in network.modules():
            if isinstance(module, nn.Linear | nn.LayerNorm):
                module.register_forward_hook(lambda _module, _inputs, output: seen.append(output))
        with torch.inference_mode():
            seen.append(network(tokens))
    assert len(seen) == 2 * (8 * 6 + 1 + 1)  # two norms and four linear layers of each block
    half = len(seen) // 2
    assert all(torch.equal(a, b) for a, b in zip(seen[:half], seen[half:], strict=True))
    smallest = torch.finfo(torch.float32).smallest_normal  # numbers below make processors slow
    assert all(one.isfinite().all() and (one.abs() > smallest).all() for one in seen)


def test_a_network_of_more_multiply_adds_is_slower() -> None:
    plain = spaces.get("vit")
    texts = ["p16-w192-d2-h3-m4", "p16-w384-d12-h6-m4"]
    size = {"img_size": 64, "num_classes": 10}
    small, large = (plain.read(text) for text in texts)
    assert plain.macs is not None
    assert plain.macs(large, 64, 10) > 10 * plain.macs(small, 64, 10)
    task = EvaluationTask(
        builder(plain), size, (proxies.get("latency").configured(runs=7, warmup=2),), used_settings=size
    )
    evaluate = Evaluator(task)
    of_small, of_large = (evaluate(architecture, [0])[0].value for architecture in (small, large))
    assert of_large > 2 * of_small


class Attends(nn.Module):
    def __init__(self, architecture: Architecture, *, img_size: int, num_classes: int, fused: bool = False) -> None:
        super().__init__()
        self.fused, self.head = fused, nn.Linear(3, num_classes)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        SEEN.append((self.fused, torch.backends.cuda.flash_sdp_enabled()))
        return self.head(images.mean((2, 3)))


SEEN: list[tuple[bool, bool]] = []


@pytest.fixture
def seen() -> Iterator[list[tuple[bool, bool]]]:
    SEEN.clear()
    yield SEEN
    SEEN.clear()


def passes(probe: Probe) -> float:
    return float(probe.model(torch.zeros(1, 3, 8, 8)).sum())


def test_the_network_is_the_one_that_is_trained_with_its_attention_and_others_see_the_one_that_is_scored(
    seen: list[tuple[bool, bool]],
) -> None:
    size = {"img_size": 8, "num_classes": 2}
    timed = proxies.get("latency").configured(runs=1, warmup=0)
    task = EvaluationTask(
        Attends, size, (Proxy("before", passes), timed, Proxy("after", passes)), used_settings={**size, "fused": True}
    )
    outcomes = Evaluator(task)(NONE, [0, 1, 2])
    assert [outcome.status for outcome in outcomes] == ["ok"] * 5
    # Those of one's own come last; they compute attention by arithmetic.
    assert seen == [(True, True), (False, False), (False, False)]


def test_what_cannot_be_measured_is_said() -> None:
    probe = Probe(NONE, Recorded().eval(), img_size=8)
    with pytest.raises(NotApplicableError, match="needs a GPU for bfloat16"):
        latency(probe, precision="bfloat16")
    with pytest.raises(NotApplicableError, match="needs parameters of float32"):
        latency(Probe(NONE, Recorded().double().eval(), img_size=8))
    timed = proxies.get("latency")
    for settings, message in (
        ({"precision": "int8"}, "one of float32, bfloat16, float16, not 'int8'"),
        ({"runs": 0}, "runs is an integer of at least 1, not 0"),
        ({"warmup": -1}, "warmup is an integer of at least 0, not -1"),
        ({"seconds": -1.0}, "seconds is a number from 0 to 3,600, not -1.0"),
        ({"seconds": float("nan")}, "seconds is a number from 0 to 3,600, not nan"),
        ({"batch_size": 0}, "batch_size is an integer of at least 1, not 0"),
    ):
        with pytest.raises(ConfigError, match=message):
            timed.configured(**settings)


def test_lists_say_what_is_measured_and_what_wants_equal_values_leaves_it_out() -> None:
    rows = {row["name"]: row["measured"] for row in listing("proxies")}
    assert {name for name, text in rows.items() if text} == {"latency"}
    assert set(proxies) - set(unmeasured()) == {"latency"}


def test_a_model_at_hand_is_measured_where_it_is_asked_for() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(3, 4, 4, 4), nn.Flatten(), nn.Linear(64, 10))
    found = raynas.score_model(model, ["latency"], img_size=16)
    names = ("latency_ms", "latency_spread", "latency_ratio")
    assert {name: outcome.status for name, outcome in found.items()} == dict.fromkeys(names, "ok")
    assert "latency_ms" not in raynas.score_model(model, img_size=16)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
@pytest.mark.parametrize("precision", ["float32", "bfloat16", "float16"])
def test_latency_on_a_gpu_is_what_a_plain_loop_measures(precision: str) -> None:
    from time import perf_counter

    model = nn.Sequential(*(nn.Conv2d(3 if i == 0 else 64, 64, 3, padding=1) for i in range(12))).cuda().eval()
    size = 128
    found = latency(Probe(NONE, model, img_size=size), batch_size=64, precision=precision)
    images = torch.randn(64, 3, size, size, device="cuda")
    with torch.inference_mode(), torch.autocast("cuda", getattr(torch, precision), enabled=precision != "float32"):
        for _ in range(5):
            model(images)
        torch.cuda.synchronize()
        started = perf_counter()
        for _ in range(20):
            model(images)
        torch.cuda.synchronize()
        mean_ms = (perf_counter() - started) / 20 * 1000
    assert found["latency_ms"] == pytest.approx(mean_ms, rel=0.3)
