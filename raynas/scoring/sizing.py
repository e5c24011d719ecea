"""How many workers a pool has: what it needs at least, and beyond that as many as there is work for."""

from __future__ import annotations

from collections.abc import Sequence

from raynas.scoring.states import PoolWorker, WorkerState

_SURPLUS_S = 10.0  # that workers may be too many; far less than an autoscaler waits before it takes a node away


class PoolSizing:
    """Decides how many workers there are to be, and which are to end when there are too many.

    Workers that wait for a node are what an autoscaler gets to see; those that have one keep it from taking that node
    away, also when they have nothing to do. So there are never more than there are unfinished items.

    Attributes:
        least: Workers that there are to be all the time.
        most: Workers that there may be while each of them has something to do.
    """

    def __init__(self) -> None:
        self.least = 0
        self.most = 0
        self._too_many_since: float | None = None

    @property
    def is_elastic(self) -> bool:
        """Whether the number of workers follows the work."""
        return self.most > self.least

    def wanted(self, unfinished: int) -> int:
        """How many workers there are to be.

        Args:
            unfinished: Items that have not come back.
        """
        return max(self.least, min(self.most, unfinished))

    def surplus(self, workers: Sequence[PoolWorker], unfinished: int, now: float) -> list[PoolWorker]:
        """Workers that are to end, those that do not even have a process first; none that has something to do.

        Args:
            workers: All workers, in the order of joining.
            unfinished: Items that have not come back.
            now: The time, in seconds.
        """
        too_many = len(workers) - self.wanted(unfinished)
        if too_many <= 0:
            self._too_many_since = None
            return []
        if self._too_many_since is None:
            self._too_many_since = now
        if now - self._too_many_since < _SURPLUS_S:
            return []  # a searcher that waits for results asks for more in a moment
        order = (WorkerState.STARTING, WorkerState.RESTARTING, WorkerState.IDLE)
        may_end = [worker for state in order for worker in reversed(workers) if worker.state is state]
        return may_end[:too_many]
