"""Scoring on Ray actors that may be lost at any time."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from time import monotonic
from typing import TYPE_CHECKING, Any

from raynas.cluster.own_code import own_code_by_value
from raynas.cluster.resources import why_waiting
from raynas.errors import PoolError
from raynas.scoring.pool import WORKER_WORK, Job, Result, WorkerTime
from raynas.scoring.ray_worker import Worker
from raynas.space.results import Outcome, Status

if TYPE_CHECKING:
    from concurrent.futures import Future

    from raynas.scoring.task import Task


@dataclass
class _Item:
    """A job with what is held against it."""

    job: Job
    lost_alone: int = 0
    late: int = 0


@dataclass
class _Answer:
    """What comes back for one sending of a chunk; a chunk that is sent again gets another one."""

    arrived: float = 0.0
    content: Future[Any] | None = None  # once it is there

    def on_arrival(self, content: Future[Any]) -> None:
        """Called in a thread of Ray's, since the driver may be busy with something else."""
        self.arrived = monotonic()
        self.content = content


@dataclass
class _Chunk:
    """Items that travel together."""

    id: int
    items: list[_Item]
    is_suspect: bool = False
    """It was with a worker that was lost; runs with no other chunk beside it, so that blame is exact."""
    sent: float = 0.0
    answer: _Answer = field(default_factory=_Answer)


@dataclass
class _Slot:
    """One actor as the driver sees it."""

    actor: Any
    node: str | None = None
    pid: int | None = None
    ready: Any = None  # the pending reference of its prepare(), while it starts or restarts
    chunks: dict[Any, _Chunk] = field(default_factory=dict)  # in flight by reference, in order of sending
    progress: Any = None
    progress_since: float = 0.0
    running: tuple[int, int] | None = None  # chunk and item at the last progress report
    killed_for_time: int | None = None  # the chunk that ran too long
    waits_since: float = 0.0  # for its process to be ready, or back
    lost: _Chunk | None = None  # what it computed when it was lost, while nobody is blamed yet
    time: WorkerTime = field(default_factory=WorkerTime)


_IN_FLIGHT = 2  # chunks per actor: one computes while the next one travels
_CHUNK_S = 0.5  # time that a chunk should take
_SHORT_S = 0.005  # below it, candidates travel longer than they are computed
_LONG_S = 0.3  # above it, what the driver does between candidates does not count
_MALLOC = {
    "MALLOC_MMAP_THRESHOLD_": f"{1 << 30}",
    "MALLOC_TRIM_THRESHOLD_": f"{1 << 32}",
    "MALLOC_TOP_PAD_": f"{1 << 26}",
    "MALLOC_ARENA_MAX": "1",
    # Else glibc sets the small rests of a large tensor's aligned memory aside: without them, what is freed is too small
    # for the next tensor of the same size, and the heap grows in its place.
    "GLIBC_TUNABLES": "glibc.malloc.tcache_count=0:glibc.malloc.mxfast=0",
}
"""Has glibc keep the memory that one pass frees for the next: else the system clears the same pages over and over, for
up to two fifths of a score's time. Read when a process starts; other C libraries do not know the names."""
_MAX_LOST_ALONE = 3
_MAX_LATE = 2
_SILENCE_S = 10.0  # beyond the time limit, for a worker that does not answer
_BLAME_AFTER_S = 15.0  # if its process does not come back; more than it takes to notice that a node is lost
_WAITING_SAID_AFTER_S = 10.0
_WAITING_SAID_EVERY_S = 30.0


class RayPool:
    """Long-lived actors, each with its share of a GPU, fed chunks that adapt to the time an item takes.

    The driver owns all retries: an actor that is lost is restarted by Ray, its first chunk is bisected until the guilty
    item runs alone, and an item that was alone with three lost actors is `crashed`. An item over the time limit has its
    actor killed; it runs once more alone and is then `timeout`. A lost node blames nobody.

    Args:
        task: What actors score.
        workers: Number of actors.
        gpus_per_worker: Share of a GPU for each; 0 computes on the CPU.
        window: Candidates in flight, which bounds chunks to window / (2 * workers).
        time_limit_s: For one evaluation.
        memory_limit_bytes: Resident memory at which a worker ends itself, which counts as a loss; None: an equal share
            of nine tenths of what the smallest node offers.
        log: Called with lines for people: why it waits, which worker was lost.
    """

    def __init__(
        self,
        task: Task,
        *,
        workers: int,
        gpus_per_worker: float = 0.0,
        window: int = 64,
        time_limit_s: float = 600.0,
        memory_limit_bytes: float | None = None,
        log: Callable[[str], None] = lambda line: None,
    ) -> None:
        import ray

        self._ray = ray
        self._log = log
        self._time_limit_s = time_limit_s
        self._max_chunk = max(1, window // (2 * workers))
        self._workers = workers
        self._share = {"CPU": float(task.threads), "GPU": gpus_per_worker}
        # A thread of its own answers for progress while another one computes.
        worker = ray.remote(concurrency_groups={"progress": 1})(Worker).options(
            num_cpus=task.threads,
            num_gpus=gpus_per_worker or None,
            runtime_env={"env_vars": _MALLOC},
            max_restarts=-1,
            max_task_retries=0,
        )
        with own_code_by_value(*task.own_code):
            self._task = ray.put(task)  # read again by every actor that restarts
        self._memory_limit_bytes = memory_limit_bytes or self._share_of_memory()
        self._slots = [_Slot(worker.remote()) for _ in range(workers)]
        for slot in self._slots:
            self._expect_ready(slot)
        self._failed: list[Result] = []
        self._queue: deque[_Item] = deque()
        self._suspects: deque[_Chunk] = deque()
        self._num_chunks = 0
        self._seconds_per_item: float | None = None
        self._waiting_said = -math.inf
        self._last_look = monotonic()

    def _share_of_memory(self) -> float:
        nodes: list[float] = [node["Resources"].get("memory", math.inf) for node in self._ray.nodes() if node["Alive"]]
        return 0.9 * min(nodes) / math.ceil(self._workers / len(nodes))

    # -- the pool's interface ------------------------------------------------------------------------------------

    def submit(self, job: Job) -> None:
        """Queue a job."""
        self._queue.append(_Item(job))

    def poll(self, timeout_s: float) -> list[Result]:
        """Finished jobs, after waiting for at least one at most this long."""
        deadline = monotonic() + timeout_s
        while True:
            self._send()
            results, self._failed = self._failed, []
            references = self._references()
            if not references:
                return results
            pause = 0.0 if results else max(0.0, min(deadline - monotonic(), self._pause_s()))
            done, _ = self._ray.wait(references, num_returns=1, timeout=pause)
            if done and len(references) > 1:
                done, _ = self._ray.wait(references, num_returns=len(references), timeout=0)
            for reference in done:
                results += self._take(reference)
            self._look_after()
            if results or monotonic() >= deadline:
                return results

    def worker_seconds(self) -> dict[str, float]:
        """Where the time of all actors went, in seconds; while one has a chunk, it is taken to score it."""
        total = dict.fromkeys(WORKER_WORK, 0.0)
        for slot in self._slots:
            now_in = "starting" if slot.ready is not None else "scoring" if slot.chunks else "waiting"
            if now_in == "scoring":
                slot.time.book("waiting", next(iter(slot.chunks.values())).sent)
            for part, seconds in slot.time.seconds(now_in).items():
                total[part] += seconds
        return total

    def close(self) -> None:
        """End the actors."""
        for slot in self._slots:
            self._ray.kill(slot.actor)
        self._slots = []

    # -- sending -------------------------------------------------------------------------------------------------

    def _send(self) -> None:
        """Fill the actors up, least loaded first."""
        for depth in range(_IN_FLIGHT):
            for slot in self._slots:
                if slot.ready is None and len(slot.chunks) == depth and not self._has_suspect(slot):
                    chunk = self._next_chunk(is_first=depth == 0)
                    if chunk is not None:
                        self._send_to(slot, chunk)

    @staticmethod
    def _send_to(slot: _Slot, chunk: _Chunk) -> None:
        jobs = [(item.job.architecture, item.job.wanted) for item in chunk.items]
        chunk.sent, chunk.answer = monotonic(), _Answer()
        reference = slot.actor.run.remote(chunk.id, jobs)
        slot.chunks[reference] = chunk
        reference.future().add_done_callback(chunk.answer.on_arrival)

    def _next_chunk(self, *, is_first: bool) -> _Chunk | None:
        if self._suspects:
            return self._suspects.popleft() if is_first else None
        if not self._queue:
            return None
        seconds = self._seconds_per_item
        ready = sum(slot.ready is None for slot in self._slots)
        if not is_first and seconds is not None and seconds > _LONG_S and 1 < ready >= len(self._queue):
            return None  # behind another candidate, a last one could have to wait while an actor has nothing to do
        # All others that are queued are shared out, as a searcher may wait for them: over the chunks in flight too, so
        # that actors end together, unless items are so short that their way takes longer than they do.
        is_short = seconds is not None and seconds < _SHORT_S
        shares = self._workers * (1 if is_short else _IN_FLIGHT)
        size = min(self._chunk_size(), -(-len(self._queue) // shares))
        return self._chunk([self._queue.popleft() for _ in range(size)])

    def _chunk(self, items: list[_Item], *, is_suspect: bool = False) -> _Chunk:
        self._num_chunks += 1
        return _Chunk(self._num_chunks, items, is_suspect)

    def _chunk_size(self) -> int:
        if self._seconds_per_item is None:
            return 1
        return max(1, min(self._max_chunk, int(_CHUNK_S / max(self._seconds_per_item, 1e-6))))

    @staticmethod
    def _has_suspect(slot: _Slot) -> bool:
        return any(chunk.is_suspect for chunk in slot.chunks.values())

    # -- receiving -----------------------------------------------------------------------------------------------

    def _references(self) -> list[Any]:
        starting = [slot.ready for slot in self._slots if slot.ready is not None]
        return starting + [reference for slot in self._slots for reference in slot.chunks]

    def _take(self, reference: Any) -> list[Result]:
        slot = next((s for s in self._slots if reference in s.chunks or reference is s.ready), None)
        if slot is None:
            return []  # of a chunk that was given up in this round
        if reference is slot.ready:
            self._on_ready(slot)
            return []
        chunk = slot.chunks[reference]
        try:
            # Unpacked already, unless its arrival has not been noted yet.
            content = chunk.answer.content
            answer = self._ray.get(reference) if content is None else content.result()
        except self._ray.exceptions.RayActorError:
            self._on_lost(slot)
            return []
        except self._ray.exceptions.RayTaskError as error:
            del slot.chunks[reference]
            slot.time.book("waiting", chunk.sent)
            slot.time.book("scoring", monotonic())  # how much of it is not known
            self._on_error(chunk, error)
            return []
        arrived = monotonic() if content is None else chunk.answer.arrived
        del slot.chunks[reference]
        if answer is None:
            # Lost while it had nothing to do, so that nothing failed: what was sent since then is sent again.
            slot.time.book("waiting", chunk.sent)  # and since then it starts again
            self._give_back(chunk)
            if slot.ready is None:
                self._expect_ready(slot)
            return []
        seconds, outcomes = answer
        slot.time.book_chunk(chunk.sent, arrived, seconds)
        slot.running = None
        per_item = seconds / len(chunk.items)
        before = self._seconds_per_item
        self._seconds_per_item = per_item if before is None else 0.7 * before + 0.3 * per_item
        return [Result(item.job, found) for item, found in zip(chunk.items, outcomes, strict=True)]

    def _on_error(self, chunk: _Chunk, error: Exception) -> None:
        """A chunk that the evaluator could not turn into outcomes, such as one whose error cannot travel."""
        if len(chunk.items) > 1:
            self._suspects.extend(self._chunk([item], is_suspect=True) for item in chunk.items)
        else:
            self._fail(chunk.items[0], Status.FAILED, _on_one_line(error))

    # -- actors that start, hang and die -------------------------------------------------------------------------

    def _expect_ready(self, slot: _Slot) -> None:
        slot.ready = slot.actor.prepare.remote(self._task, self._memory_limit_bytes, self._share["GPU"])
        slot.waits_since = monotonic()

    def _on_ready(self, slot: _Slot) -> None:
        reference, slot.ready = slot.ready, None
        try:
            node, pid = self._ray.get(reference)
        except self._ray.exceptions.ActorUnavailableError:
            self._expect_ready(slot)
        except (self._ray.exceptions.ActorDiedError, self._ray.exceptions.RayTaskError) as error:
            raise PoolError(f"a worker cannot be started: {_on_one_line(error)}") from error
        else:
            self._settle(slot)
            slot.time.book("starting", monotonic())
            slot.node, slot.pid = node, pid

    def _on_lost(self, slot: _Slot) -> None:
        """The actor's process is gone, with everything it was given; Ray restarts it, elsewhere if its node is gone.

        Whether the node is gone may be known only later: blame waits until the actor is back or the node reported dead.
        """
        guilty, *innocent = slot.chunks.values()
        slot.time.book("waiting", guilty.sent)
        slot.time.book("lost", monotonic())
        for chunk in reversed(innocent):
            self._give_back(chunk)
        slot.lost = guilty
        slot.chunks, slot.progress = {}, None
        self._expect_ready(slot)

    def _settle(self, slot: _Slot) -> None:
        """Decide who is to blame for the loss of an actor."""
        chunk, slot.lost = slot.lost, None
        running, slot.running = slot.running, None
        killed, slot.killed_for_time = slot.killed_for_time, None
        if chunk is None:
            return
        if killed is not None and killed != chunk.id:
            self._give_back(chunk)  # the late one ended after all, as its worker was killed
        elif killed is not None and running is not None and running[0] == chunk.id:
            self._blame_late(chunk, running[1])
        elif killed is not None and len(chunk.items) == 1:
            self._blame_late(chunk, 0)
        elif killed is not None:
            # One of them kept the worker from saying which. Halving would wait for the limit at each step.
            self._suspects.extend(self._chunk([item], is_suspect=True) for item in chunk.items)
        elif slot.node is not None and not self._is_alive(slot.node):
            self._log(f"node {slot.node[:8]} is lost; the candidates of its workers are scored elsewhere")
            self._give_back(chunk)
        else:
            self._log(f"worker process {slot.pid} is lost; its candidates are scored again")
            self._blame_lost(chunk)

    def _blame_lost(self, chunk: _Chunk) -> None:
        if len(chunk.items) > 1:
            middle = len(chunk.items) // 2
            for half in (chunk.items[:middle], chunk.items[middle:]):
                self._suspects.append(self._chunk(half, is_suspect=True))
            return
        (item,) = chunk.items
        item.lost_alone += chunk.is_suspect
        if item.lost_alone == _MAX_LOST_ALONE:
            self._fail(item, Status.CRASHED, f"the worker process was lost {_MAX_LOST_ALONE} times with this alone")
        else:
            self._suspects.append(self._chunk([item], is_suspect=True))

    def _blame_late(self, chunk: _Chunk, late: int) -> None:
        item = chunk.items.pop(late)
        if chunk.items:
            self._give_back(chunk)
        item.late += 1
        if item.late == _MAX_LATE:
            self._fail(item, Status.TIMEOUT, f"over the time limit of {self._time_limit_s:g} s, {_MAX_LATE} times")
        else:
            self._log(f"a candidate is over the time limit of {self._time_limit_s:g} s; it is tried once more, alone")
            self._suspects.append(self._chunk([item], is_suspect=True))

    def _give_back(self, chunk: _Chunk) -> None:
        if chunk.is_suspect:
            self._suspects.appendleft(chunk)
        else:
            self._queue.extendleft(reversed(chunk.items))

    def _fail(self, item: _Item, status: Status, error: str) -> None:
        outcomes = [Outcome(None, str(status), error)] * item.job.num_outputs
        self._failed.append(Result(item.job, outcomes))

    def _is_alive(self, node: str) -> bool:
        return any(entry["NodeID"] == node and entry["Alive"] for entry in self._ray.nodes())

    # -- looking after actors that take long ---------------------------------------------------------------------

    def _pause_s(self) -> float:
        return min(1.0, self._time_limit_s / 10)

    def _look_after(self) -> None:
        """Now and then: ask long-running actors how far they are, kill late ones, say why nothing goes on."""
        now = monotonic()
        if now - self._last_look < self._pause_s():
            return
        self._last_look = now
        for slot in self._slots:
            is_gone = slot.node is not None and not self._is_alive(slot.node) if slot.lost is not None else False
            if is_gone or (slot.lost is not None and now - slot.waits_since > _BLAME_AFTER_S):
                self._settle(slot)
            elif slot.chunks and slot.killed_for_time is None:
                self._check_time(slot, now)
        waiting = [slot for slot in self._slots if slot.ready is not None]
        if any(now - slot.waits_since > _WAITING_SAID_AFTER_S for slot in waiting):
            self._say_why_waiting(len(waiting), now)

    def _check_time(self, slot: _Slot, now: float) -> None:
        first = next(iter(slot.chunks.values()))
        if now - first.sent < self._time_limit_s / 2:
            return  # nothing in it can be late yet
        if slot.progress is None:
            slot.progress = slot.actor.progress.options(concurrency_group="progress").remote()
            slot.progress_since = now
            return
        done, _ = self._ray.wait([slot.progress], timeout=0)
        if done:
            reference, slot.progress = slot.progress, None
            try:
                report = self._ray.get(reference)
            except self._ray.exceptions.RayActorError:
                return  # the chunk's own reference tells
            slot.running = report and report[:2]
            is_late = report is not None and report[2] > self._time_limit_s
        else:
            # Code that never lets another thread run keeps the worker from answering.
            is_late = now - slot.progress_since > self._time_limit_s + _SILENCE_S
        if is_late:
            slot.killed_for_time = first.id
            self._ray.kill(slot.actor, no_restart=False)

    def _say_why_waiting(self, missing: int, now: float) -> None:
        if now - self._waiting_said < _WAITING_SAID_EVERY_S:
            return
        self._waiting_said = now
        self._log(why_waiting(f"{missing} of {self._workers} workers", self._share))


def _on_one_line(error: Exception) -> str:
    """What went wrong on a worker, without the trace that Ray puts around it."""
    cause = getattr(error, "cause", None) or error
    return f"{type(cause).__name__}: {' '.join(str(cause).split())}"
