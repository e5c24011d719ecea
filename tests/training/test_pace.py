"""The estimate of the time left, from steps that were measured."""

from __future__ import annotations

import math

import pytest

from raynas.training.pace import Pace


def test_the_first_step_of_a_kind_counts_until_there_is_another() -> None:
    pace = Pace()
    assert math.isnan(pace.step_s(100))
    pace.add(100, 9.0)
    assert pace.step_s(100) == 9.0
    for seconds in (1.0, 2.0, 3.0):
        pace.add(100, seconds)
    assert pace.step_s(100) == 2.0


def test_steps_of_another_kind_are_estimated() -> None:
    pace = Pace()
    pace.add(100, 4.0)
    assert pace.step_s(300) == 8.0  # half of the 4 s grows threefold
    pace.add(200, 6.0)
    assert pace.step_s(300) == pytest.approx(8.0)  # on the line through both
    assert pace.step_s(10) == pytest.approx(2.2)
    pace.add(200, 20.0)
    assert pace.step_s(1) == 2.0  # the line is below half of the shortest
