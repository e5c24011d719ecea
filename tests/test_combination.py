"""Scores of a pool made into one."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import rankdata

from raynas.combination import combined, weight_sweep

RNG = np.random.default_rng(0)
TEACHER, CAPABILITY = -1e-3 * RNG.random(30), 100 + 50 * RNG.random(30)


def order(values: np.ndarray) -> list[int]:
    return np.argsort(values, kind="stable").tolist()


def by_hand(columns: list[list[float]], weights: list[float]) -> list[float]:
    totals = [0.0] * len(columns[0])
    for column, weight in zip(columns, weights, strict=True):
        low, high = min(column), max(column)
        for i, value in enumerate(column):
            totals[i] += weight * ((value - low) / (high - low) if high > low else 0.0)
    return totals


def test_the_combination_is_a_weighted_sum_of_shares_of_the_range() -> None:
    columns = [TEACHER.tolist(), CAPABILITY.tolist(), [3.0] * 30]
    np.testing.assert_allclose(combined([TEACHER, CAPABILITY, np.full(30, 3.0)]), by_hand(columns, [1, 1, 1]))
    weights = [0.3, 2.0, 5.0]
    found = combined([TEACHER, CAPABILITY, np.full(30, 3.0)], weights=weights)
    np.testing.assert_allclose(found, by_hand(columns, weights))


@pytest.mark.parametrize("how", ["min_max", "ranks"])
@given(shift=st.floats(-100, 100), scale=st.floats(0.01, 100))
def test_scale_and_origin_of_a_score_do_not_change_the_order(how: str, shift: float, scale: float) -> None:
    expected = order(combined([TEACHER, CAPABILITY], how=how))
    assert order(combined([1e3 * scale * TEACHER + shift, CAPABILITY], how=how)) == expected
    assert order(combined([TEACHER, scale * CAPABILITY + shift], how=how)) == expected


@pytest.mark.parametrize("how", ["min_max", "ranks"])
def test_weights_of_zero_leave_the_other_score(how: str) -> None:
    sweep = weight_sweep(TEACHER, CAPABILITY, how=how)
    assert list(sweep) == [0.0, 0.25, 0.5, 0.75, 1.0]
    assert order(sweep[0.0]) == order(CAPABILITY)
    assert order(sweep[1.0]) == order(TEACHER)
    assert order(sweep[0.5]) == order(combined([TEACHER, CAPABILITY], how=how))


def test_a_constant_score_counts_for_nothing() -> None:
    for how in ("min_max", "ranks"):
        found = combined([np.zeros(30), CAPABILITY], how=how)
        assert np.isfinite(found).all()
        assert order(found) == order(CAPABILITY)


def test_ranks_add_up() -> None:
    first, second = np.array([1.0, 5.0, 5.0, 900.0]), np.array([4.0, 3.0, 2.0, 1.0])
    expected = rankdata(first) / 3 + rankdata(second) / 3
    np.testing.assert_allclose(np.diff(combined([first, second], how="ranks")), np.diff(expected))
