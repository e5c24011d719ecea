"""Scoring untrained networks: the task, and what carries it out in one process, architecture by architecture."""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from time import perf_counter
from typing import Any

import numpy as np
import torch
from torch import nn

from raynas.errors import NotApplicableError
from raynas.models.networks import Networks
from raynas.models.teachers import FrozenTeacher, Teacher
from raynas.proxies.probe import DTYPES, Probe, Proxy
from raynas.scoring.failures import failure, is_out_of_memory
from raynas.scoring.task import Output
from raynas.seeds import input_seed
from raynas.space.architecture import Architecture
from raynas.space.growth import Growth
from raynas.space.results import Outcome, Status

_Kind = tuple[str, bool, int, str]
"""What proxies that share a network have in common: dtype, shared draws, width divisor, init scheme."""


@dataclass(frozen=True)
class EvaluationTask:
    """Scoring untrained networks by proxies: a `raynas.scoring.task.Task` with a group of outputs for each proxy.

    Args:
        builder: Makes a model of the space: (architecture, *, img_size, num_classes, ...) -> nn.Module.
        settings: Keywords of the builder, img_size and num_classes among them.
        proxies: The proxies to score with, with their settings.
        growth: How the space grows, for proxies that score networks narrower than the architecture says; None: the
            space does not say it, so that such proxies are not applicable.
        score_seed: Seed of weights, curves and perturbations.
        images: One batch per repeat, (R, B, 3, img_size, img_size) float32; None if no proxy needs images.
        labels: The classes of these images, (R, B) int64.
        teacher: The network that some proxies compare with; None if there is none.
        device: "cpu" or "cuda".
        threads: How many threads torch computes one evaluation with.
    """

    builder: Callable[..., nn.Module]
    settings: Mapping[str, Any]
    proxies: tuple[Proxy, ...]
    growth: Growth | None = None
    score_seed: int = 0
    images: np.ndarray | None = None
    labels: np.ndarray | None = None
    teacher: Teacher | None = None
    device: str = "cpu"
    threads: int = 1

    @property
    def outputs(self) -> tuple[tuple[Output, ...], ...]:
        """The values of each proxy, in the order of the proxies."""
        return tuple(tuple(Output(name, one.higher_is_better) for name in one.outputs) for one in self.proxies)

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


class Evaluator:
    """Scores architectures with all proxies of a task; the same architecture always gets the same scores.

    Repeats are the outer loop, so that one draw of weights and the passes through it serve all proxies.
    """

    def __init__(self, task: EvaluationTask) -> None:
        self.task = task
        # One for each divisor, since asking for a network overwrites the weights of the last one.
        self._networks = {
            divisor: Networks(task.builder, task.settings, score_seed=task.score_seed, device=task.device)
            for divisor in {proxy.width_divisor for proxy in task.proxies}
        }
        if task.device != "cpu":
            torch.set_float32_matmul_precision("highest")  # an environment may have asked for less
        self._inputs: dict[tuple[int, torch.dtype], tuple[torch.Tensor | None, torch.Tensor | None]] = {}
        self._teachers: dict[torch.dtype, FrozenTeacher] = {}
        self._teacher_features: dict[tuple[int, torch.dtype, tuple[int, ...]], list[torch.Tensor]] = {}

    def __call__(self, architecture: Architecture, wanted: Sequence[int]) -> list[Outcome]:
        """Score one architecture.

        Args:
            architecture: What to score.
            wanted: Numbers of the proxies, in ascending order.

        Returns:
            One outcome per output of each wanted proxy, in their order. Failures are outcomes, never exceptions.

        Raises:
            DeviceLostError: A device error after which this process is of no use.
        """
        if self.task.device == "cpu":
            return self._scored(architecture, wanted)
        # Convolutions would round to 10 bits of mantissa, and take whichever algorithm was fastest this time.
        with torch.backends.cudnn.flags(deterministic=True, allow_tf32=False):
            return self._scored(architecture, wanted)

    def _scored(self, architecture: Architecture, wanted: Sequence[int]) -> list[Outcome]:
        proxies = [self.task.proxies[i] for i in wanted]
        progress = [_ScoreState() for _ in proxies]
        for repeat in range(max((proxy.repeats for proxy in proxies), default=0)):
            probes: dict[_Kind, _TimedProbe] = {}
            for proxy, state in zip(proxies, progress, strict=True):
                if repeat < proxy.repeats and state.status is None:
                    self._visit(architecture, repeat, proxy, probes, state)
        return [outcome for proxy, state in zip(proxies, progress, strict=True) for outcome in _outcomes(proxy, state)]

    def _visit(
        self,
        architecture: Architecture,
        repeat: int,
        proxy: Proxy,
        probes: dict[_Kind, _TimedProbe],
        state: _ScoreState,
    ) -> None:
        """One repeat of one proxy; on lack of memory the batch is halved down to one sample."""
        started = perf_counter()
        kind = (proxy.dtype, proxy.shared_draws, proxy.width_divisor, proxy.init)
        try:
            probe = probes.get(kind) or probes.setdefault(kind, self._probe(architecture, repeat, proxy))
            build_before = probe.build_seconds
            try:
                while True:
                    try:
                        self._seed(repeat)
                        state.values.append(proxy(probe))
                        break
                    except (MemoryError, RuntimeError) as error:
                        halved = probe.max_batch // 2 if probe.max_batch else self._largest_batch(proxy) // 2
                        if not is_out_of_memory(error) or not halved or proxy.couples_images(probe):
                            raise
                    probe = probes[kind] = self._probe(architecture, repeat, proxy, max_batch=halved)
                    build_before = 0.0
                    if self.task.device != "cpu":
                        torch.cuda.empty_cache()
            finally:
                state.build_seconds += probe.build_seconds - build_before
        except NotApplicableError as error:
            state.status, state.error = Status.NOT_APPLICABLE, str(error)
        except KeyboardInterrupt:
            raise
        except BaseException as error:  # extensions raise what is no Exception
            state.status, state.error = failure(error)
            if state.status is Status.OUT_OF_MEMORY and self.task.device != "cpu":
                torch.cuda.empty_cache()  # others share the device
        state.seconds += perf_counter() - started

    def _seed(self, repeat: int) -> None:
        """Make the process-wide generators, which a proxy may use, start from the same seed for all candidates."""
        seed = input_seed(self.task.score_seed, repeat)
        torch.default_generator.manual_seed(seed)  # without the visit to every kind of device of torch.manual_seed
        if self.task.device != "cpu":
            torch.cuda.manual_seed(seed)
        np.random.seed(seed % 2**32)  # noqa: NPY002
        random.seed(seed)

    def _probe(
        self, architecture: Architecture, repeat: int, proxy: Proxy, max_batch: int | None = None
    ) -> _TimedProbe:
        dtype = DTYPES[proxy.dtype]
        if proxy.width_divisor != 1:
            if self.task.growth is None:
                raise NotApplicableError("needs a space that says which field is the width")
            architecture = self.task.growth.narrowed(architecture, proxy.width_divisor)
        images, labels = self._input(repeat, dtype)

        def network() -> nn.Module:
            networks = self._networks[proxy.width_divisor]
            return networks.network(architecture, repeat, dtype, shared_draws=proxy.shared_draws, init=proxy.init)

        return _TimedProbe(
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


class _TimedProbe(Probe):
    """A probe that knows how long its network took to build."""

    build_seconds = 0.0

    @property
    def model(self) -> nn.Module:
        if isinstance(self._model, nn.Module):
            return self._model
        started = perf_counter()
        model = super().model
        self.build_seconds = perf_counter() - started
        return model


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
