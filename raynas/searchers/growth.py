"""Auto-scaling: a topology grown block by block in depth and width, as in As-ViT (Chen 2022, arXiv 2202.11921)."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Sequence
from typing import ClassVar, NamedTuple

from raynas.config import check_count
from raynas.errors import ConfigError, SpaceError
from raynas.searchers.base import OpenCandidates, SearchProgress, check_number, oriented_values
from raynas.searchers.protocols import GrowthState
from raynas.searchers.registered import check_objectives, searchers
from raynas.space.architecture import Architecture
from raynas.space.cost import COSTS
from raynas.space.growth import Growth
from raynas.space.registered import spaces
from raynas.space.results import Candidate, Constraint, Evaluation, Objective
from raynas.space.search_space import SearchSpace
from raynas.wording import rounded


class _Grown(NamedTuple):
    architecture: Architecture
    change: str


@searchers.register("growth")
class AutoScaling:
    """Grows one architecture: each step adds a block to one stage and widens all, and keeps the best combination.

    A step's candidates are {one more block in stage i} x {the width times 1 + rate, rounded half away from zero in the
    space's units}, the widest first; equal widths count once, and a width may stay as it was. The chosen one has the
    smallest sum over objectives of its dense ranks among the step's candidates. Candidates that the space's grammar or
    the constraints on costs refuse are not asked, and those that fail or violate a constraint are not chosen. Growth
    ends at the stop, after `max_steps`, or with a step that leaves nothing to choose. The start itself is candidate 0,
    so that every member of the family has scores. Nothing is drawn, so the seed changes nothing.

    Differences from the published code, which looks at the first two of a tie only, and takes the lowest value also of
    a score that is better when higher. Our choice, among all that share the smallest sum: the score whose values in
    this step have the largest relative range, (max - min) / max |value|, decides in its own direction; then fewer
    parameters; then the candidate asked first.

    Args:
        space, objectives, constraints, seed, admits: What every searcher takes; see `SearcherClass`.
            The space says how it grows.
        start: The architecture that growth starts from, as JSON, the space's own text, or a published name.
        rates: Shares of the width by which a step may widen; 0.05 adds a twentieth.
        stop: A lower bound on a cost, such as num_params>=80e6; the first state that meets it is the last. "": none.
        max_steps: The largest number of steps; None: no such bound.

    Raises:
        ConfigError: The space does not grow, the start's width is no multiple of its unit, a setting is out of its
            range, or a constraint keeps the stop from being met.
        SpaceError: The start cannot be read or built.
    """

    default_window = 64
    is_multi_objective = True
    advised_budget: ClassVar[int | None] = None

    def __init__(
        self,
        space: SearchSpace,
        objectives: tuple[Objective, ...],
        constraints: tuple[Constraint, ...] = (),
        *,
        seed: int = 0,
        admits: Callable[[Architecture], bool] | None = None,
        start: str = "",
        rates: Sequence[float] = (0.05, 0.10, 0.15, 0.20),
        stop: str = "",
        max_steps: int | None = None,
    ) -> None:
        check_objectives(objectives, several=True)
        if max_steps is not None:
            check_count("max_steps", max_steps, 1)
        self._space = space
        self._growth = growth_of(space)
        self._objectives = objectives
        self._admits = admits
        self._rates = _checked_rates(rates)
        self._stop = _checked_stop(stop, constraints)
        self._max_steps = max_steps
        self._open_candidates = OpenCandidates()
        self.start = self._read_start(start)
        self._family: list[GrowthState] = []
        self._step: list[_Grown] = []  # candidates of the current step
        self._first = 0  # the number of its first one
        self._to_ask: deque[_Grown] = deque()
        self._told: dict[int, Evaluation] = {}
        self._begin([_Grown(self.start, "start")])

    def ask(self, n: int) -> list[Candidate]:
        """Up to n candidates of the current step; none while its results are awaited, or when growth has ended."""
        count = min(n, len(self._to_ask))
        return [self._open_candidates.request(self._to_ask.popleft().architecture) for _ in range(count)]

    def tell(self, evaluations: Sequence[Evaluation]) -> None:
        """Take in results; with the last one of a step the step is decided, and the next one begins.

        Raises:
            ValueError: An id was never asked, or was told before.
        """
        self._open_candidates.receive(evaluations)
        self._told.update((evaluation.id, evaluation) for evaluation in evaluations)
        if self._step and len(self._told) == len(self._step):
            self._decide([self._told[number] for number in sorted(self._told)])

    def family(self) -> list[GrowthState]:
        """The start and what each step chose, in order."""
        return list(self._family)

    @property
    def is_complete(self) -> bool:
        """Whether growth ended where it was told to."""
        return bool(self._family) and self._is_at_end(self._family[-1])

    def progress(self) -> SearchProgress:
        """The step, and how far its state is on the way to the end.

        The way to a stop is measured in its square root, about a width: steps multiply costs, and take ever longer.
        """
        if not self._family:
            return SearchProgress("start", 0.0)
        first, last = self._family[0], self._family[-1]
        text = f"step {last.step + bool(self._step)}"
        share = last.step / self._max_steps if self._max_steps is not None else 0.0
        if self._stop is not None and (now := last.evaluation.scores.get(self._stop.name)):
            text += f", {self._stop.name} {rounded(now)} of {rounded(self._stop.bound)}"
            start, end = (math.sqrt(value) for value in (first.evaluation.scores[self._stop.name], self._stop.bound))
            share = max(share, (math.sqrt(now) - start) / (end - start) if end > start else 1.0)
        if last.step and self._step:
            share += share / last.step * len(self._told) / len(self._step)
        return SearchProgress(text, min(share, 1.0))

    def _begin(self, step: list[_Grown]) -> None:
        self._step = step
        self._first = self._open_candidates.num_asked
        self._to_ask = deque(step)
        self._told = {}

    def _decide(self, evaluations: Sequence[Evaluation]) -> None:
        # The start is what it is, however it scores.
        chosen = evaluations[0] if not self._family else best_by_rank_sum(self._objectives, evaluations)
        if chosen is None:
            self._begin([])
            return
        asked = (self._first, self._first + len(self._step))
        change = self._step[chosen.id - self._first].change
        self._family.append(GrowthState(len(self._family), chosen, change, asked))
        self._begin([] if self._is_at_end(self._family[-1]) else self._grown(chosen.architecture))

    def _is_at_end(self, state: GrowthState) -> bool:
        if self._max_steps is not None and state.step >= self._max_steps:
            return True
        scores = state.evaluation.scores
        return self._stop is not None and self._stop.name in scores and self._stop.violation(scores) == 0

    def _grown(self, architecture: Architecture) -> list[_Grown]:
        """What can grow out of an architecture in one step."""
        growth, before = self._growth, self._growth.width_of(architecture)
        widths = dict.fromkeys(growth.widened(architecture, rate) for rate in self._rates)
        has_stages = isinstance(architecture[growth.depth], tuple)
        found = []
        # The widest take longest: asked first, they leave the short ones for actors to end the step together.
        for widened in sorted(widths, key=growth.width_of, reverse=True):
            width = growth.width_of(widened)
            for stage in range(len(growth.depths(architecture))):
                change = f"{growth.depth}[{stage}]+1" if has_stages else f"{growth.depth}+1"
                if width != before:
                    change += f", {growth.width} {before} -> {width}"
                try:
                    candidate = growth.deepened(self._space.fields, widened, stage)
                    self._space.validate(candidate)
                except SpaceError:
                    continue
                if self._admits is None or self._admits(candidate):
                    found.append(_Grown(candidate, change))
        return found

    def _read_start(self, text: str) -> Architecture:
        if not text:
            raise ConfigError("growth needs an architecture to start from: searcher.start")
        start = self._space.read(text)
        width, unit = self._growth.width_of(start), self._growth.unit_of(start)
        if width % unit:
            raise ConfigError(
                f"growth of {self._space.name} starts from a multiple of {unit} as {self._growth.width}, not {width}"
            )
        return start


def best_by_rank_sum(objectives: Sequence[Objective], evaluations: Sequence[Evaluation]) -> Evaluation | None:
    """The feasible evaluation with the smallest sum of dense ranks; ties as `AutoScaling` says.

    Args:
        objectives: Scores that are ranked, each in its direction.
        evaluations: What is known of the candidates of one step, in the order in which they were asked.

    Returns:
        None if no evaluation is feasible with finite values.
    """
    ranked = [
        (evaluation, values)
        for evaluation in evaluations
        if evaluation.is_feasible and (values := oriented_values(objectives, evaluation)) is not None
    ]
    if not ranked:
        return None
    columns = list(zip(*(values for _, values in ranked), strict=True))
    places = [{value: place for place, value in enumerate(sorted(set(column), reverse=True))} for column in columns]
    sums = [sum(place[value] for place, value in zip(places, values, strict=True)) for _, values in ranked]
    widest = max(range(len(columns)), key=lambda k: _relative_range(columns[k]))  # the first of equal ones

    def order(number: int) -> tuple[float, float, float, int]:
        evaluation, values = ranked[number]
        return sums[number], -values[widest], evaluation.scores.get("num_params", 0.0), evaluation.id

    return ranked[min(range(len(ranked)), key=order)][0]


def _relative_range(values: Sequence[float]) -> float:
    largest = max(map(abs, values))
    return max(values) / largest - min(values) / largest if largest else 0.0


def growth_of(space: SearchSpace) -> Growth:
    """How the architectures of a space grow.

    Raises:
        ConfigError: It does not say; the message names the spaces that do.
    """
    if space.growth is None:
        able = [name for name in spaces if spaces.get(name).growth is not None]
        raise ConfigError(f"space {space.name!r} does not say how it grows; spaces that do: {', '.join(able)}")
    return space.growth


def _checked_rates(rates: Sequence[float]) -> tuple[float, ...]:
    if isinstance(rates, str) or not isinstance(rates, Sequence) or not rates:
        raise ConfigError(f"rates is a list of numbers, such as [0.05, 0.1], not {rates!r}")
    for rate in rates:
        check_number("a rate", rate, 0.0, 10.0)
    return tuple(rates)


def _checked_stop(text: str, constraints: Sequence[Constraint]) -> Constraint | None:
    if not text:
        return None
    stop = Constraint.parse(text)
    if stop.name not in COSTS or stop.relation not in (">=", ">") or stop.bound <= 0:
        raise ConfigError(f"stop is a positive lower bound on {' or '.join(COSTS)}, as num_params>=80e6, not {text!r}")
    least = stop.bound if stop.relation == ">=" else math.nextafter(stop.bound, math.inf)
    for bound in constraints:
        if bound.name == stop.name and bound.relation in ("<=", "<") and bound.violation({stop.name: least}):
            raise ConfigError(f"the stop {stop} is never met, as the constraint {bound} forbids it")
    return stop
