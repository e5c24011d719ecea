"""A pool of simulated workers on a clock of their own, with what comes back and what is said."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from types import MappingProxyType
from typing import Any

from simulated_workers import SimulatedWorkers

from raynas import Architecture
from raynas.scoring.dispatcher import Dispatcher
from raynas.scoring.pool import Job, Result
from raynas.space.results import Outcome


class Pool:
    """A dispatcher with its workers, and what came back."""

    def __init__(
        self,
        cost: Callable[[Any], float | str | Outcome],
        workers: int = 2,
        window: int = 64,
        time_limit_s: float = 6.0,
        nodes: Sequence[str] = ("a",),
        device_types: Mapping[str, str] = MappingProxyType({}),
        device_type: str | None = None,
        unfit: Collection[str] = (),
        most: int = 0,
    ) -> None:
        self.lines: list[str] = []
        self.results: list[Result] = []
        self.door = SimulatedWorkers(cost)
        self.door.nodes = list(nodes)
        self.door.device_types |= device_types
        self.door.unfit_nodes |= set(unfit)
        self.dispatcher = Dispatcher(
            self.door, window=window, time_limit_s=time_limit_s, device_type=device_type, log=self.lines.append,
            clock=self.door.clock,
        )  # fmt: skip
        for _ in range(workers):
            self.dispatcher.join()
        self.dispatcher.follow_work(most)

    def submit(self, *numbers: int) -> None:
        for number in numbers:
            self.dispatcher.submit(Job(Architecture({"a": number}), (0, 1), 2))

    def poll(self) -> None:
        self.results += self.dispatcher.poll(0.5)

    def finish(self, jobs: int, within_s: float = 3600.0) -> dict[int, str]:
        """Statuses by number, once all are back."""
        until = self.door.now + within_s
        while len(self.results) < jobs:
            self.poll()
            assert self.door.now < until, f"after {within_s} s: {self.dispatcher.items()}"
        assert self.dispatcher.items() == {}
        return self.statuses()

    def statuses(self) -> dict[int, str]:
        found: dict[int, str] = {}
        for job, outcomes in self.results:
            assert len(outcomes) == 2
            assert outcomes[0] == outcomes[1]
            assert job.architecture["a"] not in found  # each comes back once
            found[int(job.architecture["a"])] = outcomes[0].status
        return found

    def until_answer_from(self, node: str) -> None:
        """Poll until an item that was sent to a node is back."""
        while True:
            sent = {number for worker, numbers in self.door.sent for number in numbers
                    if self.door.processes[worker].node == node}  # fmt: skip
            if any(result.job.architecture["a"] in sent for result in self.results):
                return
            self.poll()
            assert self.door.now < 3600

    def until(self, is_so: Callable[[], bool]) -> None:
        """Poll until something is so."""
        while not is_so():
            self.poll()
            assert self.door.now < 3600

    def until_sent(self, number: int) -> int:
        """Poll until an item is with a worker; which one."""
        while True:
            for worker in self.dispatcher.workers:
                for chunk in worker.chunks.values():
                    if any(item.job.architecture["a"] == number for item in chunk.items):
                        return worker.id
            self.poll()
            assert self.door.now < 3600


def sendings(pool: Pool, number: int) -> list[list[int]]:
    """The chunks in which an item was sent."""
    return [numbers for _, numbers in pool.door.sent if number in numbers]
