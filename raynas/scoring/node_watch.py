"""Which nodes of a cluster are of no use: those that differ, and those that lose workers again and again."""

from __future__ import annotations

from collections import Counter

_LOST_IN_A_ROW = 5
_CHANCE = 1e-6


class NodeWatch:
    """Counts what each node computes, and the workers that it loses.

    An item that kills its workers does so wherever it is computed, and is computed on several nodes where there are
    several. So a node is to blame if it loses worker after worker, and if losses are so rare on the others that this is
    no chance.

    Attributes:
        avoided: Ids of the nodes that are not used any more.
    """

    def __init__(self) -> None:
        self.avoided: set[str] = set()
        self._computed = Counter[str]()  # chunks
        self._lost = Counter[str]()
        self._lost_in_a_row = Counter[str]()

    def computed(self, node: str) -> None:
        """A worker on a node has computed a chunk."""
        self._computed[node] += 1
        self._lost_in_a_row[node] = 0

    def is_broken(self, node: str) -> bool:
        """A worker on a node is lost: whether it is one too many."""
        self._lost[node] += 1
        self._lost_in_a_row[node] += 1
        computed = self._computed.total() - self._computed[node]
        lost = self._lost.total() - self._lost[node]
        in_a_row, share = self._lost_in_a_row[node], (lost + 1) / (lost + computed + 2)
        return computed > 0 and in_a_row >= _LOST_IN_A_ROW and share**in_a_row < _CHANCE
