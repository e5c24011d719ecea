"""What share of their time do workers work, as their number grows: real ones that only wait, and simulated ones?

    python benchmarks/scaling.py [--workers 2 16 64] [--evaluations 100] [--simulated 1000 10000] [--quick]

Real: actors without torch carry out evaluations that wait for 0.5 to 2 s, random searcher, default window, so many
evaluations a worker. Counted is the time from the moment when every worker has answered once to the last result told,
end of the run included; start-up is told apart. Expected: an efficiency of at least 0.95 with 2, 16 and 64 workers on
two cores.

Simulated: the pool's own dispatcher and the run's order of asking and telling, on a door of simulated workers in
virtual time. What the driver does costs virtual time, too: the dispatcher's own code as long as it takes here; each
look at what has come back, each evaluation and each chunk what two real runs say that they take, one in which
evaluations travel alone and one in which they come by the hundred. Expected: at least 0.98 with 1,000 workers; with
10,000 the driver is too slow, and the figure says how much.
"""

from __future__ import annotations

import argparse
import heapq
import os
import tempfile
import time
from collections import deque
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
from timing import hardware

from raynas import Architecture
from raynas.scoring.dispatcher import Dispatcher
from raynas.scoring.door import Answer, Event, Ready
from raynas.scoring.pool import Job, Waiting
from raynas.scoring.task import Output
from raynas.searching.config import RunConfig
from raynas.searching.plan import plan_of_task
from raynas.searching.ranking import Ranking
from raynas.searching.run import SearchListener, execute
from raynas.searching.scores import Score
from raynas.searching.windows import default_window
from raynas.space.registered import spaces
from raynas.space.results import Evaluation, Outcome, ScoreIdentity, Status

SHORTEST_S, LONGEST_S = 0.5, 2.0
EXPECTED_REAL, EXPECTED_SIMULATED = 0.95, 0.98
MINIMUM_CHUNK_S = 0.0003  # what sending and receiving takes at least, where the disk hides what is computed
CALIBRATED = 3000  # evaluations that say what one of them takes the driver
OUTPUTS = ("process", "began", "ended")


def seconds_of(architecture: Architecture) -> float:
    """How long an evaluation waits: uniform between the shortest and the longest, by the architecture alone."""
    return SHORTEST_S + (LONGEST_S - SHORTEST_S) * int(architecture.key[:8], 16) / 16**8


@dataclass(frozen=True)
class Waits:
    """Waits, and says in which process, from when and until when, by the clock that processes of a machine share.

    Args:
        factor: Multiplies how long it waits.
        device, threads, uses_torch: See `raynas.scoring.task`.
    """

    factor: float = 1.0
    device: str = "cpu"
    threads: int = 1
    uses_torch: bool = False

    @property
    def outputs(self) -> list[list[Output]]:
        """Three values."""
        return [[Output(name, True) for name in OUTPUTS]]

    @property
    def own_code(self) -> list[Callable[..., object]]:
        """What workers could not import."""
        return [type(self), seconds_of]

    def evaluator(self) -> Callable[[Architecture, Sequence[int]], list[Outcome]]:
        """A function, as nothing has to be kept."""
        return self.evaluated

    def evaluated(self, architecture: Architecture, wanted: Sequence[int]) -> list[Outcome]:
        """The values."""
        began = time.monotonic()
        if self.factor:
            time.sleep(self.factor * seconds_of(architecture))
        return [Outcome(float(value), Status.OK) for value in (os.getpid(), began, time.monotonic())]


class Clock(SearchListener):
    """What was evaluated where and when."""

    def __init__(self) -> None:
        self.spans: list[tuple[float, float, float]] = []
        self.ended = 0.0

    def on_tell(self, evaluation: Evaluation, told: int, ranking: Ranking) -> None:
        """Note it."""
        self.spans.append((evaluation.scores["process"], evaluation.scores["began"], evaluation.scores["ended"]))
        self.ended = time.monotonic()

    def efficiency(self, workers: int) -> tuple[float, float, float]:
        """The share of their time that workers have worked, how long that was, and when all had answered once."""
        answered: dict[float, float] = {}
        for process, _, ended in self.spans:
            answered[process] = min(ended, answered.get(process, ended))
        assert len(answered) == workers, f"{len(answered)} of {workers} workers have answered"
        since = max(answered.values())
        worked = sum(max(0.0, ended - max(began, since)) for _, began, ended in self.spans)
        return worked / (workers * (self.ended - since)), self.ended - since, since


def searched(
    budget: int, workers: int, task: Waits, listener: SearchListener, window: int | None = None
) -> dict[str, float]:
    """A search whose evaluations wait; what the driver's time went to."""
    space, size = spaces.get("as-vit"), {"img_size": 64, "num_classes": 10}
    scores = tuple(
        Score(name, ScoreIdentity(space.name, **size, model_version=space.model_version, proxy=name), True, 0)
        for name in OUTPUTS
    )
    asked = {
        "space": space.name, **size, "objectives": ["ended"], "searcher": "random", "budget": budget,
        "workers": workers, "worker_memory_gib": 2.0, "window": window,
    }  # fmt: skip

    def make_task(device: str, threads: int) -> Waits:
        return task

    with tempfile.TemporaryDirectory() as folder:
        plan = plan_of_task(RunConfig.make(asked), space, scores, make_task)
        return dict(execute(plan, Path(folder) / "run", listener=listener)["driver_seconds"])


def real(workers: int, evaluations: int) -> tuple[float, float, float]:
    """A search with so many workers: its efficiency, the seconds that it is of, and seconds of start-up."""
    clock, started = Clock(), time.monotonic()
    searched(workers * evaluations, workers, Waits(), clock)
    efficiency, seconds, since = clock.efficiency(workers)
    return efficiency, seconds, since - started


class DriverTime(SearchListener):
    """How often a driver looks at what has come back, and what its own thread computes from the first result on."""

    def __init__(self) -> None:
        self.looks = 0
        self.first = self.last = 0.0

    def on_waiting(self, waiting: Waiting | None) -> None:
        """Note it."""
        self.looks += 1
        self.last = time.thread_time()
        self.first = self.first or self.last


class DriverCosts(NamedTuple):
    """Seconds of the driver."""

    look: float  # for each look at what has come back: a part is written to disk
    evaluation: float  # asking, storing, telling
    chunk: float  # Ray's calls for it, in the driver's own thread


def driver_costs(budget: int) -> DriverCosts:
    """What two runs say that do not wait: one whose evaluations travel alone, and one with large chunks."""
    rows = []
    for window in (4, 1024):
        taken = DriverTime()
        parts = searched(budget, 2, Waits(factor=0.0), taken, window=window)
        own = sum(parts[name] for name in ("ask", "dispatch", "store", "tell", "report"))
        rows.append((taken.looks, budget, own, taken.last - taken.first))
    (looks, number, own, computed), (looks_many, _, own_many, _) = rows
    look = max(0.0, (own - own_many) / (looks - looks_many))
    evaluation = max(0.0, own_many - look * looks_many) / number
    # Of what the thread computes, the rest is Ray's; writing waits for the disk, which is no computing.
    return DriverCosts(look, evaluation, max(0.0, computed - own) / number + MINIMUM_CHUNK_S)


class SimulatedDoor:
    """A `raynas.scoring.door.Door` to workers in virtual time, in which the driver's own work takes its time, too.

    Args:
        chunk_s: Seconds of the driver for each chunk, beside the dispatcher's own code.
    """

    def __init__(self, chunk_s: float) -> None:
        self._chunk_s = chunk_s
        self.now = 0.0
        self.worked = 0.0
        self.busy = 0.0
        self._free_at: list[float] = []
        self._events: list[tuple[float, int, Event]] = []
        self._number = 0
        self._since = time.perf_counter()

    def clock(self) -> float:
        """Virtual time, with what the driver has worked since it was looked at last."""
        now = time.perf_counter()
        self.work(now - self._since)
        self._since = now
        return self.now

    def work(self, seconds: float) -> None:
        """The driver has something to do for so long."""
        self.now += seconds
        self.busy += seconds

    def join(self, avoided: Collection[str] = ()) -> int:
        """One more worker, which is ready at once."""
        self._free_at.append(0.0)
        return len(self._free_at) - 1

    def start(self, worker: int) -> None:
        """It is ready."""
        self._at(self.now, Ready(worker, f"node{worker // 8}", "", worker, "AVX2"))

    def send(self, worker: int, chunk: int, jobs: Sequence[tuple[Architecture, tuple[int, ...]]]) -> None:
        """It works on the chunk when it has done those before."""
        self.clock()
        self.work(self._chunk_s)
        seconds = sum(seconds_of(architecture) for architecture, _ in jobs)
        began = max(self.now, self._free_at[worker])
        self._free_at[worker] = began + seconds
        self.worked += seconds
        outcomes = [[Outcome(0.0, Status.OK)]] * len(jobs)
        self._at(began + seconds, Answer(worker, chunk, seconds, outcomes, began + seconds))

    def receive(self, timeout_s: float) -> list[Event]:
        """What has happened until now, after waiting for something."""
        self.clock()
        if self._events and self._events[0][0] > self.now:
            self.now = min(self._events[0][0], self.now + timeout_s)
        found = []
        while self._events and self._events[0][0] <= self.now:
            found.append(heapq.heappop(self._events)[2])
        self._since = time.perf_counter()
        return found

    def _at(self, moment: float, event: Event) -> None:
        self._number += 1
        heapq.heappush(self._events, (moment, self._number, event))

    def ask(self, worker: int) -> None:
        """Nothing takes long enough to be asked for."""

    def kill(self, worker: int) -> None:
        """Nothing is killed."""

    def leave(self, worker: int) -> None:
        """It ends."""

    def is_there(self) -> bool:
        """It is."""
        return True

    def is_alive(self, node: str) -> bool:
        """All are."""
        return True

    def room(self, avoided: Collection[str] = ()) -> int:
        """As much as one likes."""
        return 1_000_000

    def why_waiting(self, missing: int, of: int) -> str:
        """Nothing waits."""
        return ""


def simulated(workers: int, evaluations: int, costs: DriverCosts) -> tuple[float, float]:
    """A run with so many simulated workers.

    Args:
        workers: How many.
        evaluations: How many for each of them.
        costs: What the driver does beside the dispatcher's own code.

    Returns:
        The share of their time that workers have worked, and the share of it in which the driver was busy.
    """
    rng, budget = np.random.default_rng(0), workers * evaluations
    drawn = [spaces.get("as-vit").sample(rng) for _ in range(min(budget, 20_000))]
    window = default_window(None, workers, budget).size
    door = SimulatedDoor(costs.chunk)
    pool = Dispatcher(door, window=window, clock=door.clock)
    for _ in range(workers):
        pool.join()
    pool.device_type()
    while sum(worker.is_ready for worker in pool.workers) < workers:
        pool.poll(0.0)
    began, door.busy = door.clock(), 0.0
    waiting: deque[Job] = deque()
    done: set[int] = set()
    asked = told = 0
    while told < budget:
        for _ in range(min(budget, told + window) - asked):
            job = Job(drawn[asked % len(drawn)], (0,), 1)
            waiting.append(job)
            pool.submit(job)
            asked += 1
        done.update(id(result.job) for result in pool.poll(0.5))
        before = told
        while waiting and id(waiting[0]) in done:
            done.remove(id(waiting.popleft()))
            told += 1
        door.work(costs.look + costs.evaluation * (told - before))
    seconds = door.clock() - began
    return door.worked / (workers * seconds), door.busy / seconds


def main() -> None:
    """Run and print both."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--workers", type=int, nargs="*", default=[2, 16, 64])
    parser.add_argument("--evaluations", type=int, default=100)
    parser.add_argument("--simulated", type=int, nargs="*", default=[1000, 10_000])
    parser.add_argument("--quick", action="store_true", help="a small setting, to see that the script works")
    arguments = parser.parse_args()
    workers, evaluations = ([2], 6) if arguments.quick else (arguments.workers, arguments.evaluations)
    print(hardware())
    for number in workers:
        efficiency, seconds, start_s = real(number, evaluations)
        met = "met" if efficiency >= EXPECTED_REAL else "NOT met"
        print(
            f"{number} real workers: efficiency {efficiency:.3f} (at least {EXPECTED_REAL}: {met}) over {seconds:.0f} s"
        )
        print(f"{number} real workers: all had answered once after {start_s:.1f} s")
    costs = driver_costs(CALIBRATED // 10 if arguments.quick else CALIBRATED)
    each_costs = [f"{1000 * seconds:.2f} ms for each {name}" for name, seconds in costs._asdict().items()]
    print("the driver:", ", ".join(each_costs))
    for number in [20] if arguments.quick else arguments.simulated:
        each = evaluations if number <= 1000 else max(1, evaluations // 5)
        efficiency, busy = simulated(number, each, costs)
        met = "met" if efficiency >= EXPECTED_SIMULATED else "NOT met"
        print(
            f"{number} simulated workers: efficiency {efficiency:.3f} (at least {EXPECTED_SIMULATED}: {met}) with "
            f"{each} evaluations each, the driver busy for {busy:.0%} of the time"
        )


if __name__ == "__main__":
    main()
