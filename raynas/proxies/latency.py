"""Measured latency: how long a network takes for a batch, by the clock."""

from __future__ import annotations

import gc
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from time import perf_counter
from typing import Any

import torch

from raynas.config import check_count
from raynas.errors import ConfigError, NotApplicableError
from raynas.proxies.probe import Probe
from raynas.proxies.registered import proxy
from raynas.stats.quantiles import quantile

PRECISIONS = ("float32", "bfloat16", "float16")


def _check(*, batch_size: int, runs: int, warmup: int, precision: str) -> None:
    for name, value, least in (("batch_size", batch_size, 1), ("runs", runs, 1), ("warmup", warmup, 0)):
        check_count(f"latency.{name}", value, least)
    if precision not in PRECISIONS:
        raise ConfigError(f"latency.precision is one of {', '.join(PRECISIONS)}, not {precision!r}")


@proxy(
    "latency",
    outputs=("latency_ms", "latency_spread"),
    higher_is_better=False,
    is_measured=True,
    check=_check,
    departures=(),
)
def latency(
    probe: Probe, *, batch_size: int = 1, runs: int = 30, warmup: int = 5, precision: str = "float32"
) -> dict[str, float]:
    """Median time of a batch's forward pass, by the clock, and how far passes differ; lower is better.

    The network is the one that is trained, with torch's fused attention where the space trains with it, in eval mode
    and inference mode, and takes normal numbers. After `warmup` passes, each of `runs` passes is timed by itself, from
    the call until its result is there. The run's `threads` compute it, and nothing else on its device that belongs to
    a run that measures: see `raynas.scoring.device_use`.

    Args:
        probe: The network; values of its weights do not matter.
        batch_size: Images of a pass.
        runs: Passes that are timed.
        warmup: Passes before, which are not.
        precision: "float32"; or on a GPU "bfloat16" or "float16", by autocast, as a training evaluates.

    Returns:
        `latency_ms`, the median in milliseconds, and `latency_spread`, the interquartile range over the median.

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
    with torch.inference_mode(), _autocast(device.type, precision):
        found = durations(lambda: model(images), runs=runs, warmup=warmup, synchronise=synchronise)
    return of_durations(found)


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
