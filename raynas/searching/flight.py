"""The order in which a searcher is asked and told, whatever evaluates: the same for every run."""

from __future__ import annotations

from collections import deque

from raynas.searchers.base import Searcher
from raynas.space.results import Candidate, Evaluation


class Flight:
    """The candidates that are asked and not yet told.

    Candidate k, from 0, is asked when exactly max(0, k - window + 1) evaluations have been told, and evaluations are
    told one at a time, in the order of the candidates: so a searcher's course depends on no clock and no worker. Where
    it returns fewer than wanted, it is asked again after each evaluation.

    Args:
        searcher: Who is asked and told.
        budget: Evaluations to be told.
        window: The most candidates at a time.

    Attributes:
        told: How many evaluations have been told.
    """

    def __init__(self, searcher: Searcher, budget: int, window: int) -> None:
        self._searcher = searcher
        self._budget = budget
        self._window = window
        self._awaited: deque[Candidate] = deque()
        self.told = 0

    def ask(self) -> list[Candidate]:
        """Ask for as many as the window has room for; returns those, which may be fewer, or none."""
        wanted = min(self._budget, self.told + self._window) - self.told - len(self._awaited)
        asked = self._searcher.ask(wanted) if wanted else []
        self._awaited.extend(asked)
        return asked

    @property
    def first(self) -> Candidate | None:
        """The candidate whose evaluation is to be told next; None if the searcher has none."""
        return self._awaited[0] if self._awaited else None

    def tell(self, evaluation: Evaluation) -> None:
        """Tell the evaluation of the first one."""
        self._awaited.popleft()
        self._searcher.tell([evaluation])
        self.told += 1
