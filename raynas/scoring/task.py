"""What workers carry out: a task turns architectures into values, and says all that a pool must know of it.

Scoring untrained networks is one, `raynas.scoring.evaluator.EvaluationTask`. A pool, a search, its resumption and its
report know nothing else of a task than what stands here; a task is shipped to each worker once, by pickle, and so
holds values only.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, Protocol, runtime_checkable

from raynas.space.architecture import Architecture
from raynas.space.results import Outcome


class DeviceLostError(Exception):
    """The device is in a state in which nothing more can be computed in this process."""


class Output(NamedTuple):
    """A value that a task gives for each architecture."""

    name: str
    higher_is_better: bool


class TaskEvaluator(Protocol):
    """Carries a task out in one process; it may keep what its evaluations share, and no other state.

    Pools call it within the settings of torch that a fresh process has, and with the task's number of threads.

    So what it gives for an architecture depends on neither those before it nor the process.
    """

    def __call__(self, architecture: Architecture, wanted: Sequence[int]) -> Sequence[Outcome | None]:
        """Evaluate one architecture.

        Args:
            architecture: What to evaluate.
            wanted: Numbers of the task's groups of outputs, in ascending order.

        Returns:
            One outcome per output of each wanted group, in their order; None for what need not be computed, since a
            bound is violated that the task knows. A failure is an outcome with its status and error, never an
            exception; `raynas.scoring.failures.failure` turns one into these.

        Raises:
            DeviceLostError: A device error after which this process is of no use.
        """
        ...


@runtime_checkable
class IsTimed(Protocol):
    """A task some of whose values may be taken by the clock."""

    @property
    def measures(self) -> bool:
        """Whether some are, so that they depend on the processor, and a process has to be alone on its device."""
        ...


@runtime_checkable
class MayLackTorch(Protocol):
    """A task that says whether its processes have to import torch, which takes seconds and most of their memory."""

    @property
    def uses_torch(self) -> bool:
        """Whether evaluations use it; where they do not, its threads and settings are nobody's business."""
        ...


def uses_torch(task: Task) -> bool:
    """Whether evaluations of a task use torch; so it is unless the task says otherwise."""
    return not isinstance(task, MayLackTorch) or task.uses_torch


def is_timed(task: Task) -> bool:
    """Whether some values of a task are taken by the clock."""
    return isinstance(task, IsTimed) and task.measures


class Task(Protocol):
    """What workers carry out, as a value; the attributes are read-only."""

    @property
    def outputs(self) -> Sequence[Sequence[Output]]:
        """Names and directions of what is computed, in groups of which each is computed as a whole.

        A `raynas.scoring.pool.Job` wants groups by their numbers, since a run may know some values already.
        """
        ...

    @property
    def threads(self) -> int:
        """How many threads torch computes one evaluation with, which both pools set: results depend on it."""
        ...

    @property
    def device(self) -> str:
        """Where evaluations are computed: "cpu" or "cuda"."""
        ...

    @property
    def own_code(self) -> Sequence[Callable[..., Any]]:
        """Functions and classes that may be the user's own, whose modules workers may lack: they travel by value."""
        ...

    def evaluator(self) -> TaskEvaluator:
        """Make what carries it out; called once in each process that evaluates, when its threads are set."""
        ...
