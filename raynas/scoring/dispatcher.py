"""Who evaluates what, and what happens to what is lost, late or broken: a state machine that knows no Ray.

The states stand in `raynas.scoring.states`, what it has done and learns of in `raynas.scoring.door`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from time import monotonic

from raynas.scoring.backlog import Backlog
from raynas.scoring.blame import Blame
from raynas.scoring.door import Answer, Broken, Door, Event, Lost, Progress, Ready, Unfit, Unprepared
from raynas.scoring.pool import Job, NodeUse, Result, Waiting
from raynas.scoring.silence import SilenceWatch
from raynas.scoring.states import Chunk, ItemState, PoolWorker, WorkerState
from raynas.scoring.workforce import Workforce
from raynas.space.results import Status

_IN_FLIGHT = 2  # chunks per worker: one computes while the next one travels
_SILENCE_S = 10.0  # beyond the time limit, for a worker that does not answer
_BLAME_AFTER_S = 15.0  # if its process does not come back; more than it takes to notice that a node is lost


class Dispatcher:
    """A pool of workers that may be lost at any time, fed chunks that adapt to the time an item takes.

    A worker that is lost is restarted; its first chunk is bisected at once, by whoever is there, until the guilty item
    runs alone, and an item that was alone with three lost workers is `crashed`; one that was alone with a worker that
    ended itself for lack of memory is `out_of_memory`. An item over the time limit, by its worker's clock, has its
    worker killed; it runs once more alone and is then `timeout`. A lost node blames nobody.

    Args:
        door: The door to the processes that evaluate.
        window: Candidates in flight, which bounds chunks to window / (2 * workers).
        time_limit_s: Seconds that one evaluation may take.
        device_type: What evaluations are to be computed on; others are left idle. None: what the first worker has.
            `MIXED_DEVICES`: whatever there is.
        log: Called with lines for people: why it waits, which worker was lost, which node is not used.
        clock: Seconds that only grow.
    """

    def __init__(
        self,
        door: Door,
        *,
        window: int = 64,
        time_limit_s: float = 600.0,
        device_type: str | None = None,
        log: Callable[[str], None] = lambda line: None,
        clock: Callable[[], float] = monotonic,
    ) -> None:
        self._door = door
        self._backlog = Backlog(window, _IN_FLIGHT)
        self._time_limit_s = time_limit_s
        self._workers = Workforce(door, self._backlog.give_back, device_type, log, clock)
        self._log = log
        self._clock = clock
        self._num_unfinished = 0
        self._silence = SilenceWatch(door, log, clock)
        self._blame = Blame(self._backlog, self._workers, time_limit_s, log)
        self._pause_s = min(1.0, time_limit_s / 10)
        self._last_look = clock()

    # -- the pool's interface, and its workers -------------------------------------------------------------------

    @property
    def workers(self) -> Sequence[PoolWorker]:
        """All workers that have not ended, in the order of joining."""
        return list(self._workers)

    def items(self) -> Counter[ItemState]:
        """How many items are in each state; those that are done are not kept."""
        chunks = [chunk for worker in self.workers for chunk in worker.chunks.values()]
        chunks += [worker.lost for worker in self.workers if worker.lost is not None]
        held = [item for chunk in chunks for item in chunk.items]
        return Counter(item.state for item in (*self._backlog, *held))

    def join(self) -> None:
        """Ask for one more worker, which is to be there all the time."""
        self._workers.join()

    def follow_work(self, most: int) -> None:
        """Ask for more workers while there is something to do for each of them, and end those that have nothing.

        Args:
            most: How many workers there may be, with those that are there all the time.
        """
        self._workers.sizing.most = most

    def leave(self, number: int) -> None:
        """End a worker for good; what it was given is evaluated by others, and counts against nobody."""
        self._workers.leave(number)

    def device_type(self, is_stopped: Callable[[], bool] = lambda: False) -> str | None:
        """What evaluations are computed on, after waiting for the first worker if that decides it.

        Args:
            is_stopped: Says that nobody wants to know any more.

        Returns:
            The device type, or `MIXED_DEVICES`; None if the waiting was stopped.

        Raises:
            PoolError: Workers cannot be started, or none of them can be used.
        """
        while self._workers.admission.device_type is None and not is_stopped():
            self._workers.fit(self._num_unfinished)
            for event in self._door.receive(self._pause_s):
                self._take(event)
            self._look_after()
        return self._workers.admission.device_type

    def submit(self, job: Job) -> None:
        """Queue a job."""
        self._num_unfinished += 1
        self._backlog.submit(job)

    def poll(self, timeout_s: float) -> list[Result]:
        """Finished jobs, after waiting for at least one at most this long.

        Raises:
            PoolError: Workers cannot be started.
        """
        deadline = self._clock() + timeout_s
        results: list[Result] = []
        while not results:
            self._workers.fit(self._num_unfinished)
            self._send()
            results = self._blame.failed()
            if all(worker.state is WorkerState.IDLE for worker in self._workers):
                break
            pause = 0.0 if results else max(0.0, min(deadline - self._clock(), self._pause_s))
            for event in self._door.receive(pause):
                results += self._take(event)
            self._look_after()
            if self._clock() >= deadline:
                break
        self._num_unfinished -= len(results)
        return results

    def worker_seconds(self) -> dict[str, float]:
        """Where the time of all workers went, in seconds; while one has a chunk, it is taken to score it."""
        return self._workers.seconds()

    def waiting(self) -> Waiting | None:
        """What workers are awaited; None while there are as many as there are to be all the time."""
        return self._workers.waiting()

    def nodes(self) -> list[NodeUse]:
        """What workers do and have done on each node."""
        return self._workers.nodes()

    def took(self, seconds: float) -> None:
        """A chunk came back, for which its worker took so long; for subclasses that count."""

    def close(self) -> None:
        """End the workers."""
        for worker in self._workers:
            if worker.given_away:  # all is scored before it is known whether the node was lost, too
                self._blame.settle(worker)
            self._workers.end(worker)

    # -- sending -------------------------------------------------------------------------------------------------

    def _send(self) -> None:
        """Fill the workers up, least loaded first."""
        if not self._backlog:
            return
        ready = self._workers.ready()
        # Those that wait for a node, which may never come, have no part of what is shared out.
        workers = max(len(ready), min(self._workers.sizing.least, len(self._workers)))
        kinds, nodes = Counter(worker.device_type for worker in ready), {worker.node for worker in ready}
        for depth in range(_IN_FLIGHT):
            for worker in ready:
                if len(worker.chunks) == depth and not worker.has_suspect:
                    chunk = self._backlog.next_chunk(
                        is_first=depth == 0, workers=workers, ready=kinds, device_type=worker.device_type,
                        node=worker.node, nodes=nodes,
                    )  # fmt: skip
                    if chunk is not None:
                        self._send_to(worker, chunk)

    def _send_to(self, worker: PoolWorker, chunk: Chunk) -> None:
        chunk.become(ItemState.SENT if worker.chunks else ItemState.RUNNING)
        chunk.sent = self._clock()
        worker.chunks[chunk.id] = chunk
        if worker.state is WorkerState.IDLE:
            worker.become(WorkerState.BUSY)
        self._door.send(worker.id, chunk.id, [(item.job.architecture, item.job.wanted) for item in chunk.items])

    # -- receiving -----------------------------------------------------------------------------------------------

    def _take(self, event: Event) -> list[Result]:
        worker = self._workers.get(event.worker)
        if worker is None:
            return []  # it has ended
        if isinstance(event, Answer | Progress | Broken):
            self._silence.heard(worker)
        match event:
            case Answer():
                return self._on_answer(worker, event)
            case Ready() | Unfit():
                self._on_found(worker, event)
            case Progress():
                self._on_progress(worker, event)
            case Lost():
                self._on_lost(worker)
            case Unprepared():
                self._on_unprepared(worker, event)
            case Broken():
                self._on_broken(worker, event)
            case _:  # unanswered
                worker.asked_since = None  # it is asked again
        return []

    def _on_answer(self, worker: PoolWorker, event: Answer) -> list[Result]:
        chunk = self._came_back(worker, event.chunk)
        if chunk is None:
            return []
        worker.time.book_chunk(chunk.sent, event.arrived, event.seconds)
        worker.running = None
        self.took(event.seconds)
        self._backlog.took(event.seconds, len(chunk.items), worker.device_type)
        self._workers.computed(worker, len(chunk.items))
        chunk.become(ItemState.DONE)
        return [Result(item.job, found) for item, found in zip(chunk.items, event.outcomes, strict=True)]

    def _on_unprepared(self, worker: PoolWorker, event: Unprepared) -> None:
        """The worker was lost while it was idle, so that nothing failed: what was sent since then is sent again."""
        chunk = worker.taken(event.chunk)
        if chunk is None:
            return
        worker.time.book("waiting", chunk.sent)  # and since then it starts again
        self._backlog.give_back(chunk)
        if worker.is_ready:
            worker.become(WorkerState.RESTARTING)
            self._door.start(worker.id)

    def _on_broken(self, worker: PoolWorker, event: Broken) -> None:
        """A chunk that the evaluator could not turn into outcomes, such as one whose error cannot travel."""
        chunk = self._came_back(worker, event.chunk)
        if chunk is None:
            return
        worker.time.book("waiting", chunk.sent)
        worker.time.book("scoring", self._clock())  # how much of it is not known
        if len(chunk.items) > 1:
            self._backlog.suspect_each(chunk)
        else:
            self._blame.fail(chunk, Status.FAILED, event.error)

    def _came_back(self, worker: PoolWorker, number: int) -> Chunk | None:
        """The chunk of this number, which its worker has no more; None if it was given up before."""
        worker.asked_since = None  # what it was asked then was about this chunk
        chunk = worker.taken(number)
        if not worker.chunks and worker.state is WorkerState.BUSY:
            worker.become(WorkerState.IDLE)
        return chunk

    # -- workers that start, hang and die ------------------------------------------------------------------------

    def _on_found(self, worker: PoolWorker, event: Ready | Unfit) -> None:
        """A process has started; it is ended if its values would not be those of the others."""
        if worker.is_ready:
            return
        self._blame.settle(worker, event.outgrown if isinstance(event, Ready) else None)
        self._workers.admit(worker, event)
        # Its node is there; a worker that was lost on it, whose place it may have taken, need not come back.
        for other in self._workers.lost_on(event.node):
            self._blame.settle(other, event.outgrown_there.get(other.id))

    def _on_lost(self, worker: PoolWorker) -> None:
        """The worker's process is gone, with everything it was given; it may come back elsewhere if its node is gone.

        Whether the node is gone may be known only later: blame waits until the worker is back or the node is dead. What
        the blame does not decide about does not wait.
        """
        worker.asked_since = None
        if worker.is_ready:
            worker.waits_since = self._clock()
        if worker.killed_for is None and self._workers.is_lost_with_node(worker):
            return
        if worker.chunks:
            guilty, *innocent = worker.chunks.values()
            worker.time.book("waiting", guilty.sent)
            worker.time.book("lost", self._clock())
            for chunk in reversed(innocent):
                self._backlog.give_back(chunk)
            worker.chunks = {}
            if worker.is_ready:
                for item in guilty.items:
                    item.lost_on.add(worker.node or "")
                guilty.become(ItemState.LOST)
                worker.become(WorkerState.LOST)
                if guilty.is_suspect or worker.killed_for is not None or self._workers.is_node_gone(worker):
                    worker.lost = guilty
                else:
                    worker.given_away = guilty.in_words
                    self._backlog.suspect(guilty)
            else:
                self._backlog.give_back(guilty)  # sent to a process that had not been prepared
        elif worker.is_ready:
            worker.become(WorkerState.RESTARTING)
        self._door.start(worker.id)

    # -- looking after workers that take long --------------------------------------------------------------------

    def _look_after(self) -> None:
        """Now and then: ask long-running workers how far they are, kill late ones, say why nothing goes on."""
        now = self._clock()
        if now - self._last_look < self._pause_s or not self._door.is_there():
            return
        self._last_look = now
        for worker in self._workers:
            if worker.state is WorkerState.LOST:
                if self._workers.is_node_gone(worker) or now - worker.waits_since > _BLAME_AFTER_S:
                    self._blame.settle(worker)
            elif worker.state is WorkerState.BUSY and worker.killed_for is None:
                self._check_time(worker, now)
        self._silence.look(self._workers)
        self._workers.say_why_waiting()

    def _check_time(self, worker: PoolWorker, now: float) -> None:
        first = next(iter(worker.chunks.values()))
        if now - first.sent < self._time_limit_s / 2:
            return  # nothing in it can be late yet
        if worker.asked_since is None:
            worker.asked_since = now
            self._door.ask(worker.id)
        elif now - worker.asked_since > self._time_limit_s + _SILENCE_S:
            # Code that never lets another thread run keeps the worker from answering; where it is now is not known.
            worker.running = None
            self._kill(worker, first.id)

    def _on_progress(self, worker: PoolWorker, event: Progress) -> None:
        worker.asked_since = None
        if worker.killed_for is not None:
            return
        worker.running = None
        if event.running is None:
            return
        chunk, item, seconds = event.running
        if chunk != next(iter(worker.chunks), None):
            return  # it came back meanwhile
        worker.running = chunk, item
        if seconds > self._time_limit_s:
            self._kill(worker, chunk)

    def _kill(self, worker: PoolWorker, chunk: int) -> None:
        worker.killed_for = chunk
        self._door.kill(worker.id)
