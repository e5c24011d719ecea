"""A pool of Ray actors."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from time import monotonic

from raynas.cluster.metrics import PoolMetrics
from raynas.cluster.options import PoolSize
from raynas.cluster.resources import memory_share
from raynas.scoring.dispatcher import Dispatcher
from raynas.scoring.pool import Result
from raynas.scoring.ray_door import RayDoor
from raynas.scoring.states import ItemState, WorkerState
from raynas.scoring.task import Task
from raynas.space.results import Status

_SHOWN_EVERY_S = 2.0


class RayPool(Dispatcher):
    """A dispatcher whose workers are Ray actors, which Ray restarts where they are lost, elsewhere if their node is.

    Args:
        task: What actors carry out.
        size: How many actors: the same number all the time, or as many as there is work for.
        gpus_per_worker: Share of a GPU for each; 0 computes on the CPU.
        window: Candidates in flight, which bounds chunks to window / (2 * workers).
        time_limit_s: Seconds that one evaluation may take.
        memory_limit_bytes: Resident memory at which a worker ends itself, which counts as a loss; None: an equal share
            of nine tenths of what the smallest node offers.
        device_type: What evaluations are to be computed on, see `Dispatcher`.
        run: The name of the run, which its metrics bear.
        log: Called with lines for people: why it waits, which worker was lost, which node is not used.
    """

    def __init__(
        self,
        task: Task,
        *,
        size: PoolSize,
        gpus_per_worker: float = 0.0,
        window: int = 64,
        time_limit_s: float = 600.0,
        memory_limit_bytes: float | None = None,
        device_type: str | None = None,
        run: str = "",
        log: Callable[[str], None] = lambda line: None,
    ) -> None:
        most = size.least if size.most is None else size.most
        if memory_limit_bytes is None:
            memory_limit_bytes = memory_share(most, {"CPU": float(task.threads), "GPU": gpus_per_worker})
        door = RayDoor(task, gpus_per_worker=gpus_per_worker, memory_limit_bytes=memory_limit_bytes, log=log)
        super().__init__(door, window=window, time_limit_s=time_limit_s, device_type=device_type, log=log)
        for _ in range(size.least):
            self.join()
        if not size.is_fixed:
            self.follow_work(most)
        self._metrics = PoolMetrics(run)
        self._shown = monotonic()

    def poll(self, timeout_s: float) -> list[Result]:
        """Finished jobs, after waiting for at least one at most this long; what came of them is counted."""
        results = super().poll(timeout_s)
        if results:
            self._metrics.count(Counter(_status(result) for result in results))
        if monotonic() - self._shown > _SHOWN_EVERY_S:
            self._shown = monotonic()
            in_state = Counter(worker.state for worker in self.workers)
            items = self.items()
            self._metrics.show(
                {state: in_state[state] for state in WorkerState if state is not WorkerState.ENDED},
                {state: items[state] for state in ItemState if state is not ItemState.DONE},
            )
        return results

    def took(self, seconds: float) -> None:
        """A chunk came back, which its worker took this long for."""
        self._metrics.chunk(seconds)


def _status(result: Result) -> str:
    """The status of an evaluation: that of its first output that has no value, if there is one."""
    statuses = [outcome.status for outcome in result.outcomes if outcome is not None]
    return str(next((status for status in statuses if status != Status.OK), Status.OK))
