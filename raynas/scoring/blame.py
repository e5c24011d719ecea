"""Who is to blame for a worker that was lost, or for an item that takes too long; and what follows for the item."""

from __future__ import annotations

from collections.abc import Callable

from raynas.scoring.backlog import Backlog
from raynas.scoring.door import Outgrown
from raynas.scoring.pool import Result
from raynas.scoring.states import Chunk, ItemState, PoolWorker, WorkerState
from raynas.scoring.workforce import Workforce
from raynas.space.results import Outcome, Status

_MAX_LOST_ALONE = 3
_MAX_LATE = 2


class Blame:
    """Settles what is held against items, and keeps those that have failed.

    Args:
        backlog: Where items that are to be scored again go.
        workers: The workers.
        time_limit_s: Seconds that one evaluation may take.
        log: Called with lines for people.
    """

    def __init__(self, backlog: Backlog, workers: Workforce, time_limit_s: float, log: Callable[[str], None]) -> None:
        self._backlog = backlog
        self._workers = workers
        self._time_limit_s = time_limit_s
        self._log = log
        self._failed: list[Result] = []

    def failed(self) -> list[Result]:
        """What has failed since it was asked last."""
        failed, self._failed = self._failed, []
        return failed

    def settle(self, worker: PoolWorker, outgrown: Outgrown | None = None) -> None:
        """Decide who is to blame for the loss of a worker.

        Args:
            worker: The worker, which is back, or is not waited for any more.
            outgrown: Why it has ended itself, if it has left word.
        """
        chunk, worker.lost = worker.lost, None
        running, worker.running = worker.running, None
        killed_for, worker.killed_for = worker.killed_for, None
        given_away, worker.given_away = worker.given_away, ""
        if given_away:
            worker.become(WorkerState.RESTARTING)
            self._workers.say_lost(worker, outgrown, f"scored again: {given_away}")
        if chunk is None:
            return
        worker.become(WorkerState.RESTARTING)
        if killed_for is not None and killed_for != chunk.id:
            self._backlog.give_back(chunk)  # the late one ended after all, as its worker was killed
        elif killed_for is not None and running is not None and running[0] == chunk.id:
            self._blame_late(chunk, running[1])
        elif killed_for is not None and len(chunk.items) == 1:
            self._blame_late(chunk, 0)
        elif killed_for is not None:
            # One of them kept the worker from saying which. Halving would wait for the limit at each step.
            self._backlog.suspect_each(chunk)
        elif self._workers.is_node_gone(worker):
            self._workers.say_lost(worker)
            self._backlog.give_back(chunk)
        else:
            self._blame_lost(chunk, outgrown)
            now = "given up" if chunk.items[0].state is ItemState.DONE else "scored again"
            self._workers.say_lost(worker, outgrown, f"{now}: {chunk.in_words}")

    def _blame_lost(self, chunk: Chunk, outgrown: Outgrown | None) -> None:
        if len(chunk.items) > 1:
            self._backlog.suspect(chunk)
            return
        (item,) = chunk.items
        item.lost_alone += chunk.is_suspect
        if outgrown and chunk.is_suspect:
            self.fail(chunk, Status.OUT_OF_MEMORY, f"the worker process took {outgrown.in_words} with this alone")
        elif item.lost_alone == _MAX_LOST_ALONE:
            text = f"the worker process was lost {_MAX_LOST_ALONE} times with this alone"
            self.fail(chunk, Status.CRASHED, text)
        else:
            self._backlog.suspect_each(chunk)

    def _blame_late(self, chunk: Chunk, late: int) -> None:
        item = chunk.items.pop(late)
        if chunk.items:
            self._backlog.give_back(chunk)
        item.late += 1
        if item.late == _MAX_LATE:
            text = f"over the time limit of {self._time_limit_s:g} s, {_MAX_LATE} times"
            self.fail(self._backlog.chunk([item]), Status.TIMEOUT, text)
        else:
            limit = f"the time limit of {self._time_limit_s:g} s"
            self._log(f"a candidate is over {limit}; it is tried once more, alone: {item.in_words}")
            self._backlog.retry(item)

    def fail(self, chunk: Chunk, status: Status, error: str) -> None:
        """Have all items of a chunk come out as failed, with the same words."""
        chunk.become(ItemState.DONE)
        outcome = Outcome(None, str(status), error)
        self._failed += [Result(item.job, [outcome] * item.job.num_outputs) for item in chunk.items]
