"""Scores of a pool made into one."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from raynas.stats.combination import METHODS, log_rank_sum, min_max_sum, rank_sum, ranks

RNG = np.random.default_rng(0)
TEACHER, CAPABILITY = -1e-3 * RNG.random(30), 100 + 50 * RNG.random(30)


def combined(columns: list[np.ndarray], weights: list[float] | None = None, how: str = "min_max") -> np.ndarray:
    return METHODS[how](columns, [True] * len(columns), weights)


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


@pytest.mark.parametrize("how", list(METHODS))
@given(shift=st.floats(-100, 100), scale=st.floats(0.01, 100))
def test_scale_and_origin_of_a_score_do_not_change_the_order(how: str, shift: float, scale: float) -> None:
    expected = order(combined([TEACHER, CAPABILITY], how=how))
    assert order(combined([1e3 * scale * TEACHER + shift, CAPABILITY], how=how)) == expected
    assert order(combined([TEACHER, scale * CAPABILITY + shift], how=how)) == expected


@pytest.mark.parametrize("how", list(METHODS))
def test_weights_of_zero_leave_the_other_score(how: str) -> None:
    assert order(combined([TEACHER, CAPABILITY], [0.0, 1.0], how)) == order(CAPABILITY)
    assert order(combined([TEACHER, CAPABILITY], [1.0, 0.0], how)) == order(TEACHER)
    assert order(combined([TEACHER, CAPABILITY], [0.5, 0.5], how)) == order(combined([TEACHER, CAPABILITY], how=how))


def test_a_constant_score_counts_for_nothing() -> None:
    for how in METHODS:
        found = combined([np.zeros(30), CAPABILITY], how=how)
        assert np.isfinite(found).all()
        assert order(found) == order(CAPABILITY)


def test_ranks_add_up_in_their_directions() -> None:
    up, down = np.array([1.0, 2.0, 3.0]), np.array([10.0, 30.0, 20.0])
    assert rank_sum([up, down], [True, False]).tolist() == [1 + 3, 2 + 1, 3 + 2]


def test_ranks_of_ties_are_averaged_and_what_has_no_value_is_the_worst() -> None:
    column = np.array([5.0, math.nan, 7.0, 5.0, math.nan])
    assert ranks(column).tolist() == [3.5, 1.5, 5, 3.5, 1.5]
    assert ranks(column, maximize=False).tolist() == [4.5, 1.5, 3, 4.5, 1.5]


def test_logarithms_of_ranks_add_up() -> None:
    up, down = np.array([1.0, 2.0, 3.0, 3.0]), np.array([10.0, 30.0, math.nan, 20.0])
    # Ranks 1, 2, 3.5, 3.5 and, downwards, 4, 2, 1, 3, of 4.
    expected = [math.log(1 / 4) + math.log(1), 2 * math.log(2 / 4), math.log(3.5 / 4) + math.log(1 / 4)]
    expected.append(math.log(3.5 / 4) + math.log(3 / 4))
    assert log_rank_sum([up, down], [True, False]) == pytest.approx(expected)
    doubled = log_rank_sum([up, down], [True, False], [2.0, 0.0])
    assert doubled == pytest.approx([2 * math.log(rank / 4) for rank in (1, 2, 3.5, 3.5)])


def test_only_the_order_of_a_score_enters_its_ranks() -> None:
    rng = np.random.default_rng(3)
    first, second = rng.standard_normal(30), rng.standard_normal(30)
    for added in (rank_sum, log_rank_sum):
        assert (added([first, second], [True, True]) == added([np.exp(3 * first), second], [True, True])).all()
        best = added([np.append(first, 9.0), np.append(second, 9.0)], [True, True])
        assert best.argmax() == 30


def test_scores_between_their_worst_and_best_add_up() -> None:
    up, down = np.array([0.0, 5.0, 10.0]), np.array([1.0, math.nan, 3.0])
    assert min_max_sum([up, down], [True, False]).tolist() == [0 + 1, 0.5 + 0, 1 + 0]
    assert min_max_sum([up, down], [True, False], [0.5, 2.0]).tolist() == [2, 0.25, 0.5]
    # Neither a shift nor a factor of one score matters, and a constant one says nothing.
    assert min_max_sum([7 * up - 3, down], [True, False]).tolist() == [1, 0.5, 1]
    assert min_max_sum([up, np.full(3, 8.0)], [True, True]).tolist() == [0, 0.5, 1]
