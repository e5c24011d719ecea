"""What waits for a worker, and in what portions it is handed out."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Collection, Iterable, Iterator, Mapping

from raynas.scoring.pool import Job
from raynas.scoring.states import Chunk, Item, ItemState

_CHUNK_S = 0.5  # time that a chunk should take
_SHORT_S = 0.005  # below it, candidates travel longer than they are computed
_LONG_S = 0.3  # above it, what the driver does between candidates does not count


class Backlog:
    """Items in the order of submission, and before them the suspects, each chunk of which gets a worker to itself.

    Chunks adapt to the measured time of an item, and never exceed window / (2 * workers).

    Args:
        window: Candidates in flight.
        in_flight: Chunks that a worker has at once.
    """

    def __init__(self, window: int, in_flight: int) -> None:
        self._window = window
        self._in_flight = in_flight
        self._queue: deque[Item] = deque()
        self._suspects: deque[Chunk] = deque()
        self._num_chunks = 0
        self._seconds_per_item: dict[str, float] = {}  # by device type

    def __bool__(self) -> bool:
        return bool(self._queue or self._suspects)

    def __iter__(self) -> Iterator[Item]:
        yield from (item for chunk in self._suspects for item in chunk.items)
        yield from self._queue

    def submit(self, job: Job) -> None:
        """Queue a job."""
        self._queue.append(Item(job))

    def took(self, seconds: float, items: int, device_type: str = "") -> None:
        """Learn from a chunk how long an item takes on a device type."""
        per_item, before = seconds / items, self._seconds_per_item.get(device_type)
        self._seconds_per_item[device_type] = per_item if before is None else 0.7 * before + 0.3 * per_item

    def next_chunk(
        self, *, is_first: bool, workers: int, ready: Mapping[str, int], device_type: str = "", node: str | None = None,
        nodes: Collection[str | None] = (),
    ) -> Chunk | None:  # fmt: skip
        """What a worker gets next; None if it had better get nothing now.

        Args:
            is_first: Whether the worker has nothing to do; otherwise it has a chunk that this one would queue behind.
            workers: How many workers there are.
            ready: How many of them can be given chunks, by their device types.
            device_type: The kind of device that the worker computes on.
            node: The node of the worker.
            nodes: Those of all that can be given chunks.
        """
        if self._suspects:
            if not is_first:
                return None
            for number, suspect in enumerate(self._suspects):
                # If it is not its own fault, it is the node's; computed on another one, it shows which.
                if node not in suspect.lost_on or suspect.lost_on.issuperset(nodes):
                    del self._suspects[number]
                    return suspect
        seconds, queued = self._seconds_on(device_type), len(self._queue)
        num_ready = sum(ready.values())
        if not queued:
            return None
        if not is_first and seconds is not None and seconds > _LONG_S and 1 < num_ready >= queued:
            return None  # behind another candidate, a last one could have to wait while a worker has nothing to do
        # All others that are queued are shared out, as a searcher may wait for them: over the chunks in flight too, so
        # that workers end together, unless items are so short that their way takes longer than they do.
        is_short = seconds is not None and seconds < _SHORT_S
        shares = workers * (1 if is_short else self._in_flight)
        speed = self._relative_speed(device_type, ready)
        size = min(self._chunk_size(workers, seconds, speed), max(1, math.ceil(queued * speed / shares)))
        return self.chunk([self._queue.popleft() for _ in range(min(size, queued))])

    def _seconds_on(self, device_type: str) -> float | None:
        """Seconds of an item on a device type; until that is known, on the slowest of the others."""
        return self._seconds_per_item.get(device_type) or max(self._seconds_per_item.values(), default=None)

    def _relative_speed(self, device_type: str, ready: Mapping[str, int]) -> float:
        """Items a second on a device type, where those of all that are ready are 1 on average."""
        seconds = {kind: self._seconds_per_item.get(kind) for kind in ready}
        own = seconds.get(device_type)
        if len(ready) < 2 or own is None or None in seconds.values():
            return 1.0
        mean = sum(number / (seconds[kind] or math.inf) for kind, number in ready.items()) / sum(ready.values())
        return 1 / (own * mean)

    def _chunk_size(self, workers: int, seconds: float | None, speed: float) -> int:
        if seconds is None:
            return 1
        largest = max(1, int(self._window * speed) // (2 * workers))
        return max(1, min(largest, int(_CHUNK_S / max(seconds, 1e-6))))

    def chunk(self, items: Iterable[Item], *, is_suspect: bool = False) -> Chunk:
        """A chunk with a number that no other has."""
        self._num_chunks += 1
        return Chunk(self._num_chunks, list(items), is_suspect)

    def give_back(self, chunk: Chunk) -> None:
        """Put what nothing is held against where it was taken from."""
        if chunk.is_suspect:
            chunk.become(ItemState.SUSPECT)
            self._suspects.appendleft(chunk)
        else:
            chunk.become(ItemState.WAITING)
            self._queue.extendleft(reversed(chunk.items))

    def suspect(self, chunk: Chunk) -> None:
        """One item of a chunk is guilty: find out in which half it is; or a single one may be: run it alone."""
        chunk.become(ItemState.SUSPECT)
        middle = len(chunk.items) // 2
        for half in filter(None, (chunk.items[:middle], chunk.items[middle:])):
            self._suspects.append(self.chunk(half, is_suspect=True))

    def suspect_each(self, chunk: Chunk) -> None:
        """One item of a chunk is guilty: run each alone."""
        chunk.become(ItemState.SUSPECT)
        self._suspects.extend(self.chunk([item], is_suspect=True) for item in chunk.items)

    def retry(self, item: Item) -> None:
        """Run an item that was late once more, alone."""
        alone = self.chunk([item], is_suspect=True)
        alone.become(ItemState.RETRIED)
        self._suspects.append(alone)
