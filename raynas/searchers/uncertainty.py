"""Learning a score over a whole space from few evaluations: each is taken where it makes the rest surest (Cohn 1996).

What is wanted is no best architecture but a good prediction everywhere, as of a latency.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import ClassVar

import numpy as np

from raynas.config import MOST, MOST_SIDE, check_count
from raynas.searchers.base import OpenCandidates, Unseen, oriented_values
from raynas.searchers.registered import check_objectives, searchers
from raynas.space.architecture import Architecture
from raynas.space.features import Features
from raynas.space.results import Candidate, Constraint, Evaluation, Objective
from raynas.space.search_space import SearchSpace
from raynas.stats.gaussian_process import GaussianProcess

_MANY = 60
"""Values from which on the scales of the model change little, so that they are looked for near the last ones."""
_GROWTH, _GROWTH_OF_MANY = 1.1, 2.0
"""The model is made anew when there are so many times as many values as when it was made last."""


@searchers.register("uncertainty")
class UncertaintySampling:
    """Asks for what leaves the least variance over the space, by a Gaussian process of the score.

    The first architectures are drawn at random. Then, of some that are drawn, the one is asked whose value would lower
    the expected variance most, added up over all of them (active learning, Cohn 1996, JAIR 4). Values enter by their
    logarithms where they have one sign. What is asked counts as known from then on, whether or not it has a value.

    Args:
        space, objectives, constraints, seed, admits: What every searcher takes; see `SearcherClass`. There
            is one objective; whether it is to be large or small does not matter.
        first: Architectures that are drawn at random.
        pool: Architectures among which one is chosen, and over which variances are added up.
        img_size: Side in pixels of the images that the costs are told for by which architectures are compared; 0: that
            of the space.
        num_classes: Outputs of the head, there.

    Raises:
        ConfigError: A setting is out of its range, or there are several objectives.
    """

    default_window = 1
    is_multi_objective = False
    advised_budget: ClassVar[int | None] = 300

    def __init__(
        self,
        space: SearchSpace,
        objectives: tuple[Objective, ...],
        constraints: tuple[Constraint, ...] = (),
        *,
        seed: int = 0,
        admits: Callable[[Architecture], bool] | None = None,
        first: int = 10,
        pool: int = 200,
        img_size: int = 0,
        num_classes: int = 10,
    ) -> None:
        check_objectives(objectives, several=False)
        check_count("first", first, 2)
        check_count("pool", pool, 2, 2000)
        check_count("img_size", img_size, 0, MOST_SIDE)
        check_count("num_classes", num_classes, 1, MOST)
        self._objectives = objectives
        self.num_random = first
        self._pool_size = pool
        self._features = Features(space, img_size=img_size or space.search_img_size, num_classes=num_classes)
        self._unseen = Unseen(space, np.random.default_rng(seed), admits)
        self._open_candidates = OpenCandidates()
        self._asked: list[np.ndarray] = []  # features, by the candidate's number
        self._values: dict[int, float] = {}
        self._pool: list[tuple[Architecture, np.ndarray]] = []
        self._left = np.empty((0, 0))  # covariance of the pool, given all that was asked
        self._model: GaussianProcess | None = None

    def ask(self, n: int) -> list[Candidate]:
        """Up to n candidates that were not asked before; fewer when none are left."""
        candidates: list[Candidate] = []
        while len(candidates) < n and (architecture := self._next()) is not None:
            candidates.append(self._open_candidates.request(architecture))
        return candidates

    def tell(self, evaluations: Sequence[Evaluation]) -> None:
        """Take in the values that there are.

        Raises:
            ValueError: An id was never asked, or was told before.
        """
        self._open_candidates.receive(evaluations)
        for evaluation in evaluations:
            values = oriented_values(self._objectives, evaluation)
            if values is not None:
                self._values[evaluation.id] = values[0]

    def _next(self) -> Architecture | None:
        is_due = len(self._values) >= self._due
        if is_due or not self._pool:
            self._look_around(is_due)
        if not self._pool:
            return None
        chosen = 0 if self._model is None else self._most_telling()
        architecture, features = self._pool.pop(chosen)
        self._asked.append(features)
        return architecture

    @property
    def _due(self) -> float:
        """Number of values with which the next model is made."""
        if self._model is None:
            return self.num_random
        return len(self._model) * (_GROWTH if len(self._model) < _MANY else _GROWTH_OF_MANY)

    def _look_around(self, is_due: bool) -> None:
        """Fit the model if that is due, and fill up the pool."""
        while len(self._pool) < self._pool_size and (drawn := self._unseen.draw()) is not None:
            self._pool.append((drawn, self._features([drawn])[0]))
        if not self._pool:
            return
        around = np.array([features for _, features in self._pool])
        if is_due:
            inputs = np.array([self._asked[number] for number in sorted(self._values)])
            values = _of_one_scale(np.array([self._values[number] for number in sorted(self._values)]))
            start = self._model.hyperparameters if self._model is not None and len(values) > _MANY else None
            self._model = GaussianProcess(inputs, values, self._features.groups, reference=around, start=start)
        if self._model is not None:
            known = GaussianProcess(  # the variance depends on where something is known, not on what
                np.array(self._asked),
                np.zeros(len(self._asked)),
                self._features.groups,
                self._model.hyperparameters,
                reference=around,
            )
            self._left = known.covariance(around)

    def _most_telling(self) -> int:
        """The position in the pool of the one whose value lowers the variances most, which are lowered by that."""
        assert self._model is not None
        noise = self._model.hyperparameters.noise
        gains = (self._left**2).sum(axis=1) / (np.diag(self._left) + noise)
        best = int(np.argmax(gains))
        column = self._left[:, best]
        rest = self._left - np.outer(column, column) / (column[best] + noise)
        self._left = np.delete(np.delete(rest, best, 0), best, 1)
        return best


def _of_one_scale(values: np.ndarray) -> np.ndarray:
    """Values as they are modelled: logarithms of their sizes if all have one sign, else close to them where small."""
    if (values > 0).all() or (values < 0).all():
        return np.asarray(np.log(np.abs(values)) * math.copysign(1.0, values[0]))
    return np.asarray(np.arcsinh(values))
