"""The door between a dispatcher and the processes that evaluate: all that it can have done, and all that it can learn.

Ray stands behind it, `raynas.scoring.ray_door.RayDoor`; a simulation on a fake clock does so in the tests.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from types import MappingProxyType
from typing import NamedTuple, Protocol

from raynas.space.architecture import Architecture
from raynas.space.results import Outcome
from raynas.wording import memory_size


class Outgrown(NamedTuple):
    """More memory than a worker may have."""

    taken_bytes: float
    limit_bytes: float

    @property
    def in_words(self) -> str:
        """How much it took, and how much it may have."""
        return f"{memory_size(self.taken_bytes)} of memory, of which it may have {memory_size(self.limit_bytes)}"


class Ready(NamedTuple):
    """A worker's process has prepared itself and waits for work."""

    worker: int
    node: str
    host: str  # the node's name for people
    pid: int
    device_type: str
    outgrown: Outgrown | None = None  # why the one before it has ended itself, if it has left word
    seconds: float = 0.0  # that it took to prepare itself, by its own clock
    outgrown_there: Mapping[int, Outgrown] = MappingProxyType({})  # of other workers lost on its node, why


class Unfit(NamedTuple):
    """A worker's process has found that it would compute with other code than the driver's; it prepares nothing."""

    worker: int
    node: str
    host: str
    reason: str
    outgrown_there: Mapping[int, Outgrown] = MappingProxyType({})


class Answer(NamedTuple):
    """A chunk came back evaluated."""

    worker: int
    chunk: int
    seconds: float  # that it took, by the worker's clock
    outcomes: Sequence[Sequence[Outcome | None]]  # of each job
    arrived: float  # when it reached this process, by its own clock


class Unprepared(NamedTuple):
    """A chunk came back untouched: its worker was restarted while it had nothing to do, and is not prepared."""

    worker: int
    chunk: int


class Broken(NamedTuple):
    """A chunk came back as an error, such as one that cannot travel; its worker is sound."""

    worker: int
    chunk: int
    error: str


class Lost(NamedTuple):
    """A worker's process is gone, with everything it was given; it is started again, perhaps on another node."""

    worker: int


class Progress(NamedTuple):
    """Where a worker is: chunk, number in the chunk, and seconds since it started with it, by the worker's clock."""

    worker: int
    running: tuple[int, int, float] | None  # None between chunks


class Unanswered(NamedTuple):
    """A question where a worker is came to nothing on its way, which says nothing of the worker."""

    worker: int


Event = Ready | Unfit | Answer | Unprepared | Broken | Lost | Progress | Unanswered


class Door(Protocol):
    """Processes that evaluate, by the numbers that `join` gives them."""

    def join(self, avoided: Collection[str] = ()) -> int:
        """Ask for one more process; it says nothing before it is started.

        Args:
            avoided: Ids of the nodes where it is not to be.
        """
        ...

    def room(self, avoided: Collection[str] = ()) -> int:
        """How many processes all nodes that are there now could hold together, had they nothing else to do.

        Args:
            avoided: Ids of nodes that are not counted.
        """
        ...

    def start(self, worker: int) -> None:
        """Have a process prepare itself, at first and when it was lost; `Ready` follows, `Unfit` or `Lost`."""
        ...

    def send(self, worker: int, chunk: int, jobs: Sequence[tuple[Architecture, tuple[int, ...]]]) -> None:
        """Have jobs evaluated: architectures, with the numbers of the groups of outputs that are wanted.

        Chunks of a worker are evaluated in the order of sending. `Answer`, `Unprepared`, `Broken` or `Lost` follows.
        """
        ...

    def ask(self, worker: int) -> None:
        """Ask where a worker is while it evaluates.

        `Progress` or `Unanswered` follows, unless code keeps the worker from answering.
        """
        ...

    def receive(self, timeout_s: float) -> Sequence[Event]:
        """What has happened, in order, after waiting for something at most this long.

        Raises:
            PoolError: A process cannot be started.
        """
        ...

    def kill(self, worker: int) -> None:
        """End a process that evaluates for too long; `Lost` follows for what it was given, and it is restarted."""
        ...

    def leave(self, worker: int) -> None:
        """End a process for good; nothing follows."""
        ...

    def is_there(self) -> bool:
        """Whether what holds the processes together answers; while it does not, nothing else is asked of it.

        Raises:
            ClusterLostError: It has not answered for so long that it is given up.
        """
        ...

    def is_alive(self, node: str) -> bool:
        """Whether a node is part of the cluster still."""
        ...

    def why_waiting(self, missing: int, of: int) -> str:
        """A line for people on what processes wait for.

        Args:
            missing: How many do.
            of: How many there are to be.
        """
        ...
