"""Architectures to outcomes: what a pool is, and the one that carries its task out in this process.

A pool may batch, reorder and retry as it likes; what it returns for an architecture does not depend on it.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from time import monotonic
from typing import NamedTuple, Protocol

from raynas.errors import PoolError
from raynas.scoring import device_types
from raynas.scoring.task import DeviceLostError, Task, is_timed
from raynas.space.architecture import Architecture
from raynas.space.results import MIXED_DEVICES, Outcome
from raynas.wording import duration


class Job(NamedTuple):
    """One architecture to evaluate."""

    architecture: Architecture
    wanted: tuple[int, ...]  # numbers of the task's groups of outputs
    num_outputs: int  # of those groups together


class Result(NamedTuple):
    """What became of a job: one outcome per output of the wanted groups, in their order, None for what is needless."""

    job: Job
    outcomes: Sequence[Outcome | None]


class Waiting(NamedTuple):
    """Workers that are to be there and are not."""

    workers: int
    of: int  # that are to be there
    seconds: float  # since the first of them was asked for, or lost
    why: str  # a line that was said last; empty at first

    @property
    def in_words(self) -> str:
        """How long it has waited, and for what."""
        return f"waiting {duration(self.seconds)} for {self.workers} of {self.of} workers"


class NodeUse(NamedTuple):
    """What a pool has on one node."""

    node: str
    host: str  # its name for people
    device_type: str
    workers: int  # that are ready; 0 where it has left, or is not used any more
    busy: int  # of those
    evaluated: int  # items, since the pool was made


WORKER_WORK = {
    "scoring": "what is carried out: of scores, building networks and passes through them",
    "transfers": "nothing to do, as candidates or results were on their way, through Ray's own hands too",
    "waiting": "nothing to do, as nothing was sent",
    "starting": "not ready, at first or after a loss; the input batches travel then",
    "lost": "from what a worker computed last to when it was seen to be lost",
}
"""What the parts of a worker's time stand for, in summary.json's `worker_seconds` too."""


class WorkerTime:
    """Where the time of one worker went, in seconds that add up to the time since it was asked for.

    Spans are by the driver's clock, and what a chunk took to score is a difference by the worker's: so the clocks of
    two machines are never compared. A worker waits while it has no chunk; of the time in which it has any, what it does
    not score is transfers. So a chunk that queues behind another is in no transfer, and neither is one that travels
    while another is scored, as nothing stands still for it.
    """

    def __init__(self, clock: Callable[[], float] = monotonic) -> None:
        self._clock = clock
        self._seconds = dict.fromkeys(WORKER_WORK, 0.0)
        self._until = clock()

    def begin(self, at: float) -> None:
        """Count from a time on, before which there was nothing that could have done anything."""
        self._until = at

    def book(self, part: str, until: float) -> None:
        """Put what is not booked yet down to a part, up to this time of the driver; nothing if that is booked."""
        if until > self._until:
            self._seconds[part] += until - self._until
            self._until = until

    def book_chunk(self, sent: float, arrived: float, scoring: float) -> None:
        """A chunk came back; chunks of a worker come back in the order of sending.

        Args:
            sent: The time at which the chunk was sent, by the driver's clock.
            arrived: The time at which its outcomes reached the driver, which need not have looked at them then.
            scoring: Seconds that the chunk took to score, by the worker's clock.
        """
        self.book("waiting", sent)
        self.book("transfers", arrived)
        self._seconds["transfers"] -= scoring
        self._seconds["scoring"] += scoring

    def seconds(self, now_in: str | None) -> dict[str, float]:
        """Seconds of each part of `WORKER_WORK`; what is not booked yet counts as one of them.

        Args:
            now_in: The part that counts it; None: it is left out, as for a worker that has ended.
        """
        if now_in is None:
            return dict(self._seconds)
        return self._seconds | {now_in: self._seconds[now_in] + self._clock() - self._until}


class EvaluatorPool(Protocol):
    """Evaluates jobs in any order; each comes back once."""

    def submit(self, job: Job) -> None:
        """Queue a job."""
        ...

    def poll(self, timeout_s: float) -> list[Result]:
        """Finished jobs, after waiting for at least one at most this long."""
        ...

    def device_type(self, is_stopped: Callable[[], bool]) -> str | None:
        """What evaluations are computed on, after waiting for a worker if that decides it.

        Args:
            is_stopped: Says that nobody wants to know any more; None is returned then.
        """
        ...

    def worker_seconds(self) -> dict[str, float]:
        """What the time of all workers went to since the pool was made, by the names of `WORKER_WORK`."""
        ...

    def waiting(self) -> Waiting | None:
        """What workers are awaited; None while all are there that are to be there."""
        ...

    def nodes(self) -> Sequence[NodeUse]:
        """What the workers of each node do, and what was evaluated there, in the order in which nodes were used."""
        ...

    def close(self) -> None:
        """End what the pool has started."""
        ...


class SerialPool:
    """Evaluates one job at each poll, in this process: nothing protects it from a crash, and it has no time limit.

    Args:
        task: What is carried out.
        device_type: What it is to be computed on, see `raynas.scoring.dispatcher.Dispatcher`.

    Raises:
        PoolError: This process computes on something else.
    """

    def __init__(self, task: Task, *, device_type: str | None = None) -> None:
        import torch

        from raynas.models.process_state import kept_process_state, ordinary_settings  # torch is behind it

        here = device_types.device_type(task.device, is_timed=is_timed(task))
        if device_type not in (None, here, MIXED_DEVICES):
            raise PoolError(f"this process computes on {here}, and the run on {device_type}")
        self._device_type = device_type or here
        self._ordinary_settings = ordinary_settings
        self._queue: deque[Job] = deque()
        with ExitStack() as kept:
            kept.enter_context(kept_process_state())
            torch.set_num_threads(task.threads)
            self._evaluator = task.evaluator()
            self._kept = kept.pop_all()
        self._time = WorkerTime()

    def submit(self, job: Job) -> None:
        """Queue a job."""
        self._queue.append(job)

    def poll(self, timeout_s: float) -> list[Result]:
        """Evaluate the next job, however long it takes."""
        if not self._queue:
            return []
        job = self._queue.popleft()
        self._time.book("waiting", monotonic())
        try:
            with self._ordinary_settings():
                return [Result(job, self._evaluator(job.architecture, job.wanted))]
        except DeviceLostError as error:
            raise PoolError(f"this process cannot compute any more ({error}); resume in a new one") from error
        finally:
            self._time.book("scoring", monotonic())

    def device_type(self, is_stopped: Callable[[], bool] = lambda: False) -> str | None:
        """What evaluations are computed on."""
        return self._device_type

    def worker_seconds(self) -> dict[str, float]:
        """Where the time of this process went, in seconds: scoring, or waiting for what else it does in a run."""
        return self._time.seconds("waiting")

    def waiting(self) -> Waiting | None:
        """Nothing is awaited."""
        return None

    def nodes(self) -> list[NodeUse]:
        """There are none."""
        return []

    def close(self) -> None:
        """Give the process its threads and its random generators back."""
        self._kept.close()
