"""What a searcher may offer beside `ask` and `tell`; each is used where a searcher has it, see `raynas.hooks`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple, Protocol, runtime_checkable

import numpy as np

from raynas.hooks import offered
from raynas.searchers.base import SearchProgress
from raynas.space.architecture import Architecture
from raynas.space.results import Evaluation


class GrowthState(NamedTuple):
    """A member of a family that grows: the architecture that a step chose, with its evaluation."""

    step: int  # from 0, the start
    evaluation: Evaluation
    change: str  # such as "depth[2]+1, embed_dim 32 -> 36"
    asked: tuple[int, int]  # the first candidate of the step, and one past its last


@runtime_checkable
class Recommends(Protocol):
    """A searcher that would choose an architecture, which it need not have asked for."""

    def recommendation(self) -> Architecture | None:
        """The architecture that the searcher would choose after what it has been told; None if there is none yet."""
        ...


@runtime_checkable
class Explains(Protocol):
    """A searcher that says how its recommendation is chosen."""

    @property
    def reason(self) -> str:
        """What the recommendation is, in words that continue "the architecture is"."""
        ...


@runtime_checkable
class GrowsFamily(Protocol):
    """A searcher whose result is a family of architectures, each grown out of the one before."""

    def family(self) -> Sequence[GrowthState]:
        """The members so far, in order; the summary of a run lists them."""
        ...


@runtime_checkable
class ShowsProbabilities(Protocol):
    """A searcher that draws from probabilities, which reports show over time."""

    def probabilities(self) -> Mapping[str, np.ndarray]:
        """For each decision of the space, by name, the probability of each of its options, (options,)."""
        ...


@runtime_checkable
class ShowsProgress(Protocol):
    """A searcher whose way to its end is not the share of the budget that is spent."""

    def progress(self) -> SearchProgress:
        """How far the search has come."""
        ...


@runtime_checkable
class Completes(Protocol):
    """A searcher that may end before the budget does."""

    @property
    def is_complete(self) -> bool:
        """Whether it ended as it should, and not for want of candidates."""
        ...


@runtime_checkable
class BeginsAtRandom(Protocol):
    """A searcher that draws its first candidates at random, before anything is learned from results."""

    num_random: int
    """How many these are."""


@runtime_checkable
class LimitsWindow(Protocol):
    """A class of searchers that learn from every result, so that only few should be in flight."""

    largest_window_share: float
    """The share of the budget that may be in flight, unless the user says otherwise."""


@runtime_checkable
class GrowsFromStart(Protocol):
    """A searcher whose architectures all grow out of one, which then has to meet the constraints on costs."""

    start: Architecture


def start_of(searcher: object) -> Architecture | None:
    """The architecture that all of a searcher's others grow out of; None if it has no such start."""
    grows = offered(searcher, GrowsFromStart)
    return None if grows is None else grows.start


def reason_of(searcher: object) -> str:
    """How a searcher's recommendation is chosen, in words; empty if it does not say."""
    explains = offered(searcher, Explains)
    return "" if explains is None else explains.reason


def is_complete(searcher: object) -> bool:
    """Whether a searcher that asks for nothing more ended as it should; False if it does not say."""
    completes = offered(searcher, Completes)
    return completes is not None and completes.is_complete


def random_line(searcher: object, name: str, budget: int) -> str:
    """A line for people where a budget ends before a searcher has learned anything; else an empty one."""
    begins = offered(searcher, BeginsAtRandom)
    if begins is None or begins.num_random < budget:
        return ""
    return (
        f"{name} draws its first {begins.num_random:,} candidates at random, and the budget is {budget:,}: this is a "
        "random search"
    )
