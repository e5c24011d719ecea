"""Scoring untrained networks: the task, and what carries it out in one process, architecture by architecture."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field
from functools import partial
from time import perf_counter
from typing import Any

import numpy as np
import torch
from torch import nn

from raynas.errors import NotApplicableError
from raynas.models.networks import Networks
from raynas.models.process_guard import ProcessGuard
from raynas.models.process_state import seed_generators
from raynas.models.teachers import FrozenTeacher, Teacher
from raynas.proxies.probe import DTYPES, Proxy
from raynas.scoring.counting import CostCounter, is_own
from raynas.scoring.device_use import DeviceUse
from raynas.scoring.failures import failure, is_out_of_memory
from raynas.scoring.task import Output
from raynas.scoring.timed_probe import TimedProbe
from raynas.space.architecture import Architecture
from raynas.space.growth import Growth
from raynas.space.results import Constraint, Outcome, Status

_Kind = tuple[str, bool, int, str, bool]
"""What proxies that share a network have in common: dtype, shared draws, width divisor, init scheme, if measured."""


@dataclass(frozen=True)
class EvaluationTask:
    """Scoring untrained networks by proxies: a `raynas.scoring.task.Task` with a group of outputs for each proxy.

    Costs without closed forms are one more group, the last. They are counted first, and where one violates a bound, or
    is bounded and cannot be counted, nothing else is computed.

    Args:
        builder: Makes a model of the space: (architecture, *, img_size, num_classes, ...) -> nn.Module.
        settings: Keywords of the builder to score a model, img_size and num_classes among them.
        proxies: The proxies to score with, with their settings.
        growth: How the space grows, for proxies that score networks narrower than the architecture says; None: the
            space does not say it, so that such proxies are not applicable.
        score_seed: Seed of weights, curves and perturbations.
        images: One batch per repeat, (R, B, 3, img_size, img_size) float32; None if no proxy needs images.
        labels: The classes of these images, (R, B) int64.
        teacher: The network that some proxies compare with; None if there is none.
        counted: Names of the costs that are counted on the model.
        constraints: The run's bounds, of which those on the counted costs matter.
        device: "cpu" or "cuda".
        threads: How many threads torch computes one evaluation with.
        used_settings: Keywords of the builder for the model as it is used, which is measured; None: the same.
    """

    builder: Callable[..., nn.Module]
    settings: Mapping[str, Any]
    proxies: tuple[Proxy, ...]
    growth: Growth | None = None
    score_seed: int = 0
    images: np.ndarray | None = None
    labels: np.ndarray | None = None
    teacher: Teacher | None = None
    counted: tuple[str, ...] = ()
    constraints: tuple[Constraint, ...] = ()
    device: str = "cpu"
    threads: int = 1
    used_settings: Mapping[str, Any] | None = None

    @property
    def measures(self) -> bool:
        """Whether some values are measured by the clock, for which a process has to be alone on its device."""
        return any(proxy.is_measured for proxy in self.proxies)

    @property
    def outputs(self) -> tuple[tuple[Output, ...], ...]:
        """The values of each proxy, in the order of the proxies, then the counted costs, if there are any."""
        groups = [tuple(Output(name, one.higher_is_better) for name in one.outputs) for one in self.proxies]
        return (*groups, *([tuple(Output(name, False) for name in self.counted)] if self.counted else []))

    @property
    def own_code(self) -> tuple[Callable[..., Any], ...]:
        """The builder and the proxies' functions."""
        return (self.builder, *(proxy.function for proxy in self.proxies))

    def evaluator(self) -> Evaluator:
        """An evaluator of this task."""
        return Evaluator(self)


@dataclass
class _ScoreState:
    """One proxy on one architecture, while its repeats are taken."""

    values: list[dict[str, float]] = field(default_factory=list)
    seconds: float = 0.0
    build_seconds: float = 0.0
    status: Status | None = None
    error: str | None = None


@dataclass
class _Draw:
    """One draw of weights of one architecture, while proxies score it."""

    architecture: Architecture
    repeat: int
    is_watched: bool  # whether probes are looked at between proxies, which share them unless something is changed
    probes: dict[_Kind, TimedProbe] = field(default_factory=dict)


class Evaluator:
    """Scores architectures with all proxies of a task; the same architecture gets the same scores, save measured ones.

    Repeats are the outer loop, so that one draw of weights and the passes through it serve all proxies that come with
    raynas. Those of the user's own come last. They share the network as long as they leave it as it was, and neither
    images nor passes: whatever they do to them, and to the process, others compute as if they were alone.
    """

    def __init__(self, task: EvaluationTask) -> None:
        self.task = task
        self._has_own_models = is_own(task.builder)
        self._guard = ProcessGuard()
        self._use = DeviceUse(task.device) if task.measures else None
        # Costs are of the model that is trained, without what is left out for scores.
        self._counter = CostCounter(task.builder, task.counted, task.constraints, task.settings)
        # One for each divisor, since asking for a network overwrites the weights of the last one.
        used = task.settings if task.used_settings is None else task.used_settings
        self._networks = {
            kind: Networks(
                task.builder, used if kind[1] else task.settings, score_seed=task.score_seed, device=task.device
            )
            for kind in {_model_kind(proxy) for proxy in task.proxies}
        }
        self._inputs: dict[tuple[int, torch.dtype], tuple[torch.Tensor | None, torch.Tensor | None]] = {}
        self._teachers: dict[torch.dtype, FrozenTeacher] = {}
        self._teacher_features: dict[tuple[int, torch.dtype, tuple[int, ...]], list[torch.Tensor]] = {}

    def __call__(self, architecture: Architecture, wanted: Sequence[int]) -> list[Outcome | None]:
        """Score one architecture.

        Args:
            architecture: What to score.
            wanted: Numbers of the proxies, in ascending order, and the next number for the counted costs.

        Returns:
            One outcome per output of each wanted proxy, in their order, then those of the counted costs if they are
            wanted; None for what a violated bound makes needless. Failures are outcomes, never exceptions.

        Raises:
            DeviceLostError: A device error after which this process is of no use.
        """
        with nullcontext() if self._use is None else self._use.shared(), self._exact_convolutions():
            proxies = [self.task.proxies[i] for i in wanted if i < len(self.task.proxies)]
            costs = self._counter.outcomes(architecture) if len(self.task.proxies) in wanted else {}
            refused: list[Outcome | None] = [None for proxy in proxies for _ in proxy.outputs]
            scores = refused if self._counter.is_refused(costs) else self._scored(architecture, proxies)
            return [*scores, *costs.values()]

    def waited_s(self) -> float:
        """Seconds spent on waiting for other processes, so that one measures alone; a `WaitsForOthers`."""
        return 0.0 if self._use is None else self._use.waited_s()

    @contextmanager
    def _as_used(self, probe: TimedProbe) -> Iterator[None]:
        """A context for measurements: the network is built, convolutions are torch's choice, the device is its own."""
        assert self._use is not None, "the task measures"
        _ = probe.model
        with self._use.alone(), torch.backends.cudnn.flags(enabled=True, allow_tf32=True):
            yield

    def _exact_convolutions(self) -> AbstractContextManager[None]:
        """On GPUs, convolutions would round to 10 bits of mantissa, and take whichever algorithm was fastest."""
        if self.task.device == "cpu":
            return nullcontext()
        return torch.backends.cudnn.flags(deterministic=True, allow_tf32=False)

    def _scored(self, architecture: Architecture, proxies: Sequence[Proxy]) -> Sequence[Outcome | None]:
        progress = [_ScoreState() for _ in proxies]
        own_last = sorted(zip(proxies, progress, strict=True), key=lambda pair: is_own(pair[0].function))
        for repeat in range(max((proxy.repeats for proxy in proxies), default=0)):
            due = [pair for pair in own_last if repeat < pair[0].repeats and pair[1].status is None]
            draw = _Draw(architecture, repeat, sum(self._has_own_code(proxy) for proxy, _ in due) > 1)
            for number, (proxy, state) in enumerate(due, 1):
                self._visit(draw, proxy, state)
                self._take_away(draw, proxy, state, [later for later, _ in due[number:]])
        return [outcome for proxy, state in zip(proxies, progress, strict=True) for outcome in _outcomes(proxy, state)]

    def _has_own_code(self, proxy: Proxy) -> bool:
        return self._has_own_models or is_own(proxy.function)

    @contextmanager
    def _guarded(self, has_own_code: bool) -> Iterator[None]:
        """A context for code that may be the user's own, after which the process is as it was.

        Raises:
            ProcessChangedError: The code has replaced what others compute with.
        """
        with self._guard.watching() if has_own_code else nullcontext():
            yield

    def _visit(self, draw: _Draw, proxy: Proxy, state: _ScoreState) -> None:
        """One repeat of one proxy; on lack of memory the batch is halved down to one sample."""
        started, waited = perf_counter(), self.waited_s()
        kind, probes = _kind(proxy), draw.probes
        try:
            probe = probes.get(kind) or probes.setdefault(kind, self._probe(draw, proxy))
            build_before = probe.build_seconds
            try:
                while True:
                    try:
                        with self._guarded(self._has_own_code(proxy)):
                            seed_generators(self.task.score_seed, draw.repeat, "input")
                            with self._as_used(probe) if proxy.is_measured else nullcontext():
                                values = proxy(probe.lent() if is_own(proxy.function) else probe)
                        state.values.append(values)
                        break
                    except (MemoryError, RuntimeError) as error:
                        halved = probe.max_batch // 2 if probe.max_batch else self._largest_batch(proxy) // 2
                        is_whole = proxy.is_measured or not halved or not is_out_of_memory(error)
                        if is_whole or proxy.couples_images(probe):
                            raise
                    probe = probes[kind] = self._probe(draw, proxy, max_batch=halved)
                    build_before = 0.0
                    self._free_memory()
            finally:
                state.build_seconds += probe.build_seconds - build_before
        except BaseException as error:  # extensions raise what is no Exception
            state.status, state.error = failure(error)
            if state.status is Status.OUT_OF_MEMORY:
                self._free_memory()
        state.seconds += perf_counter() - started - (self.waited_s() - waited)

    def _take_away(self, draw: _Draw, proxy: Proxy, state: _ScoreState, later: Sequence[Proxy]) -> None:
        """Keep what a proxy has changed from the next ones, which then have a network and images built for them.

        So they have after a failure, too: if it was of the model's code, passes that were computed meanwhile are worth
        nothing, and others fail as they do when they are asked for alone.
        """
        kind = _kind(proxy)
        if not self._has_own_code(proxy) or kind not in draw.probes:
            return
        is_last = not any(_kind(other) == kind for other in later)
        if is_last or state.status is not None or not self._is_unchanged(draw.probes[kind]):
            del draw.probes[kind]
            self._networks[_model_kind(proxy)].forget()

    def _is_unchanged(self, probe: TimedProbe) -> bool:
        """Whether others can have its network and images; no if these cannot even be looked at any more."""
        try:
            with self._guarded(True):
                return probe.is_unchanged()
        except BaseException as error:  # it is the user's code
            failure(error)
            return False

    def _free_memory(self) -> None:
        """Give memory of the device that nothing is in back to those that share it."""
        if self.task.device == "cpu":
            return
        try:
            torch.cuda.empty_cache()
        except RuntimeError as error:  # of what was computed before, which is noticed here only
            failure(error)

    def _probe(self, draw: _Draw, proxy: Proxy, max_batch: int | None = None) -> TimedProbe:
        architecture, repeat, dtype = draw.architecture, draw.repeat, DTYPES[proxy.dtype]
        if proxy.width_divisor != 1:
            if self.task.growth is None:
                raise NotApplicableError("needs a space that says which field is the width")
            architecture = self.task.growth.narrowed(architecture, proxy.width_divisor)
        images, labels = self._input(repeat, dtype)

        def network() -> nn.Module:
            networks = self._networks[_model_kind(proxy)]
            return networks.network(architecture, repeat, dtype, shared_draws=proxy.shared_draws, init=proxy.init)

        probe = TimedProbe(
            architecture,
            network,
            img_size=self.task.settings["img_size"],
            score_seed=self.task.score_seed,
            repeat=repeat,
            images=images,
            labels=labels,
            max_batch=max_batch,
            teacher=None if self.task.teacher is None else partial(self._taught, repeat, dtype, max_batch),
        )
        probe.is_watched = draw.is_watched
        if self._has_own_models:
            probe.take_copies()
        return probe

    def _taught(
        self, repeat: int, dtype: torch.dtype, max_batch: int | None, stages: tuple[int, ...]
    ) -> list[torch.Tensor]:
        """The teacher's feature maps of a repeat's images, computed once for all architectures."""
        assert self.task.teacher is not None
        key = repeat, dtype, stages
        if key not in self._teacher_features:
            images, _ = self._input(repeat, dtype)
            if images is None:
                raise NotApplicableError("needs images")
            if dtype not in self._teachers:
                self._teachers[dtype] = FrozenTeacher(self.task.teacher, images.device, dtype)
            teacher = self._teachers[dtype]
            if missing := [stage for stage in stages if not -teacher.num_stages <= stage < teacher.num_stages]:
                raise NotApplicableError(f"needs stage {missing[0]} of the teacher, which has {teacher.num_stages}")
            parts = [teacher(part, stages)[1] for part in torch.split(images, max_batch or len(images))]
            self._teacher_features[key] = [torch.cat(maps) for maps in zip(*parts, strict=True)]
        return self._teacher_features[key]

    def _input(self, repeat: int, dtype: torch.dtype) -> tuple[torch.Tensor | None, torch.Tensor | None]:
        if self.task.images is None or self.task.labels is None or repeat >= len(self.task.images):
            return None, None
        if (repeat, dtype) not in self._inputs:
            # Copied, since what comes out of an object store is read-only.
            images = torch.tensor(self.task.images[repeat], dtype=dtype, device=self.task.device)
            labels = torch.tensor(self.task.labels[repeat], device=self.task.device)
            self._inputs[repeat, dtype] = images, labels
        return self._inputs[repeat, dtype]

    def _largest_batch(self, proxy: Proxy) -> int:
        """More samples than any pass has at once, so that halving starts from what was tried."""
        images = 0 if self.task.images is None else self.task.images.shape[1]
        counts = [value for value in proxy.settings.values() if isinstance(value, int)]
        return max(images, *counts, 1)


def _kind(proxy: Proxy) -> _Kind:
    return proxy.dtype, proxy.shared_draws, proxy.width_divisor, proxy.init, proxy.is_measured


def _model_kind(proxy: Proxy) -> tuple[int, bool]:
    return proxy.width_divisor, proxy.is_measured


def _outcomes(proxy: Proxy, state: _ScoreState) -> list[Outcome]:
    """Means over the repeats; the time is booked on the first output."""
    outcomes: list[Outcome] = []
    for output in proxy.outputs:
        status, error, value = state.status, state.error, None
        if status is None:
            try:
                value = math.fsum(values[output] for values in state.values) / len(state.values)
                status = Status.OK
            except KeyError:
                status, error = Status.FAILED, f"proxy {proxy.name!r} returned no value named {output!r}"
            except (ValueError, OverflowError):
                value = math.nan  # fsum of opposite infinities, or beyond the largest number
            if value is not None and not math.isfinite(value):
                found = [values[output] for values in state.values]
                status, error, value = Status.NON_FINITE, f"values of the repeats: {found}", None
        seconds = (0.0, 0.0) if outcomes else (state.seconds, state.build_seconds)
        outcomes.append(Outcome(value, str(status), error, *seconds))
    return outcomes
