"""Scoring sub-networks of a supernet by inherited weights: the task, and what carries it out in one process.

A sub-network is the plain model of its architecture with the first parts of the supernet's tensors, evaluated on images
that the supernet was not trained on. B images of a batch.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from time import perf_counter
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from raynas.models.classified import evaluated_classes
from raynas.models.elastic.supernet import Supernet
from raynas.models.normalisation import IMAGENET_MEAN, IMAGENET_STD
from raynas.scoring.counting import CostCounter
from raynas.scoring.failures import failure, is_out_of_memory
from raynas.scoring.task import Output
from raynas.space.architecture import Architecture
from raynas.space.build import builder, built
from raynas.space.results import Constraint, Outcome, Status
from raynas.space.search_space import SearchSpace

ACCURACY = (Output("top1", True), Output("loss", False))
"""The first group of outputs: the share of the images that are classified rightly, and the mean cross-entropy."""

BATCH_SIZE = 128
"""Images of a pass; in a score's key, since last digits may depend on it."""


@dataclass(frozen=True)
class InheritedTask:
    """Evaluating sub-networks: a `raynas.scoring.task.Task` with one group of outputs, `ACCURACY`.

    Costs without closed forms are one more group. They are counted first, and where one violates a bound, or is bounded
    and cannot be counted, nothing is evaluated. Arrays are shared by the processes of a node, and never written to.

    Args:
        space: The space of the supernet.
        largest: The architecture of its network.
        settings: Keywords with which the network is built, img_size and num_classes among them.
        weights: The network's parameters and buffers by name.
        images: Pixels (N, 3, img_size, img_size), uint8, of the images to evaluate on.
        labels: Class numbers of the images (N,), int64.
        precision: "float32", "bfloat16", "float16", or "auto": bfloat16 on a GPU, else float32.
        counted: Names of the costs that are counted on the model.
        constraints: The run's bounds, of which those on the counted costs matter.
        device: "cpu" or "cuda".
        threads: How many threads torch computes one evaluation with.
    """

    space: SearchSpace
    largest: Architecture
    settings: Mapping[str, Any]
    weights: Mapping[str, np.ndarray]
    images: np.ndarray
    labels: np.ndarray
    precision: str = "float32"
    counted: tuple[str, ...] = ()
    constraints: tuple[Constraint, ...] = ()
    device: str = "cpu"
    threads: int = 1

    @property
    def outputs(self) -> tuple[tuple[Output, ...], ...]:
        """`ACCURACY`, then the counted costs, if there are any."""
        return (ACCURACY, *([tuple(Output(name, False) for name in self.counted)] if self.counted else []))

    @property
    def own_code(self) -> tuple[Callable[..., Any], ...]:
        """The builder of the space's models."""
        return (builder(self.space),)

    def evaluator(self) -> InheritedEvaluator:
        """An evaluator of this task."""
        return InheritedEvaluator(self)


class InheritedEvaluator:
    """Evaluates sub-networks one by one, each with a copy of its own part of the weights.

    Args:
        task: What to evaluate with.

    Raises:
        SpaceError: The supernet cannot be built.
    """

    def __init__(self, task: InheritedTask) -> None:
        self.task = task
        with torch.device("meta"):
            whole = built(builder(task.space), task.largest, **task.settings)
        whole.load_state_dict({name: _shared(array) for name, array in task.weights.items()}, assign=True)
        self._supernet = Supernet(task.space, task.largest, whole.to(task.device).eval(), task.settings)
        self._counter = CostCounter(builder(task.space), task.counted, task.constraints, task.settings)
        self._images, self._labels = _shared(task.images), _shared(task.labels)

    def __call__(self, architecture: Architecture, wanted: Sequence[int]) -> list[Outcome | None]:
        """Evaluate one architecture.

        Args:
            architecture: A member of the supernet.
            wanted: 0 for the accuracy, and 1 for the counted costs.

        Returns:
            Outcomes of what is wanted; None for what a violated bound makes needless. Failures are outcomes.

        Raises:
            DeviceLostError: A device error after which this process is of no use.
        """
        costs = self._counter.outcomes(architecture) if 1 in wanted else {}
        if 0 not in wanted:
            return [*costs.values()]
        if self._counter.is_refused(costs):
            return [*(None for _ in ACCURACY), *costs.values()]
        return [*self._accuracy(architecture), *costs.values()]

    def _accuracy(self, architecture: Architecture) -> list[Outcome]:
        """Outcomes of `ACCURACY`; the time is booked on the first."""
        started = perf_counter()
        build_seconds, error, status = 0.0, None, Status.OK
        values: dict[str, float] = {}
        try:
            with torch.inference_mode():
                member = self._supernet.extract(architecture).eval()
                build_seconds = perf_counter() - started
                values = self._means(member)
        except BaseException as failed:  # the model may be the user's own code
            status, error = failure(failed)
            if self.task.device != "cpu":
                torch.cuda.empty_cache()
        times = [(perf_counter() - started, build_seconds), (0.0, 0.0)]
        outcomes = []
        for output, (seconds, building) in zip(ACCURACY, times, strict=True):
            value = values.get(output.name)
            if value is None or math.isfinite(value):
                outcomes.append(Outcome(value, str(status), error, seconds, building))
            else:
                text = f"{output.name} is {value}"
                outcomes.append(Outcome(None, str(Status.NON_FINITE), text, seconds, building))
        return outcomes

    def _means(self, member: nn.Module) -> dict[str, float]:
        """Means over all images; on lack of memory they are computed in smaller parts."""
        batch_size = min(BATCH_SIZE, len(self._images))
        while True:
            try:
                return self._means_in_parts(member, batch_size)
            except (MemoryError, RuntimeError) as error:
                batch_size //= 2
                if not is_out_of_memory(error) or not batch_size:
                    raise
            if self.task.device != "cpu":
                torch.cuda.empty_cache()

    def _means_in_parts(self, member: nn.Module, batch_size: int) -> dict[str, float]:
        totals = {output.name: torch.zeros((), dtype=torch.float64, device=self.task.device) for output in ACCURACY}
        for images, labels in zip(
            torch.split(self._images, batch_size), torch.split(self._labels, batch_size), strict=True
        ):
            with self._mixed_precision():
                logits = member(normalized(images.to(self.task.device)))
            for name, value in evaluated_classes(logits, labels.to(self.task.device)).items():
                totals[name] += value
        return {name: float(total) / len(self._images) for name, total in totals.items()}

    def _mixed_precision(self) -> AbstractContextManager[Any]:
        is_gpu = self.task.device == "cuda"
        precision = self.task.precision
        if precision == "auto":
            precision = "bfloat16" if is_gpu else "float32"
        if precision == "float32":
            return nullcontext()
        return torch.autocast(self.task.device, dtype=getattr(torch, precision))


def normalized(pixels: Tensor) -> Tensor:
    """What networks are given for pixels, (B, 3, H, W) uint8: numbers in units of ImageNet's deviation, float32."""
    mean, std = (torch.tensor(one, device=pixels.device).view(3, 1, 1) for one in (IMAGENET_MEAN, IMAGENET_STD))
    return pixels.to(torch.float32).div(255).sub_(mean).div_(std)


def _shared(array: np.ndarray) -> Tensor:
    """A tensor over an array that is not written to, as it comes out of an object store."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "The given NumPy array is not writable")
        return torch.from_numpy(array)
