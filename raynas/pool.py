"""Architectures to outcomes: what a pool is, and the one that scores in this process.

A pool may batch, reorder and retry as it likes; what it returns for an architecture does not depend on it.
"""

from __future__ import annotations

import random
from collections import deque
from typing import TYPE_CHECKING, NamedTuple, Protocol

import numpy as np

from raynas.errors import PoolError
from raynas.space import Architecture
from raynas.store import Outcome

if TYPE_CHECKING:
    from raynas.evaluator import EvaluationTask


class Job(NamedTuple):
    """One architecture to score."""

    architecture: Architecture
    wanted: tuple[int, ...]  # numbers of the proxies
    num_outputs: int  # of those proxies together


class Result(NamedTuple):
    """What became of a job: one outcome per output of its proxies, in their order."""

    job: Job
    outcomes: list[Outcome]


class EvaluatorPool(Protocol):
    """Scores jobs in any order; each comes back once."""

    def submit(self, job: Job) -> None:
        """Queue a job."""
        ...

    def poll(self, timeout_s: float) -> list[Result]:
        """Finished jobs, after waiting for at least one at most this long."""
        ...

    def close(self) -> None:
        """End what the pool has started."""
        ...


class SerialPool:
    """Scores one job at each poll, in this process: nothing protects it from a crash, and it has no time limit."""

    def __init__(self, task: EvaluationTask) -> None:
        import torch

        from raynas.evaluator import Evaluator

        self._queue: deque[Job] = deque()
        self._threads_before = torch.get_num_threads()
        self._generators_before = torch.get_rng_state(), np.random.get_state(), random.getstate()  # noqa: NPY002
        torch.set_num_threads(task.threads)
        self._evaluator = Evaluator(task)

    def submit(self, job: Job) -> None:
        """Queue a job."""
        self._queue.append(job)

    def poll(self, timeout_s: float) -> list[Result]:
        """Score the next job, however long it takes."""
        if not self._queue:
            return []
        from raynas.evaluator import DeviceLostError

        job = self._queue.popleft()
        try:
            return [Result(job, self._evaluator(job.architecture, job.wanted))]
        except DeviceLostError as error:
            raise PoolError(f"this process cannot compute any more ({error}); resume in a new one") from error

    def close(self) -> None:
        """Give the process its threads and its random generators back."""
        import torch

        torch.set_num_threads(self._threads_before)
        of_torch, of_numpy, of_python = self._generators_before
        torch.set_rng_state(of_torch)
        np.random.set_state(of_numpy)  # noqa: NPY002
        random.setstate(of_python)
