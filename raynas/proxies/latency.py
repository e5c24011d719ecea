"""Measured latency: how long a network takes for a batch, by the clock."""

from __future__ import annotations

import gc
import math
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from statistics import fmean
from time import perf_counter
from typing import Any

import torch
from torch import nn

from raynas.config import MOST_SECONDS, check_count
from raynas.errors import ConfigError, NotApplicableError
from raynas.models.layers import Linear
from raynas.models.pre_norm import Block
from raynas.proxies.probe import Probe
from raynas.proxies.registered import proxy
from raynas.stats.quantiles import quantile

PRECISIONS = ("float32", "bfloat16", "float16")
_HEAD = 32  # width of the reference's heads


def _check(*, batch_size: int, runs: int, warmup: int, seconds: float, precision: str) -> None:
    for name, value, least in (("batch_size", batch_size, 1), ("runs", runs, 1), ("warmup", warmup, 0)):
        check_count(f"latency.{name}", value, least)
    if not 0 <= seconds <= MOST_SECONDS:
        raise ConfigError(f"latency.seconds is a number from 0 to {MOST_SECONDS:,}, not {seconds!r}")
    if precision not in PRECISIONS:
        raise ConfigError(f"latency.precision is one of {', '.join(PRECISIONS)}, not {precision!r}")


@proxy(
    "latency",
    outputs=("latency_ms", "latency_spread", "latency_ratio"),
    higher_is_better=False,
    is_measured=True,
    version=3,  # since the reference is a transformer, and the ratio a mean over all pairs
    check=_check,
    departures=(),
)
def latency(
    probe: Probe,
    *,
    batch_size: int = 1,
    runs: int = 30,
    warmup: int = 5,
    seconds: float = 0.0,
    precision: str = "float32",
) -> dict[str, float]:
    """Median time of a batch's forward pass, by the clock, and how far passes differ; lower is better.

    The network is the one that is trained, with torch's fused attention where the space trains with it, in eval mode
    and inference mode, and takes normal numbers. After `warmup` passes, each of `runs` passes is timed by itself, from
    the call until its result is there. The run's `threads` compute it, and nothing else on its device that belongs to
    a run that measures: see `raynas.scoring.device_use`.

    A machine that is shared, or grows hot, is now faster and now slower for minutes, whatever it computes. So each pass
    follows one of a reference, which is the same for all networks, and, where there is a warm-up at all, one more that
    is not timed, as caches hold what the reference used. What was measured at different times is compared by
    `latency_ratio`.

    Args:
        probe: The network; values of its weights do not matter.
        batch_size: Images of a pass.
        runs: Passes that are timed, or more where these are over before `seconds` are.
        warmup: Passes before, which are not.
        seconds: How long passes go on at least, those of the reference included.
        precision: "float32"; or on a GPU "bfloat16" or "float16", by autocast, as a training evaluates.

    Returns:
        `latency_ms`, the median in milliseconds; `latency_spread`, the interquartile range over the median; and
        `latency_ratio`, the geometric mean of each pass over the reference's just before.

    Raises:
        NotApplicableError: Parameters are not of float32, or another precision is asked for on the CPU.
    """
    device = probe.device
    if probe.dtype != torch.float32:
        raise NotApplicableError(f"needs parameters of float32, as `precision` says what a pass has, not {probe.dtype}")
    if precision != "float32" and device.type == "cpu":
        raise NotApplicableError(f"needs a GPU for {precision}")
    numbers = probe.rng().standard_normal((batch_size, 3, probe.img_size, probe.img_size), "float32")
    images, model = torch.from_numpy(numbers).to(device), probe.model
    synchronise = torch.cuda.synchronize if device.type == "cuda" else _nothing
    reference, tokens = reference_network(device)
    with torch.inference_mode(), _autocast(device.type, precision):
        pairs = durations_in_turns(
            lambda: reference(tokens),
            lambda: model(images),
            runs=runs,
            warmup=warmup,
            seconds=seconds,
            synchronise=synchronise,
        )
    ratio = math.exp(fmean(math.log(own / of_reference) for of_reference, own in pairs))
    return {**of_durations([own for _, own in pairs]), "latency_ratio": ratio}


def reference_network(device: torch.device) -> tuple[nn.Module, torch.Tensor]:
    """A network that takes milliseconds on a CPU, and what it takes: blocks of a narrow transformer, over 17 tokens.

    They are of two widths, as what slows a machine down hits arithmetic and the calls between in different measure: of
    the wide ones most of the time is the former, of the narrow ones the latter. A reference of wide layers alone slowed
    down less than small networks do.
    """
    factory: dict[str, Any] = {"device": "cpu", "dtype": torch.float32}
    wide, narrow = (
        [Block(width, width // _HEAD, _HEAD, 4 * width, 0.0, fused_attn=True, **factory) for _ in range(4)]
        for width in (192, 96)
    )
    network = nn.Sequential(*wide, Linear(192, 96, **factory), *narrow)
    generator = torch.Generator().manual_seed(0)  # values do not matter, if there are no denormal ones
    for parameter in network.parameters():
        nn.init.normal_(parameter, std=0.02, generator=generator)
    tokens = torch.randn(1, 17, 192, generator=generator, **factory)
    return network.eval().to(device), tokens.to(device)


def durations_in_turns(
    reference: Callable[[], Any],
    run: Callable[[], Any],
    *,
    runs: int,
    warmup: int,
    seconds: float = 0.0,
    synchronise: Callable[[], Any],
    clock: Callable[[], float] = perf_counter,
) -> list[tuple[float, float]]:
    """Seconds that two calls take in turns, in pairs, while Python collects no garbage.

    Args:
        reference: What is timed first of each pair.
        run: What is timed second; after a call that is not, as caches hold what the other one used, if there is any
            warm-up.
        runs: Pairs, or more where these are over before `seconds` are.
        seconds: How long pairs go on at least.
        warmup, synchronise, clock: Arguments with the meaning that they have in `durations`.
    """
    for call, calls in ((run, warmup), (reference, 1)):
        durations(call, runs=0, warmup=calls, synchronise=synchronise)
    once = partial(durations, runs=1, synchronise=synchronise, clock=clock)
    pairs: list[tuple[float, float]] = []
    began = clock()
    while len(pairs) < runs or clock() - began < seconds:
        (of_reference,), (own,) = once(reference, warmup=0), once(run, warmup=min(1, warmup))
        pairs.append((of_reference, own))
    return pairs


def durations(
    run: Callable[[], Any],
    *,
    runs: int,
    warmup: int,
    synchronise: Callable[[], Any],
    clock: Callable[[], float] = perf_counter,
) -> list[float]:
    """Seconds that each call takes, one after the other, while Python collects no garbage.

    Args:
        run: What is timed.
        runs: Calls that are timed.
        warmup: Calls before, which are not.
        synchronise: Waits until the device has done what it was given.
        clock: Tells the time in seconds.
    """
    was_collecting = gc.isenabled()
    gc.disable()
    try:
        for _ in range(warmup):
            run()
        synchronise()
        found = []
        for _ in range(runs):
            started = clock()
            run()
            synchronise()
            found.append(clock() - started)
        return found
    finally:
        if was_collecting:
            gc.enable()


def of_durations(seconds: Sequence[float]) -> dict[str, float]:
    """`latency_ms` and `latency_spread` of single durations in seconds, of which there is at least one."""
    low, median, high = (quantile(seconds, q) for q in (0.25, 0.5, 0.75))
    return {"latency_ms": 1000 * median, "latency_spread": (high - low) / median if median else 0.0}


def _nothing() -> None:
    """A CPU has done what it was given when a call returns."""


def _autocast(device: str, precision: str) -> AbstractContextManager[Any]:
    if precision == "float32":
        return nullcontext()
    return torch.autocast(device, dtype=getattr(torch, precision))
