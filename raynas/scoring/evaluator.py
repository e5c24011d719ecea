"""One architecture to its scores, in this process."""

from __future__ import annotations

import math
import random
import traceback
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial
from time import perf_counter

import numpy as np
import torch
from torch import nn

from raynas.errors import NotApplicableError
from raynas.models.networks import Networks
from raynas.models.teachers import FrozenTeacher
from raynas.proxies.probe import DTYPES, Probe, Proxy
from raynas.scoring.task import EvaluationTask
from raynas.seeds import input_seed
from raynas.space.architecture import Architecture
from raynas.space.results import Outcome, Status

_Kind = tuple[str, bool, int, str]
"""What proxies that share a network have in common: dtype, shared draws, width divisor, init scheme."""


class DeviceLostError(Exception):
    """The device is in a state in which nothing more can be computed in this process."""


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
                        if not is_out_of_memory(error) or not halved:
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
            if is_device_lost(error):
                raise DeviceLostError(str(error)) from error
            state.status = Status.OUT_OF_MEMORY if is_out_of_memory(error) else Status.FAILED
            state.error = _error_text(error)
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


def is_out_of_memory(error: BaseException) -> bool:
    """The device or the host had no memory for an allocation; the process itself is sound."""
    texts = ("can't allocate memory", "CUBLAS_STATUS_ALLOC_FAILED")
    return isinstance(error, MemoryError | torch.OutOfMemoryError) or any(text in str(error) for text in texts)


def is_device_lost(error: BaseException) -> bool:
    """A CUDA error other than lack of memory: later calls in this process would fail too."""
    if is_out_of_memory(error):
        return False
    return isinstance(error, torch.AcceleratorError) or "CUDA error" in str(error)


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


def _error_text(error: BaseException) -> str:
    """The error and where it rose, on one line."""
    frames = traceback.extract_tb(error.__traceback__)
    where = f" ({frames[-1].filename.rpartition('/')[2]}:{frames[-1].lineno})" if frames else ""
    return f"{type(error).__name__}: {error}{where}"
