"""A searcher that asks for a list of architectures, in order; it is what `raynas score` runs."""

from __future__ import annotations

from collections.abc import Sequence

from raynas.space.architecture import Architecture
from raynas.space.results import Candidate, Evaluation


class GivenArchitectures:
    """Asks for each architecture of a list once, and learns nothing.

    Args:
        architectures: What is asked for, in this order.
    """

    def __init__(self, architectures: Sequence[Architecture]) -> None:
        self._architectures = architectures
        self._asked = 0

    def ask(self, n: int) -> list[Candidate]:
        """The next n, fewer at the end."""
        start = self._asked
        self._asked = min(start + n, len(self._architectures))
        return [Candidate(i, self._architectures[i]) for i in range(start, self._asked)]

    def tell(self, evaluations: Sequence[Evaluation]) -> None:
        """Nothing is learned."""
