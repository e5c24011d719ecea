"""The workers of a pool: who is asked for, who is used, who ends, and where their time went."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterator

from raynas.errors import PoolError
from raynas.scoring.admission import WorkerAdmission
from raynas.scoring.door import Door, Outgrown, Ready, Unfit
from raynas.scoring.node_watch import NodeWatch
from raynas.scoring.pool import WORKER_WORK, NodeUse, Waiting, WorkerTime
from raynas.scoring.sizing import PoolSizing
from raynas.scoring.states import Chunk, PoolWorker, WorkerState
from raynas.wording import duration

_SAID_AFTER_S = 10.0
_SAID_EVERY_S = 30.0


class Workforce:
    """Has as many workers as there are to be, none of them on a node that is of no use.

    Args:
        door: The door to the processes that evaluate.
        give_back: Called with each chunk that a worker had when it ends, the last one first.
        device_type: What evaluations are to be computed on, see `raynas.scoring.dispatcher.Dispatcher`.
        log: Called with lines for people.
        clock: Seconds that only grow.

    Attributes:
        sizing: How many there are to be.
        admission: What they compute on.
    """

    def __init__(
        self,
        door: Door,
        give_back: Callable[[Chunk], None],
        device_type: str | None,
        log: Callable[[str], None],
        clock: Callable[[], float],
    ) -> None:
        self.sizing = PoolSizing()
        self.admission = WorkerAdmission(device_type, log)
        self._door = door
        self._give_back = give_back
        self._log = log
        self._clock = clock
        self._workers: dict[int, PoolWorker] = {}
        self._nodes = NodeWatch()
        self._used: dict[str, tuple[str, str]] = {}  # host and device type of each node, by its id
        self._evaluated = Counter[str]()  # items, by node
        self._missing_since: float | None = None
        self._said_at, self._why_waiting = -math.inf, ""
        self._seconds_of_ended = dict.fromkeys(WORKER_WORK, 0.0)

    def __iter__(self) -> Iterator[PoolWorker]:
        """All that have not ended, in the order of joining."""
        return iter(list(self._workers.values()))

    def __len__(self) -> int:
        return len(self._workers)

    def get(self, number: int) -> PoolWorker | None:
        """A worker by its number; None if it has ended."""
        return self._workers.get(number)

    def ready(self) -> list[PoolWorker]:
        """Those that can be given chunks."""
        return [worker for worker in self._workers.values() if worker.is_ready]

    def waiting(self) -> Waiting | None:
        """What is awaited; None while there are as many as there are to be all the time."""
        missing, now = self.sizing.least - len(self.ready()), self._clock()
        if missing <= 0:
            self._missing_since, self._why_waiting = None, ""
            return None
        if self._missing_since is None:
            self._missing_since = now
        return Waiting(missing, self.sizing.least, now - self._missing_since, self._why_waiting)

    def say_why_waiting(self) -> None:
        """Say now and then what is awaited."""
        waiting, now = self.waiting(), self._clock()
        if waiting is None or waiting.seconds <= _SAID_AFTER_S or now - self._said_at < _SAID_EVERY_S:
            return
        self._said_at = now
        self._why_waiting = self._door.why_waiting(waiting.workers, waiting.of)
        self._log(f"{self._why_waiting}; {duration(waiting.seconds)} so far")

    def lost_on(self, node: str) -> list[PoolWorker]:
        """Those that were lost on a node, with something for whose loss nobody is blamed yet."""
        return [one for one in self._workers.values() if one.state is WorkerState.LOST and one.node == node]

    def join(self) -> None:
        """Ask for one more, which is to be there all the time."""
        self.sizing.least += 1
        self._ask_for_one()

    def leave(self, number: int) -> None:
        """End one that is to be there no more."""
        self.sizing.least = max(0, self.sizing.least - 1)
        self.end(self._workers[number])

    def _ask_for_one(self) -> None:
        number = self._door.join(self._nodes.avoided)
        self._workers[number] = PoolWorker(number, WorkerTime(self._clock), self._clock())
        self._door.start(number)

    def fit(self, unfinished: int) -> None:
        """Have as many as there are to be.

        Args:
            unfinished: Items that have not come back.

        Raises:
            ClusterLostError: The cluster is gone.
        """
        if not self._door.is_there():
            return
        for _ in range(self.sizing.wanted(unfinished) - len(self._workers)):
            self._ask_for_one()
        if self.sizing.is_elastic:
            for worker in self.sizing.surplus(list(self), unfinished, self._clock()):
                self.end(worker)

    def end(self, worker: PoolWorker) -> None:
        """End one for good; what it was given is given back, and counts against nobody."""
        for chunk in reversed([*([] if worker.lost is None else [worker.lost]), *worker.chunks.values()]):
            self._give_back(chunk)
        for part, seconds in self._seconds_of(worker).items():
            self._seconds_of_ended[part] += seconds
        worker.lost, worker.chunks = None, {}
        worker.become(WorkerState.ENDED)
        del self._workers[worker.id]
        self._door.leave(worker.id)

    def admit(self, worker: PoolWorker, found: Ready | Unfit) -> None:
        """A worker's process has started: it is ready, or ended if its values would not be those of the others.

        Raises:
            PoolError: There is none that can be used.
        """
        if reason := self.admission.reason_against(found):
            self._nodes.avoided.add(found.node)
            room = self._door.room(self._nodes.avoided)
            if len(self._workers) > room:
                self.sizing.least = max(0, self.sizing.least - 1)  # there is no other place for it
            self.end(worker)
            if not room and not self.ready():
                raise PoolError(f"no worker can be used: on {found.host}, {reason}")
            self.admission.say(found, reason)
            return
        assert isinstance(found, Ready)
        if worker.node is None and self.sizing.is_elastic:
            worker.time.begin(self._clock() - found.seconds)
        worker.time.book("starting", self._clock())
        worker.node, worker.host, worker.pid = found.node, found.host, found.pid
        worker.device_type = found.device_type
        if self._evaluated and found.node not in self._used:  # the run has begun without it
            self._log(f"node {found.node[:8]} ({found.host}) has joined, and is used")
        self._used[found.node] = found.host, found.device_type
        worker.become(WorkerState.BUSY if worker.chunks else WorkerState.IDLE)

    def computed(self, worker: PoolWorker, items: int) -> None:
        """A worker has computed a chunk of some items."""
        assert worker.node is not None
        self._nodes.computed(worker.node)
        self._evaluated[worker.node] += items

    def nodes(self) -> list[NodeUse]:
        """What the workers of each node do, and what was evaluated there, in the order in which nodes were used."""
        ready = [worker for worker in self._workers.values() if worker.is_ready]
        workers = Counter(worker.node for worker in ready)
        busy = Counter(worker.node for worker in ready if worker.state is WorkerState.BUSY)
        return [
            NodeUse(node, host, device_type, workers[node], busy[node], self._evaluated[node])
            for node, (host, device_type) in self._used.items()
        ]

    def is_lost_with_node(self, worker: PoolWorker) -> bool:
        """A worker is lost, by no doing of the pool: whether it has ended, as its node has lost too many.

        A node that is gone is to blame for nothing more; Ray starts its workers again elsewhere. A process that is not
        ready may be on any node, or wait for one, of which Ray says again and again that it is unavailable.
        """
        node = worker.node
        if node is None or not worker.is_ready or not self._door.is_alive(node) or not self._nodes.is_broken(node):
            return False
        self._nodes.avoided.add(node)
        self._log(
            f"node {node[:8]} ({worker.host}) is not used any more: it loses one worker after the other, and other "
            "nodes do not; what it had is scored elsewhere"
        )
        for other in self:
            if other.node == node:
                self.end(other)
        return True

    def is_node_gone(self, worker: PoolWorker) -> bool:
        """Whether the node of a worker is no part of the cluster any more."""
        return worker.node is not None and not self._door.is_alive(worker.node)

    def say_lost(self, worker: PoolWorker, outgrown: Outgrown | None = None, then: str = "") -> None:
        """Say which worker is lost, or that its node is.

        Args:
            worker: The worker.
            outgrown: Why it has ended itself, if it has left word.
            then: What becomes of what it had, where it is lost alone.
        """
        if self.is_node_gone(worker):
            node = (worker.node or "")[:8]
            self._log(f"node {node} ({worker.host}) is lost; what its workers had is scored elsewhere")
        else:
            why = f": it took {outgrown.in_words}" if outgrown else ""
            self._log(f"worker process {worker.pid} is lost{why}; {then}")

    def seconds(self) -> dict[str, float]:
        """Where the time of all went, in seconds, with those that have ended."""
        total = dict(self._seconds_of_ended)
        for worker in self._workers.values():
            for part, seconds in self._seconds_of(worker).items():
                total[part] += seconds
        return total

    def _seconds_of(self, worker: PoolWorker) -> dict[str, float]:
        # Of those that come and go with the work, one that waits for a node is not there yet.
        is_there = worker.node is not None or not self.sizing.is_elastic
        return worker.time.seconds(worker.works_in() if is_there else None)
