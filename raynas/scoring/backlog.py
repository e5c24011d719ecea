"""What waits for a worker, and in what portions it is handed out."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator

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
        self._seconds_per_item: float | None = None

    def __bool__(self) -> bool:
        return bool(self._queue or self._suspects)

    def __iter__(self) -> Iterator[Item]:
        yield from (item for chunk in self._suspects for item in chunk.items)
        yield from self._queue

    def submit(self, job: Job) -> None:
        """Queue a job."""
        self._queue.append(Item(job))

    def took(self, seconds: float, items: int) -> None:
        """Learn from a chunk how long an item takes."""
        per_item, before = seconds / items, self._seconds_per_item
        self._seconds_per_item = per_item if before is None else 0.7 * before + 0.3 * per_item

    def next_chunk(self, *, is_first: bool, workers: int, ready: int) -> Chunk | None:
        """What a worker gets next; None if it had better get nothing now.

        Args:
            is_first: Whether the worker has nothing to do; otherwise it has a chunk that this one would queue behind.
            workers: How many workers there are.
            ready: How many of them can be given chunks.
        """
        if self._suspects:
            return self._suspects.popleft() if is_first else None
        seconds, queued = self._seconds_per_item, len(self._queue)
        if not queued:
            return None
        if not is_first and seconds is not None and seconds > _LONG_S and 1 < ready >= queued:
            return None  # behind another candidate, a last one could have to wait while a worker has nothing to do
        # All others that are queued are shared out, as a searcher may wait for them: over the chunks in flight too, so
        # that workers end together, unless items are so short that their way takes longer than they do.
        is_short = seconds is not None and seconds < _SHORT_S
        shares = workers * (1 if is_short else self._in_flight)
        size = min(self._chunk_size(workers), -(-queued // shares))
        return self.chunk([self._queue.popleft() for _ in range(size)])

    def _chunk_size(self, workers: int) -> int:
        if self._seconds_per_item is None:
            return 1
        largest = max(1, self._window // (2 * workers))
        return max(1, min(largest, int(_CHUNK_S / max(self._seconds_per_item, 1e-6))))

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

    def suspect_halves(self, chunk: Chunk) -> None:
        """One item of a chunk is guilty: find out in which half it is."""
        chunk.become(ItemState.SUSPECT)
        middle = len(chunk.items) // 2
        for half in (chunk.items[:middle], chunk.items[middle:]):
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
