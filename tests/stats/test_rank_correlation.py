"""Rank correlations against counting pairs."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from scipy import stats

from raynas.stats.kendall import kendall_tau, kendall_taus
from raynas.stats.rank_correlation import bootstrapped, partial_tau


def tau_by_pairs(first: list[float], second: list[float]) -> float:
    pairs = list(itertools.combinations(range(len(first)), 2))
    signs = [(np.sign(first[i] - first[j]), np.sign(second[i] - second[j])) for i, j in pairs]
    untied = [sum(a != 0 for a, _ in signs), sum(b != 0 for _, b in signs)]
    return float(sum(a * b for a, b in signs) / math.sqrt(untied[0] * untied[1]))


def test_tau_counts_pairs_with_ties() -> None:
    rng = np.random.default_rng(0)
    for _ in range(20):
        first, second = rng.integers(0, 6, 15).tolist(), rng.integers(0, 6, 15).tolist()
        assert kendall_tau(first, second) == pytest.approx(tau_by_pairs(first, second))


@pytest.mark.parametrize("share", [0.0, 0.3])
def test_taus_of_many_columns_are_those_of_each_pair(share: float) -> None:
    rng = np.random.default_rng(3)
    columns = [rng.normal(size=90), rng.integers(0, 4, 90).astype(float), rng.normal(size=90).round(1)]
    for column in columns:
        column[rng.random(90) < share] = np.nan
    found = kendall_taus([*columns, np.ones(90)])
    for i, first in enumerate(columns):
        for j, second in enumerate(columns):
            known = np.isfinite(first) & np.isfinite(second)
            expected = stats.kendalltau(first[known], second[known]).statistic
            assert found[i, j] == pytest.approx(expected, abs=1e-6)
            assert kendall_tau(first[known], second[known]) == pytest.approx(expected, abs=1e-12)
    assert np.isnan(found[3]).all()


def test_what_a_third_order_explains_is_left_out() -> None:
    rng = np.random.default_rng(1)
    size = rng.standard_normal(400)
    score, accuracy = size + 0.3 * rng.standard_normal(400), size + 0.3 * rng.standard_normal(400)
    assert kendall_tau(score, accuracy) > 0.6
    assert abs(partial_tau(score, accuracy, size)) < 0.35  # not 0: tau is no linear measure
    own = rng.standard_normal(400)
    assert partial_tau(own, own + 0.1 * rng.standard_normal(400), size) > 0.8
    assert math.isnan(partial_tau(score, accuracy, accuracy))


def test_a_partial_tau_by_hand() -> None:
    # Of the six pairs, 4, 3 and 5 agree.
    first, second, given = [1, 2, 3, 4], [2, 3, 1, 4], [2, 4, 1, 3]
    assert kendall_tau(first, second) == pytest.approx(1 / 3)
    assert kendall_tau(first, given) == pytest.approx(0)
    assert kendall_tau(second, given) == pytest.approx(2 / 3)
    assert partial_tau(first, second, given) == pytest.approx(1 / math.sqrt(5))  # 1/3 over the root of 1 - 4/9


def test_an_interval_covers_the_value_as_often_as_it_says() -> None:
    rng = np.random.default_rng(2)
    covered = 0
    for trial in range(60):
        first = rng.standard_normal(40)
        second = 0.7 * first + math.sqrt(1 - 0.49) * rng.standard_normal(40)
        found = bootstrapped(first, second, resamples=200, seed=trial)
        assert found.low <= found.value <= found.high
        # For a normal pair, tau is 2 / pi times the arc sine of the correlation.
        covered += found.low <= 2 / math.pi * math.asin(0.7) <= found.high
    assert 50 <= covered <= 60


def test_a_constant_list_has_no_tau() -> None:
    found = bootstrapped([1.0] * 5, [1.0, 2.0, 3.0, 4.0, 5.0], resamples=10)
    assert all(math.isnan(value) for value in found)


def test_tau_of_columns_with_gaps_agrees_with_scipy() -> None:
    rng = np.random.default_rng(0)
    columns = [rng.normal(size=200), rng.integers(0, 5, 200).astype(float), rng.normal(size=200)]
    columns[2][::3] = np.nan
    tau = kendall_taus([*columns, np.ones(200)])
    for i, first in enumerate(columns):
        for j, second in enumerate(columns):
            known = np.isfinite(first) & np.isfinite(second)
            assert tau[i, j] == pytest.approx(stats.kendalltau(first[known], second[known]).statistic, abs=1e-6)
    assert np.isnan(tau[3]).all()
