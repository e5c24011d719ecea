"""What a dispatcher keeps of items, chunks and workers, and the states that each of them goes through.

An item is a job with what is held against it. Items travel in chunks, one of which a worker computes while the next is
on its way. What may follow each state stands in `ITEM_STATES` and `WORKER_STATES`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from raynas.errors import on_one_line
from raynas.scoring.pool import Job, WorkerTime

_LONGEST_NAME = 120  # characters of an architecture in a line


class ItemState(StrEnum):
    """Where an item is."""

    WAITING = "waiting"  # in the queue
    SENT = "sent"  # with a worker, behind another chunk
    RUNNING = "running"  # in the chunk that its worker computes, as far as is known here
    LOST = "lost"  # it was running when its worker was lost, and nobody is blamed yet
    SUSPECT = "suspect"  # it was with a lost worker, and waits for one that has nothing else
    RETRIED = "retried"  # it ran over the time limit, and waits for a worker to itself
    DONE = "done"


ITEM_STATES: Mapping[ItemState, frozenset[ItemState]] = {
    ItemState.WAITING: frozenset({ItemState.SENT, ItemState.RUNNING}),
    ItemState.SENT: frozenset({ItemState.RUNNING, ItemState.WAITING}),
    ItemState.RUNNING: frozenset({ItemState.DONE, ItemState.LOST, ItemState.WAITING, ItemState.SUSPECT}),
    ItemState.LOST: frozenset({ItemState.WAITING, ItemState.SUSPECT, ItemState.RETRIED, ItemState.DONE}),
    ItemState.SUSPECT: frozenset({ItemState.RUNNING}),
    ItemState.RETRIED: frozenset({ItemState.RUNNING}),
    ItemState.DONE: frozenset(),
}
"""What may follow each state of an item."""


class WorkerState(StrEnum):
    """What a worker is doing."""

    STARTING = "starting"  # asked for, not ready yet
    IDLE = "idle"  # ready, with nothing to do
    BUSY = "busy"  # has chunks
    LOST = "lost"  # its process is gone with a chunk for whose loss nobody is blamed yet
    RESTARTING = "restarting"  # its process is gone, and its chunks are dealt with
    ENDED = "ended"  # for good


WORKER_STATES: Mapping[WorkerState, frozenset[WorkerState]] = {
    WorkerState.STARTING: frozenset({WorkerState.IDLE, WorkerState.ENDED}),
    WorkerState.IDLE: frozenset({WorkerState.BUSY, WorkerState.RESTARTING, WorkerState.ENDED}),
    WorkerState.BUSY: frozenset({WorkerState.IDLE, WorkerState.LOST, WorkerState.RESTARTING, WorkerState.ENDED}),
    WorkerState.LOST: frozenset({WorkerState.RESTARTING, WorkerState.ENDED}),
    WorkerState.RESTARTING: frozenset({WorkerState.IDLE, WorkerState.BUSY, WorkerState.ENDED}),
    WorkerState.ENDED: frozenset(),
}
"""What may follow each state of a worker."""


@dataclass
class Item:
    """A job with what is held against it."""

    job: Job
    state: ItemState = ItemState.WAITING
    lost_on: set[str] = field(default_factory=set)  # nodes on which a worker was lost that may have computed it
    lost_alone: int = 0
    late: int = 0

    @property
    def in_words(self) -> str:
        """The architecture, as a part of a line."""
        return on_one_line(self.job.architecture.to_json(), _LONGEST_NAME)


@dataclass
class Chunk:
    """Items that travel together."""

    id: int
    items: list[Item]
    is_suspect: bool = False
    """Whether it was with a worker that was lost; it runs with no other chunk beside it, so that blame is exact."""
    sent: float = 0.0

    @property
    def lost_on(self) -> set[str]:
        """Nodes on which a worker was lost that may have computed one of them."""
        return set().union(*(item.lost_on for item in self.items))

    @property
    def in_words(self) -> str:
        """The architecture if there is but one, else how many there are."""
        return self.items[0].in_words if len(self.items) == 1 else f"{len(self.items)} candidates"

    def become(self, state: ItemState) -> None:
        """Have all items enter a state."""
        for item in self.items:
            assert state in ITEM_STATES[item.state], f"an item that is {item.state} cannot become {state}"
            item.state = state


@dataclass
class PoolWorker:
    """One worker as the dispatcher sees it."""

    id: int
    time: WorkerTime
    waits_since: float  # for its process to be ready, or back
    state: WorkerState = WorkerState.STARTING
    node: str | None = None
    host: str = ""  # the node's name for people
    device_type: str = ""
    pid: int | None = None
    chunks: dict[int, Chunk] = field(default_factory=dict)  # by their numbers, in the order of sending
    asked_since: float | None = None  # where it is, without an answer yet
    running: tuple[int, int] | None = None  # chunk and item, when it last said where it is
    killed_for: int | None = None  # the chunk that ran too long
    lost: Chunk | None = None  # what it computed when it was lost, and is held until somebody is blamed
    given_away: str = ""  # what it computed when it was lost, in words, where others score it already

    @property
    def is_ready(self) -> bool:
        """Whether its process can be given chunks."""
        return self.state in (WorkerState.IDLE, WorkerState.BUSY)

    @property
    def has_suspect(self) -> bool:
        """Whether it has a suspect chunk, beside which it is to have nothing else."""
        return any(chunk.is_suspect for chunk in self.chunks.values())

    def works_in(self) -> str:
        """The part of `WORKER_WORK` that its time goes to now; what it went to before is booked."""
        if not self.is_ready:
            return "starting"
        if not self.chunks:
            return "waiting"
        self.time.book("waiting", next(iter(self.chunks.values())).sent)
        return "scoring"

    def become(self, state: WorkerState) -> None:
        """Enter a state."""
        assert state in WORKER_STATES[self.state], f"a worker that is {self.state} cannot become {state}"
        self.state = state

    def taken(self, chunk: int) -> Chunk | None:
        """A chunk that came back; the next one is running then. None for one that was given up before.

        It may come before the one that ran before it, whose answer takes longer to arrive.
        """
        found = self.chunks.pop(chunk, None)
        if found is not None and found.items[0].state is ItemState.SENT:
            found.become(ItemState.RUNNING)
        following = next(iter(self.chunks.values()), None)
        if following is not None and following.items[0].state is ItemState.SENT:
            following.become(ItemState.RUNNING)
        return found
