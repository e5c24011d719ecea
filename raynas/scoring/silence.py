"""Nodes from which nothing comes while they have work: noticed, and said, before Ray gives them up."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable

from raynas.scoring.door import Door
from raynas.scoring.states import PoolWorker, WorkerState
from raynas.wording import duration, plural

_ASKED_AFTER_S = 5.0
_SAID_AFTER_S = 10.0  # twice as long before each further line


class SilenceWatch:
    """Asks a worker of each node that has been silent, and says which nodes do not even answer that.

    Ray gives up a node that is cut off after a minute by its own settings. Until then its candidates are in flight, and
    a search whose window is full of them stands still.

    Args:
        door: The door to the processes that evaluate.
        log: Called with lines for people.
        clock: Seconds that only grow.
    """

    def __init__(self, door: Door, log: Callable[[str], None], clock: Callable[[], float]) -> None:
        self._door = door
        self._log = log
        self._clock = clock
        self._heard: dict[str, float] = {}  # when something came last, by node
        self._said_after: dict[str, float] = {}  # seconds of silence that were said last, by node

    def heard(self, worker: PoolWorker) -> None:
        """Something has come from a worker."""
        if worker.node is None:
            return
        now = self._clock()
        if worker.node in self._said_after:
            silent = duration(now - self._heard[worker.node])
            self._log(f"node {worker.node[:8]} ({worker.host}) answers again, after {silent}")
            del self._said_after[worker.node]
        self._heard[worker.node] = now

    def look(self, workers: Iterable[PoolWorker]) -> None:
        """Ask where there is silence, and say where nothing comes back.

        Args:
            workers: All that have not ended.
        """
        busy: defaultdict[str, list[PoolWorker]] = defaultdict(list)
        for worker in workers:
            if worker.state is WorkerState.BUSY and worker.node is not None:
                busy[worker.node].append(worker)
        self._said_after = {node: seconds for node, seconds in self._said_after.items() if node in busy}
        now = self._clock()
        for node, there in busy.items():
            began = min(next(iter(worker.chunks.values())).sent for worker in there)
            self._heard[node] = max(self._heard.get(node, began), began)
            silent = now - self._heard[node]
            if silent < _ASKED_AFTER_S:
                continue
            if all(worker.asked_since is None for worker in there):
                there[0].asked_since = now
                self._door.ask(there[0].id)
            elif silent >= max(_SAID_AFTER_S, 2 * self._said_after.get(node, 0.0)):
                self._said_after[node] = silent
                self._log(self._in_words(node, there, silent))

    def _in_words(self, node: str, there: list[PoolWorker], silent: float) -> str:
        items = sum(len(chunk.items) for worker in there for chunk in worker.chunks.values())
        counted = plural(items, "candidate is", "candidates are")
        return (
            f"node {node[:8]} ({there[0].host}) has not answered for {duration(silent)}: it may be cut off, or code "
            f"there lets nothing else run; {counted} there, and scored elsewhere once Ray gives the node up, or the "
            "time limit is over"
        )
