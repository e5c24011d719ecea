"""REINFORCE over independent categorical decisions, as As-ViT searches topologies (Chen 2022, arXiv 2202.11921)."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from typing import ClassVar

import numpy as np

from raynas.config import check_count
from raynas.searchers.base import OpenCandidates, check_number, oriented_values
from raynas.searchers.registered import check_objectives, searchers
from raynas.space.architecture import Architecture
from raynas.space.results import Candidate, Constraint, Evaluation, Objective
from raynas.space.search_space import SearchSpace

_RECOMMENDATION_DRAWS = 1000

# D: decisions of the space, K: options of the largest one.


@searchers.register("reinforce")
class Reinforce:
    """One softmax per decision, moved by Adam along log pi(architecture) x advantage.

    The reward of a result is the sum over objectives of its difference to the result told before, in units of the range
    of the last `history` values. The advantage is the reward less a moving average that already holds it, so the first
    is 0. A result that is not ok, or infeasible, takes the worst value so far. Architectures may be asked repeatedly: a
    policy that has converged asks nothing else.

    Differences from the published code: the range has a relative epsilon (there 1e-6, which is not small against scores
    of 1e-6); decisions of absent layers get no gradient (there are none in As-ViT); a result told late moves the policy
    along the gradient of the current log pi, not of that at the time of asking. Up to windows of 64 both find equally
    good architectures, and this one keeps nothing per candidate.

    Args:
        space, objectives, constraints, seed, admits: What every searcher takes; see `SearcherClass`.
            Several objectives count equally.
        learning_rate: Step size of Adam, whose other parameters have their usual values; above 0, where nothing moves.
        baseline_momentum: Share that the moving average of rewards keeps of itself at each result; above 0, where it is
            the reward itself, the advantage 0, and the policy stays as it was drawn.
        history: Number of the last values of an objective whose range is the unit of rewards.
        max_tries: How often the policy is drawn from for one candidate where `admits` refuses; the last draw is asked
            all the same, so that the policy learns to leave the region.

    Raises:
        ConfigError: A setting is out of its range.
    """

    default_window = 4  # the paper's is 1; results lag by the window
    largest_window_share = 1 / 8  # beyond it, too few results come before the last candidates are drawn
    is_multi_objective = True
    advised_budget: ClassVar[int | None] = None
    reason = "the most probable option of every decision in its final policy"

    def __init__(
        self,
        space: SearchSpace,
        objectives: tuple[Objective, ...],
        constraints: tuple[Constraint, ...] = (),
        *,
        seed: int = 0,
        admits: Callable[[Architecture], bool] | None = None,
        learning_rate: float = 0.08,
        baseline_momentum: float = 0.9,
        history: int = 20,
        max_tries: int = 100,
    ) -> None:
        check_objectives(objectives, several=True)
        # At 0 the policy never moves: no step, or an average of the last reward alone, which leaves no advantage.
        check_number("learning_rate", learning_rate, 1e-6, 10.0)
        check_number("baseline_momentum", baseline_momentum, 0.001, 0.999)
        check_count("history", history, 2)
        check_count("max_tries", max_tries, 1)
        self._space = space
        self._objectives = objectives
        self._admits = admits
        self._max_tries = max_tries
        self._open_candidates = OpenCandidates()
        self._rng = np.random.default_rng(seed)

        self._num_options = np.array([len(decision.options) for decision in space.decisions], dtype=np.int64)
        # One decision at least, so that a space of one architecture needs no case of its own.
        num_rows, num_columns = max(len(self._num_options), 1), int(self._num_options.max(initial=1))
        self._logits = 1e-3 * self._rng.standard_normal((num_rows, num_columns))
        self._exists = np.arange(num_columns) < np.append(self._num_options, 1)[:num_rows, None]
        self._adam = _Adam(self._logits.shape, learning_rate)
        self._probabilities = _softmax(self._logits, self._exists)

        self._baseline = _MovingAverage(baseline_momentum)
        self._recent: deque[np.ndarray] = deque(maxlen=history)
        self._worst = np.full(len(objectives), np.inf)

    def ask(self, n: int) -> list[Candidate]:
        """n candidates drawn from the policy."""
        return [self._open_candidates.request(self._drawn()) for _ in range(n)]

    def tell(self, evaluations: Sequence[Evaluation]) -> None:
        """Move the policy by one step per evaluation, in the order given.

        Raises:
            ValueError: An id was never asked, or was told before.
        """
        self._open_candidates.receive(evaluations)
        for evaluation in evaluations:
            reward = self._reward(evaluation)
            advantage = reward - self._baseline.updated(reward)
            self._step(self._space.encode(evaluation.architecture), advantage)

    def probabilities(self) -> dict[str, np.ndarray]:
        """The policy: for each decision, the probability of each of its options."""
        return {
            decision.name: row[: len(decision.options)].copy()
            for decision, row in zip(self._space.decisions, self._probabilities, strict=False)
        }

    def recommendation(self) -> Architecture | None:
        """The architecture of the most probable option of every decision.

        Where the constraints on costs do not admit it: the most probable one of those that they admit among a thousand
        draws from the policy, None if there is none.
        """
        likeliest = self._space.decode(self._probabilities.argmax(axis=1)[: len(self._num_options)])
        if self._admits is None or self._admits(likeliest):
            return likeliest
        rng = np.random.default_rng(0)  # of its own, so that looking does not change the search
        drawn = {self._draw(rng) for _ in range(_RECOMMENDATION_DRAWS)}
        admitted = [architecture for architecture in drawn if self._admits(architecture)]
        return max(admitted, key=lambda one: (self._log_probability(one), one.key), default=None)

    def _drawn(self) -> Architecture:
        for _ in range(self._max_tries):
            architecture = self._draw(self._rng)
            if self._admits is None or self._admits(architecture):
                break
        return architecture

    def _draw(self, rng: np.random.Generator) -> Architecture:
        cumulative = np.cumsum(self._probabilities, axis=1)[: len(self._num_options)]
        uniform = rng.random((len(self._num_options), 1))
        # Rounding may leave the sum of all probabilities below the draw.
        return self._space.decode(np.minimum((cumulative <= uniform).sum(axis=1), self._num_options - 1))

    def _log_probability(self, architecture: Architecture) -> float:
        numbers = self._space.encode(architecture)
        return float(sum(np.log(self._probabilities[i, n]) for i, n in enumerate(numbers) if n >= 0))

    def _reward(self, evaluation: Evaluation) -> float:
        values = oriented_values(self._objectives, evaluation)
        if values is not None:
            self._worst = np.minimum(self._worst, values)
        if values is None or not evaluation.is_feasible:
            if np.isinf(self._worst).any():
                return 0.0  # nothing to compare with yet
            values = self._worst.tolist()
        self._recent.append(np.array(values))
        if len(self._recent) == 1:
            return 0.0
        recent = np.array(self._recent)
        magnitude = np.abs(recent).max(axis=0)
        recent /= np.where(magnitude > 0, magnitude, 1.0)
        return float((self._change(recent) / (np.ptp(recent, axis=0) + 1e-6)).sum())

    def _change(self, recent: np.ndarray) -> np.ndarray:
        """What is rewarded of the last values, (results, objectives), for each objective."""
        return np.asarray(recent[-1] - recent[-2])

    def _step(self, numbers: Sequence[int], advantage: float) -> None:
        self._logits -= self._adam.step(self._gradient(numbers, advantage))
        self._probabilities = _softmax(self._logits, self._exists)

    def _gradient(self, numbers: Sequence[int], advantage: float) -> np.ndarray:
        """The gradient of the loss by the logits, (D, K)."""
        chosen = np.array([*numbers, 0])[: len(self._logits), None]
        gradient = advantage * (self._probabilities - (np.arange(self._logits.shape[1]) == chosen))
        return np.where(chosen >= 0, gradient, 0.0)


class _MovingAverage:
    """Exponential moving average without the bias towards its start at 0."""

    def __init__(self, momentum: float) -> None:
        self._momentum = momentum
        self._sum = 0.0
        self._weight = 0.0

    def updated(self, value: float) -> float:
        self._sum = self._momentum * self._sum + (1 - self._momentum) * value
        self._weight = self._momentum * self._weight + (1 - self._momentum)
        return self._sum / self._weight


class _Adam:
    """Adam (Kingma and Ba 2015, arXiv 1412.6980) with betas 0.9 and 0.999 and epsilon 1e-8."""

    def __init__(self, shape: tuple[int, ...], learning_rate: float) -> None:
        self._learning_rate = learning_rate
        self._mean = np.zeros(shape)
        self._square = np.zeros(shape)
        self._steps = 0

    def step(self, gradient: np.ndarray) -> np.ndarray:
        """What to subtract from the parameters."""
        self._steps += 1
        self._mean = 0.9 * self._mean + 0.1 * gradient
        self._square = 0.999 * self._square + 0.001 * gradient**2
        mean = self._mean / (1 - 0.9**self._steps)
        square = self._square / (1 - 0.999**self._steps)
        return self._learning_rate * mean / (np.sqrt(square) + 1e-8)


def _softmax(logits: np.ndarray, exists: np.ndarray) -> np.ndarray:
    """Softmax of each row (D, K) over the options that exist; 0 for the others."""
    shifted = np.exp(logits - logits.max(axis=1, keepdims=True, where=exists, initial=-np.inf))
    weights = np.where(exists, shifted, 0.0)
    return np.asarray(weights / weights.sum(axis=1, keepdims=True))
