"""A pool of Ray actors."""

from __future__ import annotations

from collections.abc import Callable

from raynas.cluster.options import PoolSize
from raynas.cluster.resources import memory_share
from raynas.scoring.dispatcher import Dispatcher
from raynas.scoring.ray_door import RayDoor
from raynas.scoring.task import Task


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
