"""The ask/tell protocol that all searchers follow."""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple, Protocol

import numpy as np

from raynas.errors import ConfigError
from raynas.space.architecture import Architecture
from raynas.space.results import Candidate, Constraint, Evaluation, Objective
from raynas.space.search_space import SearchSpace


class SearchProgress(NamedTuple):
    """How far a search has come, where its budget does not say it."""

    text: str
    share: float  # of the way to its end, from 0 to 1


class Searcher(Protocol):
    """Decides which architectures to evaluate; sees no Ray, torch, file or clock.

    Equal constructor arguments and equal sequences of calls give equal candidates. Asking for n at once and n times for
    one are the same.

    A searcher may offer more, such as a recommendation: `raynas.searchers.protocols` lists what is used where it is
    there.
    """

    def ask(self, n: int) -> list[Candidate]:
        """Up to n candidates, with ids that count from 0; fewer while results are awaited or when none are left."""
        ...

    def tell(self, evaluations: Sequence[Evaluation]) -> None:
        """Take in results of candidates asked before: in any order, any subset, failed and infeasible ones too.

        Raises:
            ValueError: An id was never asked, or was told before.
        """
        ...


class SearcherClass(Protocol):
    """What is registered: makes a searcher. Keywords beyond these are the searcher's settings, with defaults."""

    default_window: int
    """Candidates in flight, unless the user says otherwise or there are many workers."""
    is_multi_objective: bool
    """Accepts several objectives."""
    advised_budget: int | None
    """Evaluations beyond which it becomes slow; None: no such number."""
    __doc__: str | None

    def __call__(
        self,
        space: SearchSpace,
        objectives: tuple[Objective, ...],
        constraints: tuple[Constraint, ...] = (),
        *_: Any,  # stands for the keywords: a checker takes any of them only where any arguments are taken
        **settings: Any,
    ) -> Searcher:
        """Make a searcher; all arguments from `seed` on are keywords.

        Args:
            space: The space whose architectures are searched.
            objectives: Scores to be maximised or minimised: at least one, unless the searcher learns nothing.
            constraints: Bounds on costs and scores; evaluations say by how much they are violated.
            seed: Seed that all draws of the searcher follow from.
            admits: Whether an architecture meets the constraints on costs, which are known before scoring. A searcher
                avoids others where it can; one that is asked all the same is told infeasible without being scored.
            settings: The searcher's own settings, which all have defaults.
        """
        ...


def own_settings(searcher: SearcherClass) -> dict[str, Any]:
    """The settings of a searcher beyond those that all searchers have, with their defaults, by name."""
    parameters = inspect.signature(searcher).parameters.values()
    return {p.name: p.default for p in parameters if p.kind is p.KEYWORD_ONLY and p.name not in ("seed", "admits")}


class OpenCandidates:
    """Which candidates were asked and not yet told."""

    def __init__(self) -> None:
        self.num_asked = 0
        self._open: set[int] = set()

    def request(self, architecture: Architecture) -> Candidate:
        """The candidate with the next id for an architecture that is asked; it is open until its result comes."""
        candidate = Candidate(self.num_asked, architecture)
        self._open.add(candidate.id)
        self.num_asked += 1
        return candidate

    def receive(self, evaluations: Sequence[Evaluation]) -> None:
        """Close the candidates of these evaluations: all, or none where one is refused.

        Raises:
            ValueError: An id was never asked, or was told before.
        """
        closed: set[int] = set()
        for evaluation in evaluations:
            if not 0 <= evaluation.id < self.num_asked:
                raise ValueError(f"id {evaluation.id} was never asked; ids so far: 0 to {self.num_asked - 1}")
            if evaluation.id not in self._open or evaluation.id in closed:
                raise ValueError(f"id {evaluation.id} was told before")
            closed.add(evaluation.id)
        self._open -= closed


class Unseen:
    """Architectures that were not asked before and that the constraints on costs admit.

    Draws have the distribution of `space.sample`, repeated until a new architecture comes. Where the decisions have few
    combinations they are walked in a random order, so that the last ones are found at once and the end is known.

    Args:
        space: The space whose architectures are drawn.
        rng: Generator that all draws come from.
        admits: Says whether an architecture meets the constraints on costs; None: all do.

    Attributes:
        is_exhausted: Whether a draw has found nothing; a searcher that asks for several at once then stops for good,
            as one that asks for each by itself does.
    """

    max_combinations = 100_000  # walked within seconds, also where hardly any is admitted
    max_tries = 20_000
    _block = 1024

    def __init__(
        self, space: SearchSpace, rng: np.random.Generator, admits: Callable[[Architecture], bool] | None
    ) -> None:
        self._space = space
        self._rng = rng
        self._admits = admits
        self._seen: set[bytes] = set()
        self._draws = self._drawn()
        self.is_exhausted = False

    def draw(self) -> Architecture | None:
        """A new architecture, seen from now on; None, then and ever after, if none can be found."""
        tries = 0
        while not self.is_exhausted:
            numbers = next(self._draws, None)
            self.is_exhausted = numbers is None or tries == self.max_tries
            if numbers is not None and self.claim(architecture := self._space.decode(numbers)):
                self.is_exhausted = False
                return architecture
            tries += 1
        return None

    def claim(self, architecture: Architecture) -> bool:
        """Whether an architecture is new and admitted; if so it is seen from now on."""
        key = bytes.fromhex(architecture.key)
        if key in self._seen or (self._admits is not None and not self._admits(architecture)):
            return False
        self._seen.add(key)
        return True

    def __contains__(self, architecture: Architecture) -> bool:
        return bytes.fromhex(architecture.key) in self._seen

    def _drawn(self) -> Iterator[Sequence[int]]:
        num_options = [len(decision.options) for decision in self._space.decisions]
        combinations = math.prod(num_options)
        if combinations <= self.max_combinations:
            order = self._rng.permutation(combinations)
            for start in range(0, combinations, self._block):
                block = order[start : start + self._block]
                # Without decisions there is one combination, of no numbers.
                yield from np.transpose(np.unravel_index(block, num_options)).tolist() if num_options else [[]]
        else:
            while True:
                yield from self._space.drawn_options(self._rng, self._block).tolist()


def oriented_values(objectives: Sequence[Objective], evaluation: Evaluation) -> list[float] | None:
    """The objectives' values of a candidate, in their order, with signs such that higher is better.

    Args:
        objectives: The scores to be maximised or minimised.
        evaluation: What the searcher is told of the candidate.

    Returns:
        One finite number for each objective; None unless all of them have such values.
    """
    if not evaluation.is_ok or any(objective.name not in evaluation.scores for objective in objectives):
        return None
    values = [float(objective.oriented(evaluation.scores)) for objective in objectives]
    return values if all(map(math.isfinite, values)) else None


def relative_violations(constraints: Sequence[Constraint], evaluation: Evaluation) -> dict[str, float]:
    """How far a candidate violates each constraint, in units of the constraint's bound.

    Args:
        constraints: Bounds on costs and scores.
        evaluation: What the searcher is told of the candidate.

    Returns:
        By the constraint's text, a number that is positive where the constraint is violated, and 0 where it holds or
        its score is unknown.
    """
    amounts: dict[str, float] = {}
    for constraint in constraints:
        amount = evaluation.violations.get(str(constraint), 0.0)
        # The least violation of a strict bound stays one after the division.
        least = math.ulp(0.0) if amount > 0 else 0.0
        amounts[str(constraint)] = max(amount / (abs(constraint.bound) or 1.0), least)
    return amounts


def check_number(name: str, value: float, low: float, high: float) -> None:
    """Refuse a setting that is not a number within some range.

    Args:
        name: What the setting is called in the message.
        value: The value given for it.
        low: The smallest number allowed.
        high: The largest number allowed.

    Raises:
        ConfigError: The value is of another kind; the message names the setting.
    """
    is_number = isinstance(value, int | float | np.number) and not isinstance(value, bool)
    if not is_number or not low <= value <= high:
        raise ConfigError(f"{name} is a number from {low:g} to {high:g}, not {value!r}")
