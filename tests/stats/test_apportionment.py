"""Shares by largest remainders, against a slow and obvious way."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from raynas.stats.apportionment import apportioned


def obvious(sizes: list[int], number: int) -> list[int]:
    """Hamilton's method in fractions, without bounds."""
    ideal = [Fraction(number * size, sum(sizes)) for size in sizes]
    found = [int(share) for share in ideal]
    order = sorted(range(len(sizes)), key=lambda group: (found[group] - ideal[group], group))
    for group in order[: number - sum(found)]:
        found[group] += 1
    return found


def test_a_published_example() -> None:
    """As in Wikipedia's article on the method: 100,000 votes, 10 seats, of which the last party gets none there."""
    votes = [47_000, 16_000, 15_800, 12_000, 6_100, 3_100]
    assert obvious(votes, 10) == [5, 2, 1, 1, 1, 0]
    assert apportioned(np.array(votes), 10).tolist() == [5, 1, 1, 1, 1, 1]
    assert apportioned(np.array(votes), 100).tolist() == obvious(votes, 100) == [47, 16, 16, 12, 6, 3]


@given(st.lists(st.integers(1, 40), min_size=1, max_size=12), st.data())
def test_shares_are_those_of_the_method_within_bounds(sizes: list[int], data: st.DataObject) -> None:
    number = data.draw(st.integers(0, sum(sizes)))
    leaves_one = data.draw(st.booleans())
    found = apportioned(np.array(sizes), number, leaves_one=leaves_one)
    assert found.sum() == number
    assert (found >= 0).all()
    assert (found <= sizes).all()
    if number >= len(sizes) and not leaves_one:
        assert (found >= 1).all()
    if leaves_one and number <= sum(sizes) - len(sizes):
        assert (found < np.array(sizes)).all() or max(sizes) == 1
    plain = obvious(sizes, number)
    if min(plain) >= 1 and (not leaves_one or all(one < size for one, size in zip(plain, sizes, strict=True))):
        assert found.tolist() == plain


@pytest.mark.parametrize(("number", "expected"), [(2, [0, 0, 2]), (3, [1, 1, 1]), (5, [1, 1, 3])])
def test_every_group_has_a_member_where_the_number_suffices(number: int, expected: list[int]) -> None:
    assert apportioned(np.array([1, 2, 97]), number).tolist() == expected
