"""The difference between two shares of the same draws."""

from __future__ import annotations

import numpy as np
import pytest

from raynas.stats.proportion import paired_interval


def test_answers_that_agree_leave_what_half_a_draw_in_each_cell_allows() -> None:
    assert paired_interval(0, 0, 98) == pytest.approx((-0.0195996, 0.0195996), abs=1e-7)


def test_the_second_less_the_first() -> None:
    low, high = paired_interval(2, 12, 100)
    assert 0 < low < 10 / 102 < high
    assert paired_interval(12, 2, 100) == pytest.approx((-high, -low))


@pytest.mark.parametrize(("n", "first", "second"), [(50, 0.1, 0.1), (180, 0.02, 0.05), (400, 0.2, 0.1)])
def test_it_covers_as_often_as_it_says(n: int, first: float, second: float) -> None:
    drawn = np.random.default_rng(0).multinomial(n, [first, second, 1 - first - second], 2000)
    bounds = [paired_interval(int(a), int(b), n) for a, b, _ in drawn]
    covered = np.mean([low <= second - first <= high for low, high in bounds])
    assert 0.935 < covered < 0.985
