"""Worker processes that are simulated on a clock of their own: they compute, crash, hang and lose their nodes."""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field
from typing import Any

from raynas import Architecture
from raynas.scoring.door import Answer, Broken, Event, Lost, Outgrown, Progress, Ready, Unanswered, Unfit, Unprepared
from raynas.space.results import Outcome

START_S, NOTICED_S, NODE_NOTICED_S, UNAVAILABLE_S, WAY_S = 3.0, 1.5, 10.0, 2.0, 0.001


NOWHERE = ""
"""The node of a process that waits for one."""


@dataclass
class Process:
    """One process, in its present life."""

    node: str
    avoided: frozenset[str] = frozenset()
    is_prepared: bool = False
    chunks: list[int] = field(default_factory=list)  # given to it, without an event yet
    free_at: float = 0.0
    spans: list[tuple[int, int, float, float]] = field(default_factory=list)  # chunk, item, from, until
    is_deaf: bool = False
    is_dead: bool = False  # which is noticed later


class SimulatedWorkers:
    """A `raynas.scoring.door.Door` to simulated processes.

    Args:
        cost: Of an architecture: the seconds that it takes, or what it does: "kill", "hog", "hang", "deaf", "break", or
            an Outcome, which takes no time.
    """

    def __init__(self, cost: Callable[[Any], float | str | Outcome]) -> None:
        self.cost = cost
        self.now = 0.0
        self.nodes = ["a"]
        self.device_types: defaultdict[str, str] = defaultdict(lambda: "AVX2")  # by node
        self.unfit_nodes: set[str] = set()  # that have another version of the code
        self.processes: dict[int, Process] = {}
        self.sent: list[tuple[int, list[Any]]] = []  # worker and architectures of each chunk
        self.beside: list[int] = []  # how many chunks each of them was sent behind
        self.outgrown: dict[int, Outgrown] = {}  # the word that a process has left for the next one
        self.kills: list[tuple[float, int]] = []
        self.starts: list[tuple[float, int]] = []
        self.started: set[int] = set()  # that have had a node
        self.left: list[tuple[float, int]] = []
        self.places = 1000  # for processes on each node
        self.gives_places_away = False  # whether a process that waits takes that of one that is lost
        self.seconds_on: defaultdict[str, float] = defaultdict(lambda: 1.0)  # by node, what a second of cost takes
        self.is_killing: Callable[[str], bool] = lambda node: False  # whether a node kills what starts to compute on it
        self.is_slow_to_return: set[int] = set()
        self.is_answer_lost: Callable[[], bool] = lambda: False
        self.delay: Callable[[int], float] = lambda chunk: 0.0  # of a chunk's answer on its way
        self._events: list[tuple[float, int, Event]] = []
        self._number = 0

    def clock(self) -> float:
        return self.now

    # -- the door ------------------------------------------------------------------------------------------------

    def join(self, avoided: Collection[str] = ()) -> int:
        number = len(self.processes)
        usable = [node for node in self.nodes if node not in avoided]
        self.processes[number] = Process(usable[number % len(usable)] if usable else NOWHERE, frozenset(avoided))
        return number

    def room(self, avoided: Collection[str] = ()) -> int:
        return self.places * len(set(self.nodes) - set(avoided))

    def start(self, worker: int) -> None:
        before = self.processes[worker]
        node = self._place(worker)
        self.processes[worker] = Process(node, before.avoided)
        if node == NOWHERE:  # until a node comes, or a place is free
            if worker in self.started:
                self._at(self.now + UNAVAILABLE_S, Lost(worker))  # it is said to be lost again and again
            return
        self.started.add(worker)
        self.starts.append((self.now, worker))
        seconds = 60.0 if worker in self.is_slow_to_return else START_S
        if node in self.unfit_nodes:
            self._at(self.now + seconds, Unfit(worker, node, f"host-{node}", "raynas is 1 there and 2 here"))
            return
        ready = Ready(worker, node, f"host-{node}", 100 + len(self.starts), self.device_types[node], seconds=seconds)
        self._at(self.now + seconds, ready)

    def send(self, worker: int, chunk: int, jobs: Sequence[tuple[Architecture, tuple[int, ...]]]) -> None:
        process = self.processes[worker]
        self.sent.append((worker, [architecture["a"] for architecture, _ in jobs]))
        self.beside.append(len(process.chunks))
        process.chunks.append(chunk)
        if process.is_dead:
            return
        if not process.is_prepared:
            self._at(self.now + WAY_S, Unprepared(worker, chunk))
            return
        began = time = max(self.now + WAY_S, process.free_at)
        outcomes: list[list[Outcome]] = []
        for item, (architecture, wanted) in enumerate(jobs):
            cost = self.cost(architecture)
            if self.is_killing(process.node):
                cost = "kill"
            seconds = cost if isinstance(cost, float) else math.inf if cost in ("hang", "deaf") else 0.0
            seconds *= self.seconds_on[process.node]
            process.spans.append((chunk, item, time, time + seconds))
            process.is_deaf |= cost == "deaf"
            time += seconds
            outcome = cost if isinstance(cost, Outcome) else Outcome(float(architecture["a"]), "ok")
            outcomes.append([outcome] * len(wanted))
            if cost in ("kill", "hog"):
                self._at(time + NOTICED_S, Lost(worker))
                if cost == "hog":
                    self.outgrown[worker] = Outgrown(3e9, 2e9)
                time = math.inf
            if time == math.inf:
                break
        process.free_at = time
        if time < math.inf:
            broken = any(self.cost(architecture) == "break" for architecture, _ in jobs)
            answer = Answer(worker, chunk, time - began, outcomes, time + WAY_S)
            arrives = time + WAY_S + self.delay(chunk)
            self._at(arrives, Broken(worker, chunk, "it broke") if broken else answer)

    def ask(self, worker: int) -> None:
        process = self.processes[worker]
        if self.is_answer_lost():
            self._at(self.now + WAY_S, Unanswered(worker))
            return
        running = [span for span in process.spans if span[2] <= self.now < span[3]]
        if running and running[0][3] == math.inf and process.is_deaf:
            return
        self._at(self.now, Progress(worker, (*running[0][:2], self.now - running[0][2]) if running else None))

    def receive(self, timeout_s: float) -> list[Event]:
        until = self.now + timeout_s
        first = min((time for time, *_ in self._events), default=math.inf)
        self.now = max(self.now, min(first, until))
        due = sorted(entry for entry in self._events if entry[0] <= self.now)
        self._events = [entry for entry in self._events if entry[0] > self.now]
        events: list[Event] = []
        lost: set[int] = set()
        for _, _, event in due:
            process = self.processes[event.worker]
            if event.worker in lost:
                continue
            if isinstance(event, Ready):  # it looks for word once it is prepared
                word = self.outgrown.pop(event.worker, None)
                event = event._replace(outgrown=word, outgrown_there=dict(self.outgrown))
            events.append(event)
            if isinstance(event, Ready):
                process.is_prepared = True
            elif isinstance(event, Lost):
                lost.add(event.worker)
                self._forget(event.worker)
            elif not isinstance(event, Progress | Unanswered | Unfit):
                process.chunks.remove(event.chunk)
        return events

    def kill(self, worker: int) -> None:
        self.kills.append((self.now, worker))
        self._lose(worker, NOTICED_S)

    def leave(self, worker: int) -> None:
        self._forget(worker)
        self.left.append((self.now, worker))
        self.processes[worker].node = NOWHERE
        self._place_waiting()

    def is_there(self) -> bool:
        return True

    def is_alive(self, node: str) -> bool:
        return node in self.nodes

    def why_waiting(self, missing: int, of: int) -> str:
        return f"waiting for {missing} of {of} workers, {len(self.alive())} placed"

    # -- where they are ------------------------------------------------------------------------------------------

    def add_node(self, node: str) -> None:
        """A node joins; what waits for one starts there."""
        self.nodes.append(node)
        self._place_waiting()

    def alive(self) -> list[int]:
        """Processes that have a node."""
        return [worker for worker, process in self.processes.items() if process.node != NOWHERE]

    def _place(self, worker: int) -> str:
        process = self.processes[worker]
        taken = Counter(other.node for number, other in self.processes.items() if number != worker)
        usable = [one for one in self.nodes if one not in process.avoided and taken[one] < self.places]
        return process.node if process.node in usable else usable[0] if usable else NOWHERE

    def _place_waiting(self, those: Collection[int] | None = None) -> None:
        gone = {worker for _, worker in self.left}
        for worker, process in self.processes.items():
            if those is not None and worker not in those:
                continue
            if process.node == NOWHERE and worker not in gone and self._place(worker) != NOWHERE:
                self._forget(worker)
                self.start(worker)

    # -- what befalls them ---------------------------------------------------------------------------------------

    def lose_node(self, node: str) -> None:
        """A node is gone; it is noticed later, by those that wait for its workers."""
        self.nodes.remove(node)
        for worker, process in self.processes.items():
            if process.node == node:
                self._lose(worker, NODE_NOTICED_S)

    def lose(self, worker: int) -> None:
        """A process is killed from outside."""
        self._lose(worker, NOTICED_S)

    def _lose(self, worker: int, noticed_s: float) -> None:
        process = self.processes[worker]
        self._events = [entry for entry in self._events if entry[2].worker != worker]
        starting = not process.is_prepared
        process.is_prepared = False
        if self.gives_places_away:
            process.node = NOWHERE
            waiting = {number for number, one in self.processes.items() if one.node == NOWHERE} - {worker}
            self._place_waiting(waiting)
        if process.chunks or starting:
            process.is_dead = True
            self._at(self.now + noticed_s, Lost(worker))

    def _forget(self, worker: int) -> None:
        self._events = [entry for entry in self._events if entry[2].worker != worker]
        self.processes[worker].chunks.clear()

    def _at(self, time: float, event: Event) -> None:
        self._number += 1
        self._events.append((time, self._number, event))
