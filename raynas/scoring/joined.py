"""Several tasks as one: what workers compute of an architecture is what each of the tasks computes of it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

from torch import nn

from raynas.scoring.counting import CostCounter
from raynas.scoring.device_use import DeviceUse, WaitsForOthers
from raynas.scoring.evaluator import EvaluationTask
from raynas.scoring.inherited import InheritedTask
from raynas.scoring.task import Output, Task, TaskEvaluator, is_timed
from raynas.space.architecture import Architecture
from raynas.space.results import Constraint, Outcome


@dataclass(frozen=True)
class JoinedTask:
    """The groups of outputs of several tasks, one task after the other: a `raynas.scoring.task.Task`.

    Costs without closed forms are one more group, the last; the tasks themselves count none. They are counted first,
    and where one violates a bound, or is bounded and cannot be counted, nothing else is computed.

    Args:
        tasks: The tasks, at least one, which have device and number of threads in common.
        builder: Makes a model of the space, for costs: (architecture, *, img_size, num_classes) -> nn.Module.
        size: Keywords of the builder, img_size and num_classes.
        counted: Names of the costs that are counted on the model.
        constraints: The run's bounds, of which those on the counted costs matter.
    """

    tasks: tuple[InheritedTask | EvaluationTask, ...]
    builder: Callable[..., nn.Module]
    size: Mapping[str, int]
    counted: tuple[str, ...] = ()
    constraints: tuple[Constraint, ...] = ()

    def __post_init__(self) -> None:
        assert len({(task.device, task.threads) for task in self.tasks}) == 1, "they are computed in one process"
        assert not any(task.counted for task in self.tasks), "costs are counted once"

    @property
    def outputs(self) -> tuple[tuple[Output, ...], ...]:
        """The groups of the tasks, then the counted costs, if there are any."""
        groups = [group for task in self.tasks for group in task.outputs]
        return (*groups, *([tuple(Output(name, False) for name in self.counted)] if self.counted else []))

    @property
    def measures(self) -> bool:
        """Whether one of them measures by the clock."""
        return any(map(is_timed, self.tasks))

    @property
    def threads(self) -> int:
        """How many threads torch computes each of the tasks with."""
        return self.tasks[0].threads

    @property
    def device(self) -> str:
        """Where all tasks are computed: "cpu" or "cuda"."""
        return self.tasks[0].device

    @property
    def own_code(self) -> tuple[Callable[..., Any], ...]:
        """What the tasks say of theirs."""
        return tuple(function for task in self.tasks for function in task.own_code)

    def evaluator(self) -> JoinedEvaluator:
        """An evaluator of this task."""
        return JoinedEvaluator(self)


class JoinedEvaluator:
    """Evaluates an architecture by one task after the other.

    Args:
        task: The joined task.
    """

    def __init__(self, task: JoinedTask) -> None:
        self._counter = CostCounter(task.builder, task.counted, task.constraints, task.size)
        self._parts: list[tuple[TaskEvaluator, Task]] = [(part.evaluator(), part) for part in task.tasks]
        self._alone = list(map(is_timed, task.tasks))  # by themselves
        self._use = DeviceUse(task.device) if task.measures else None

    def __call__(self, architecture: Architecture, wanted: Sequence[int]) -> list[Outcome | None]:
        """Evaluate one architecture.

        Args:
            architecture: What to evaluate.
            wanted: Numbers of the tasks' groups, counted through, and the next number for the counted costs.

        Returns:
            Outcomes of what is wanted; None for what a violated bound makes needless. Failures are outcomes.

        Raises:
            DeviceLostError: A device error after which this process is of no use.
        """
        found: list[Outcome | None] = []
        number = sum(len(task.outputs) for _, task in self._parts)
        costs = self._counter.outcomes(architecture) if number in wanted else {}
        is_refused = self._counter.is_refused(costs)
        first = 0
        for (evaluate, task), is_alone in zip(self._parts, self._alone, strict=True):
            groups = [number - first for number in wanted if first <= number < first + len(task.outputs)]
            first += len(task.outputs)
            if is_refused:
                found += [None for group in groups for _ in task.outputs[group]]
            elif groups:
                with ExitStack() as use:
                    if self._use is not None and not is_alone:
                        use.enter_context(self._use.shared())
                    found += evaluate(architecture, groups)
        return [*found, *costs.values()]

    def waited_s(self) -> float:
        """Seconds spent on waiting for other processes; a `raynas.scoring.device_use.WaitsForOthers`."""
        uses = [self._use, *(evaluate for evaluate, _ in self._parts)]
        return sum(use.waited_s() for use in uses if isinstance(use, WaitsForOthers))
