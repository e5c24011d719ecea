"""Gaussian processes for tens to hundreds of points (Rasmussen and Williams 2006), whose hyperparameters are fitted.

The covariance of two points is a sum over groups of inputs: a part that is linear in the group, and a smooth one
(Matern 5/2) of its distances; beside these a constant, and the noise of each observation. So a group of many inputs
that each say little, and one of few inputs that say much, have scales of their own.

Letters: n observed points, m other points, d inputs, G groups.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import numpy as np
from scipy.linalg import cho_factor, cho_solve, solve_triangular
from scipy.optimize import minimize

_CONSTANT = 100.0
"""Variance of the constant, in units of the variance of the observations: it may be anything."""
_PRIOR = {"linear": (0.3, 2.0), "smooth": (0.3, 2.0), "length": (1.5, 0.7), "noise": (0.01, 2.0)}
"""Median of each hyperparameter before anything is observed, and the deviation of its logarithm."""
_BOUNDS = {"linear": (1e-6, 1e3), "smooth": (1e-6, 1e3), "length": (0.05, 50.0), "noise": (1e-6, 1.0)}
_STARTS: tuple[dict[str, float], ...] = (
    {},
    {"linear": 1.0, "smooth": 0.01},
    {"linear": 0.01, "smooth": 1.0, "noise": 0.05},
)
"""Hyperparameters from which the fit sets out, medians but for these; the best end counts."""


class Belief(NamedTuple):
    """What a Gaussian process says of m points."""

    mean: np.ndarray  # (m,)
    deviation: np.ndarray  # (m,), standard deviation of another observation there, its noise included


@dataclass(frozen=True)
class Hyperparameters:
    """Scales of a covariance; all variances are in units of the variance of the observations.

    Args:
        linear: (G,) variance of the linear part of each group.
        smooth: (G,) variance of the smooth part of each group.
        length: (G,) distance, in root mean squares of a group's inputs, over which its smooth part changes.
        noise: Variance of the noise of an observation.
    """

    linear: tuple[float, ...]
    smooth: tuple[float, ...]
    length: tuple[float, ...]
    noise: float

    @property
    def logarithms(self) -> np.ndarray:
        """(3 G + 1,) natural logarithms, in the order of the fields."""
        return np.log([*self.linear, *self.smooth, *self.length, self.noise])

    @classmethod
    def of_logarithms(cls, values: np.ndarray) -> Hyperparameters:
        """The hyperparameters of their logarithms (3 G + 1,)."""
        *scales, noise = np.exp(values).tolist()
        groups = len(scales) // 3
        linear, smooth, length = (tuple(scales[i * groups : (i + 1) * groups]) for i in range(3))
        return cls(linear, smooth, length, noise)


class _Scale(NamedTuple):
    """What takes inputs and observations to numbers of mean 0 and variance 1."""

    shift: np.ndarray
    unit: np.ndarray

    @classmethod
    def of(cls, columns: np.ndarray) -> _Scale:
        deviation = columns.std(axis=0)
        return cls(columns.mean(axis=0), np.where(deviation > 1e-12 * np.abs(columns).max(axis=0), deviation, 1.0))

    def of_values(self, columns: np.ndarray) -> np.ndarray:
        return np.asarray((columns - self.shift) / self.unit)


class GaussianProcess:
    """A Gaussian process that has observed values at some points.

    Args:
        inputs: (n, d) observed points, n >= 1.
        values: (n,) what was observed there.
        groups: (d,) number of the group of each input, from 0.
        hyperparameters: The scales of the covariance; None: those of largest posterior density, found from several
            starts, which is deterministic.
        reference: (m, d) points by which inputs are scaled, such as a sample of all that there are; None: the observed.
        start: Hyperparameters near which others are looked for, alone; None: several starts.
    """

    def __init__(
        self,
        inputs: np.ndarray,
        values: np.ndarray,
        groups: Sequence[int],
        hyperparameters: Hyperparameters | None = None,
        reference: np.ndarray | None = None,
        start: Hyperparameters | None = None,
    ) -> None:
        self._columns = [np.flatnonzero(np.asarray(groups) == group) for group in range(max(groups) + 1)]
        self._scale = _Scale.of(np.asarray(inputs if reference is None else reference, float))
        self._value_scale = _Scale.of(np.asarray(values, float)[:, None])
        self._inputs = self._scale.of_values(np.asarray(inputs, float))
        self._values = self._value_scale.of_values(np.asarray(values, float)[:, None])[:, 0]
        self.hyperparameters = hyperparameters or self._fitted(start)

    def __len__(self) -> int:
        return len(self._values)

    @property
    def log_marginal_likelihood(self) -> float:
        """Logarithm of the density of the observations, each in units of their standard deviation."""
        return -self.negative_log_likelihood(self.hyperparameters.logarithms)[0]

    def predict(self, inputs: np.ndarray) -> Belief:
        """What is believed of other observations.

        Args:
            inputs: (m, d) the points.
        """
        points = self._scale.of_values(np.asarray(inputs, float))
        between = self._covariance(points, self._inputs)
        mean = between @ self._weights
        rest = solve_triangular(self._factor[0], between.T, lower=True)
        variance = self._variances(points) - (rest**2).sum(axis=0) + self.hyperparameters.noise
        return self._in_units(mean, np.maximum(variance, self.hyperparameters.noise))

    def covariance(self, inputs: np.ndarray) -> np.ndarray:
        """(m, m) covariance of what lies behind observations at m points, given those observed; without noise.

        It is in units of the variance of the observations.
        """
        points = self._scale.of_values(np.asarray(inputs, float))
        rest = solve_triangular(self._factor[0], self._covariance(self._inputs, points), lower=True)
        return np.asarray(self._covariance(points, points) - rest.T @ rest)

    def left_out(self) -> Belief:
        """What is believed of each observation given all others, with the same hyperparameters.

        Source: Rasmussen and Williams 2006, equations 5.12.
        """
        inverse = cho_solve(self._factor, np.eye(len(self)))
        variance = 1 / np.diag(inverse)
        return self._in_units(self._values - self._weights * variance, variance)

    def _in_units(self, mean: np.ndarray, variance: np.ndarray) -> Belief:
        unit, shift = float(self._value_scale.unit[0]), float(self._value_scale.shift[0])
        return Belief(mean * unit + shift, np.sqrt(variance) * unit)

    @cached_property
    def _factor(self) -> tuple[np.ndarray, bool]:
        covariance = self._covariance(self._inputs, self._inputs)
        factor, is_lower = cho_factor(covariance + self.hyperparameters.noise * np.eye(len(self)), lower=True)
        return np.tril(factor), is_lower

    @cached_property
    def _weights(self) -> np.ndarray:
        return np.asarray(cho_solve(self._factor, self._values))

    def _covariance(self, first: np.ndarray, second: np.ndarray) -> np.ndarray:
        found = np.full((len(first), len(second)), _CONSTANT)
        scales = self.hyperparameters
        for columns, linear, smooth, length in zip(
            self._columns, scales.linear, scales.smooth, scales.length, strict=True
        ):
            a, b = first[:, columns], second[:, columns]
            found += linear * (a @ b.T) / len(columns) + smooth * _matern(_distances(a, b) / length)
        return found

    def _variances(self, points: np.ndarray) -> np.ndarray:
        """(m,) the diagonal of the covariance of points with themselves."""
        scales = self.hyperparameters
        linear = [
            one * (points[:, columns] ** 2).mean(axis=1)
            for columns, one in zip(self._columns, scales.linear, strict=True)
        ]
        return np.asarray(_CONSTANT + sum(scales.smooth) + sum(linear))

    def _fitted(self, start: Hyperparameters | None) -> Hyperparameters:
        groups = len(self._columns)
        kinds = [*["linear"] * groups, *["smooth"] * groups, *["length"] * groups, "noise"]
        medians = np.log([_PRIOR[kind][0] for kind in kinds])
        deviations = np.array([_PRIOR[kind][1] for kind in kinds])
        bounds = [tuple(np.log(_BOUNDS[kind])) for kind in kinds]

        def loss(logarithms: np.ndarray) -> tuple[float, np.ndarray]:
            value, slope = self.negative_log_likelihood(logarithms)
            away = (logarithms - medians) / deviations
            return value + 0.5 * float(away @ away), slope + away / deviations

        several = [np.log([one.get(kind, _PRIOR[kind][0]) for kind in kinds]) for one in _STARTS]
        starts = several if start is None else [start.logarithms]
        ends = [minimize(loss, start, jac=True, method="L-BFGS-B", bounds=bounds) for start in starts]
        return Hyperparameters.of_logarithms(min(ends, key=lambda end: float(end.fun)).x)

    @cached_property
    def _parts(self) -> list[tuple[np.ndarray, np.ndarray]]:
        """For each group, the linear part of the covariance of the observed points, and their distances."""
        return [
            (one @ one.T / len(columns), _distances(one, one))
            for columns in self._columns
            for one in [self._inputs[:, columns]]
        ]

    def negative_log_likelihood(self, logarithms: np.ndarray) -> tuple[float, np.ndarray]:
        """Minus the log marginal likelihood with other hyperparameters, and its gradient.

        Args:
            logarithms: (3 G + 1,) natural logarithms of the hyperparameters, in the order of their fields.

        Returns:
            The value, and the gradient (3 G + 1,) by the logarithms.
        """
        scales, n = Hyperparameters.of_logarithms(logarithms), len(self)
        linear = [scale * part for scale, (part, _) in zip(scales.linear, self._parts, strict=True)]
        ratios = [distances / length for length, (_, distances) in zip(scales.length, self._parts, strict=True)]
        smooth = [scale * _matern(ratio) for scale, ratio in zip(scales.smooth, ratios, strict=True)]
        lengths = [scale * _matern_by_length(ratio) for scale, ratio in zip(scales.smooth, ratios, strict=True)]
        noise = scales.noise * np.eye(n)
        factor = cho_factor(_CONSTANT + sum(linear) + sum(smooth) + noise, lower=True)
        weights = cho_solve(factor, self._values)
        value = 0.5 * self._values @ weights + np.log(np.diag(factor[0])).sum() + 0.5 * n * np.log(2 * np.pi)
        outer = np.outer(weights, weights) - cho_solve(factor, np.eye(n))
        slope = [-0.5 * float((outer * part).sum()) for part in (*linear, *smooth, *lengths, noise)]
        return float(value), np.array(slope)


def _distances(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """(m, n) root mean squares of the differences of inputs."""
    squares = (first**2).sum(1)[:, None] + (second**2).sum(1) - 2 * first @ second.T
    return np.asarray(np.sqrt(np.maximum(squares, 0.0) / first.shape[1]))


def _matern(ratio: np.ndarray) -> np.ndarray:
    """The Matern 5/2 correlation at a distance in lengths."""
    scaled = np.sqrt(5) * ratio
    return np.asarray((1 + scaled + scaled**2 / 3) * np.exp(-scaled))


def _matern_by_length(ratio: np.ndarray) -> np.ndarray:
    """Derivative of the correlation by the logarithm of the length."""
    scaled = np.sqrt(5) * ratio
    return np.asarray(scaled**2 * (1 + scaled) / 3 * np.exp(-scaled))
