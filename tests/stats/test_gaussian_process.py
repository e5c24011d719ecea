"""Gaussian processes against densities of SciPy, the rule for conditional normal distributions, and known truths."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.optimize import approx_fprime
from scipy.stats import multivariate_normal
from scipy.stats import t as student

from raynas.stats.gaussian_process import GaussianProcess, Hyperparameters
from raynas.stats.intervals import widening

SCALES = Hyperparameters((0.7, 0.2), (0.5, 0.3), (1.3, 0.6), 0.05)
GROUPS = (0, 0, 1, 1, 1)


def points(n: int = 12, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    inputs = rng.normal(3.0, 2.0, (n, 5))
    return inputs, np.sin(inputs[:, 0]) + 0.3 * inputs[:, 2] + 0.1 * rng.standard_normal(n) + 5


def covariance(first: np.ndarray, second: np.ndarray, scales: Hyperparameters) -> np.ndarray:
    """The covariance of scaled points, entry by entry, as the module's first paragraph has it."""
    found = np.empty((len(first), len(second)))
    for i, a in enumerate(first):
        for j, b in enumerate(second):
            total = 100.0
            for group, columns in enumerate(([0, 1], [2, 3, 4])):
                x, y = a[columns], b[columns]
                ratio = np.sqrt(np.mean((x - y) ** 2)) / scales.length[group] * np.sqrt(5)
                smooth = (1 + ratio + ratio**2 / 3) * np.exp(-ratio)
                total += scales.linear[group] * np.mean(x * y) + scales.smooth[group] * smooth
            found[i, j] = total
    return found


def scaled(columns: np.ndarray, by: np.ndarray) -> np.ndarray:
    return (columns - by.mean(axis=0)) / by.std(axis=0)


def test_the_marginal_likelihood_is_the_density_of_a_normal_distribution() -> None:
    inputs, values = points()
    x = scaled(inputs, inputs)
    expected = multivariate_normal.logpdf(
        scaled(values, values), np.zeros(len(x)), covariance(x, x, SCALES) + SCALES.noise * np.eye(len(x))
    )
    found = GaussianProcess(inputs, values, GROUPS, SCALES).log_marginal_likelihood
    assert found == pytest.approx(expected, rel=1e-9)


def test_the_gradient_of_the_fit_is_that_of_finite_differences() -> None:
    process = GaussianProcess(*points(), GROUPS, SCALES)
    at = SCALES.logarithms
    slope = process.negative_log_likelihood(at)[1]
    expected = approx_fprime(at, lambda one: process.negative_log_likelihood(one)[0], 1e-6)
    assert slope == pytest.approx(expected, rel=1e-3, abs=1e-4)


def test_predictions_are_those_of_the_conditional_normal_distribution() -> None:
    inputs, values = points()
    others, _ = points(4, seed=1)
    x, z, y = scaled(inputs, inputs), scaled(others, inputs), scaled(values, values)
    inner = covariance(x, x, SCALES) + SCALES.noise * np.eye(len(x))
    between = covariance(z, x, SCALES)
    mean = between @ np.linalg.solve(inner, y)
    left = covariance(z, z, SCALES) - between @ np.linalg.solve(inner, between.T)
    process = GaussianProcess(inputs, values, GROUPS, SCALES)
    belief = process.predict(others)
    assert belief.mean == pytest.approx(mean * values.std() + values.mean(), rel=1e-7)
    assert belief.deviation == pytest.approx(np.sqrt(np.diag(left) + SCALES.noise) * values.std(), rel=1e-5)
    assert process.covariance(others) == pytest.approx(left, abs=1e-6)


def test_the_fit_finds_a_density_that_no_other_start_betters_and_is_equal_again() -> None:
    inputs, values = points(25)
    one, again = (GaussianProcess(inputs, values, GROUPS) for _ in range(2))
    assert one.hyperparameters == again.hyperparameters
    assert one.log_marginal_likelihood > GaussianProcess(inputs, values, GROUPS, SCALES).log_marginal_likelihood - 1.0


def test_a_line_is_found_exactly_also_far_away() -> None:
    inputs = np.random.default_rng(0).normal(size=(20, 2))
    process = GaussianProcess(inputs, 3 * inputs[:, 0] - inputs[:, 1] + 7, (0, 0))
    far = np.array([[4.0, -3.0], [-2.0, 5.0]])
    assert process.predict(far).mean == pytest.approx([22.0, -4.0], abs=0.05)


def test_constant_inputs_and_a_single_point_are_taken() -> None:
    belief = GaussianProcess(np.ones((1, 3)), np.array([2.0]), (0, 0, 1)).predict(np.ones((2, 3)))
    assert belief.mean == pytest.approx([2.0, 2.0], rel=0.02)
    assert (belief.deviation > 0).all()


def test_intervals_of_a_bell_are_close_to_those_of_student() -> None:
    """Both estimates come to the quantile of the distribution as there are more errors."""
    errors = np.random.default_rng(0).standard_normal(20_000) * 2
    assert widening(errors, 0.9) == pytest.approx(2 * 1.6449, rel=0.02)


def test_an_interval_is_the_mean_of_the_conformal_one_and_of_students() -> None:
    errors = np.array([0.1, -0.2, 0.3, -0.4, 0.5, -0.6, 0.7, -0.8, 0.9, -3.0])
    conformal = 3.0  # the tenth of ten, as 0.9 times 11 is above 9
    by_student = student.ppf(0.95, 9) * np.sqrt(np.mean(errors**2))
    assert widening(errors, 0.9) == pytest.approx((conformal + by_student) / 2)
