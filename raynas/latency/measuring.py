"""Measurements of one network in several conditions, with engines that take turns."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from time import perf_counter
from typing import Any, NamedTuple

import torch

from raynas.config import check_count
from raynas.data.batch import check_memory
from raynas.errors import ConfigError
from raynas.evaluation.passes import device_of
from raynas.latency.config import ENGINES, LatencyConfig
from raynas.latency.engines import Pass, UnavailableError, check_available, prepared
from raynas.latency.source import MeasuredNetwork
from raynas.models.process_state import kept_process_state
from raynas.proxies.latency import durations
from raynas.scoring.device_types import device_type
from raynas.scoring.device_use import DeviceUse
from raynas.stats.quantiles import quantile
from raynas.training.config import precision_on
from raynas.wording import plural


class LatencyListener:
    """Receives the progress of measurements; the base class ignores it."""

    def on_log(self, line: str) -> None:
        """Something is to be said."""

    def on_progress(self, done: int, total: int, doing: str, left_s: float | None = None) -> None:
        """Some of the steps are done, and the next one begins or goes on; seconds are left, where this is known."""


@dataclass(frozen=True)
class Measurement:
    """How long passes took in one condition; times are None where nothing could be measured.

    Args:
        engine: What computed, a name in `raynas.latency.config.ENGINES`.
        precision: The type of numbers.
        batch_size: Images of a pass.
        threads: CPU threads of a pass.
        median_ms: Median of the passes, in milliseconds.
        low_ms, high_ms: Between these were 80 % of the passes: the first and the ninth decile.
        images_per_s: Images a second at the median.
        runs: Passes that were timed.
        reason: Why nothing was measured.
    """

    engine: str
    precision: str
    batch_size: int
    threads: int
    median_ms: float | None = None
    low_ms: float | None = None
    high_ms: float | None = None
    images_per_s: float | None = None
    runs: int = 0
    reason: str | None = None


class LatencyReport(NamedTuple):
    """What was measured of a network.

    Args:
        network: What it is.
        img_size: Side of the images in pixels.
        device: What computed, such as AVX2 of a processor, or the name of a GPU.
        measurements: One for each condition.
    """

    network: str
    img_size: int
    device: str
    measurements: tuple[Measurement, ...]

    def plain(self) -> dict[str, Any]:
        """The report as a value for `json.dumps`."""
        return {**self._asdict(), "measurements": [asdict(one) for one in self.measurements]}


_SLOW = {"compile": ", which takes a minute or more"}


class _Condition(NamedTuple):
    engine: str
    precision: str


def check_conditions(config: LatencyConfig) -> torch.device:
    """Refuse what this machine does not have; returns the device.

    Raises:
        ConfigError: There is no such device, it does not compute in the precision that is asked for, or an engine was
            asked for by name that this machine does not have.
    """
    device = device_of(config.device)
    for precision in config.precisions:
        precision_on(precision, device.type)
    check_count("rounds", config.num_rounds, 1, config.runs)
    for engine in config.engines:
        for precision in config.precisions:
            try:
                check_available(engine, precision, device.type)
            except UnavailableError as error:
                raise ConfigError(f"engine {engine!r}: {error}") from None
    return device


def measure(network: MeasuredNetwork, config: LatencyConfig, listener: LatencyListener) -> LatencyReport:
    """Measure a network in all conditions that are asked for.

    Threads and images of a pass are gone through one after the other. In each of these conditions all engines are made
    ready and warmed up; then they take turns, some passes each, so that they meet the machine in the same state.

    Args:
        network: The network, which is moved to the device.
        config: The conditions.
        listener: Receives progress.

    Raises:
        ConfigError: An engine was asked for by name, and is not to be had; or see `check_conditions`.
    """
    device = check_conditions(config)
    side = network.img_size
    check_memory(max(config.batch_sizes), side, "batch_size or img_size")
    conditions = [_Condition(*pair) for pair in itertools.product(config.engines or ENGINES, config.precisions)]
    places = list(itertools.product(config.threads, config.batch_sizes))
    steps = _Steps(listener, len(places) * len(conditions) * 2)
    use, model = DeviceUse(device.type), network.model.to(device)
    found: list[Measurement] = []
    with kept_process_state(), use.shared():
        generator = torch.Generator().manual_seed(0)
        for threads, batch_size in places:
            torch.set_num_threads(threads)
            images = torch.randn(batch_size, 3, side, side, generator=generator).to(device)
            passes: dict[_Condition, Pass] = {}
            reasons: dict[_Condition, str] = {}
            for condition in conditions:
                on_threads = f"{plural(batch_size, 'image', 'images')}, {plural(threads, 'thread', 'threads')}"
                steps.begin(f"prepares {condition.engine}, {on_threads}{_SLOW.get(condition.engine, '')}")
                try:
                    passes[condition] = prepared(
                        condition.engine, model, images, precision=condition.precision, threads=threads
                    )
                except UnavailableError as error:
                    if config.engines:
                        raise ConfigError(f"engine {condition.engine!r}: {error}") from None
                    reasons[condition] = str(error)
            is_last = (threads, batch_size) == places[-1]
            with use.alone():
                times = _taking_turns(passes, config, device, steps, is_last)
            steps.skip(len(reasons))
            found += [
                _measurement(condition, batch_size, threads, times.get(condition, ()), reasons.get(condition))
                for condition in conditions
            ]
    return LatencyReport(network.name, side, device_type(device.type, is_timed=True), tuple(found))


def _taking_turns(
    passes: dict[_Condition, Pass], config: LatencyConfig, device: torch.device, steps: _Steps, is_last: bool
) -> dict[_Condition, list[float]]:
    """Seconds of the passes of each engine, over all rounds.

    Time left is told where nothing is prepared after them: how long a compiler takes is not known before it is done.
    """
    synchronise: Callable[[], Any] = torch.cuda.synchronize if device.type == "cuda" else _nothing
    times: dict[_Condition, list[float]] = {condition: [] for condition in passes}
    share, more = divmod(config.runs, config.num_rounds)
    rounds, begun = config.num_rounds, 0.0
    for number in range(rounds):
        if number == 1:
            begun = perf_counter()  # the first round warms up
        elif number > 1:
            left = (perf_counter() - begun) / (number - 1) * (rounds - number)
            steps.goes_on(f"measures, round {number + 1} of {rounds}", left if is_last else None)
        for condition, run in passes.items():
            if number == 0:
                steps.begin(f"measures {condition.engine}")
            runs = share + (number < more)
            warmup = config.warmup if number == 0 else min(1, config.warmup)  # caches hold what another one used
            times[condition] += durations(run, runs=runs, warmup=warmup, synchronise=synchronise)
    return times


def _measurement(
    condition: _Condition, batch_size: int, threads: int, seconds: Sequence[float], reason: str | None
) -> Measurement:
    if not seconds:
        return Measurement(*condition, batch_size, threads, reason=reason)
    low, median, high = (1000 * quantile(seconds, q) for q in (0.1, 0.5, 0.9))
    return Measurement(*condition, batch_size, threads, median, low, high, 1000 * batch_size / median, len(seconds))


class _Steps:
    """Counts what is done of what there is to do."""

    def __init__(self, listener: LatencyListener, total: int) -> None:
        self._listener = listener
        self._total = total
        self._done = 0

    def begin(self, doing: str) -> None:
        self._listener.on_progress(self._done, self._total, doing)
        self._done += 1

    def goes_on(self, doing: str, left_s: float | None) -> None:
        self._listener.on_progress(self._done, self._total, doing, left_s)

    def skip(self, number: int) -> None:
        self._done += number


def _nothing() -> None:
    """A CPU has done what it was given when a call returns."""
