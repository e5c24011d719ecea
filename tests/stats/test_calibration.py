"""Calibration against an example by hand, a slow form of the definition, and networks whose error is known."""

from __future__ import annotations

import math

import numpy as np
import pytest

from raynas.stats.calibration import calibration_bins, calibration_error


def test_an_example_by_hand() -> None:
    # Of four images at 0.95 three are right (a gap of 0.2), of four at 0.85 three (0.1), of two at 0.55 both (0.45).
    confidences = np.array([0.95] * 4 + [0.85] * 4 + [0.55] * 2)
    is_correct = np.array([1, 1, 1, 0, 1, 1, 1, 0, 1, 1], bool)
    bins = calibration_bins(confidences, is_correct, 10)
    assert bins.images.tolist() == [0, 0, 0, 0, 0, 2, 0, 0, 4, 4]
    assert bins.correct.tolist() == [0, 0, 0, 0, 0, 2, 0, 0, 3, 3]
    np.testing.assert_allclose(bins.confidence, [math.nan] * 5 + [0.55, math.nan, math.nan, 0.85, 0.95])
    np.testing.assert_allclose(bins.accuracy, [math.nan] * 5 + [1, math.nan, math.nan, 0.75, 0.75])
    error = calibration_error(confidences, is_correct, bins=10)
    assert error.value == pytest.approx((4 * 0.2 + 4 * 0.1 + 2 * 0.45) / 10)


def test_what_is_too_sure_and_what_is_too_unsure_do_not_make_up_for_each_other_but_in_one_bin() -> None:
    confidences, is_correct = np.array([0.9, 0.9, 0.6, 0.6]), np.array([1, 0, 1, 1], bool)
    assert calibration_error(confidences, is_correct, bins=15).value == pytest.approx((0.4 + 0.4) / 2)
    assert calibration_error(confidences, is_correct, bins=1).value == pytest.approx(0)


def test_a_bin_has_its_upper_edge() -> None:
    edges = np.array([0, 0.2, 0.2 + 1e-9, 0.4, 1.0])
    assert calibration_bins(edges, np.ones(5, bool), 5).images.tolist() == [2, 2, 0, 0, 1]


def test_many_images_against_loops() -> None:
    rng = np.random.default_rng(3)
    confidences, is_correct = rng.random(300), rng.random(300) < 0.5
    expected = 0.0
    for number in range(15):
        members = [i for i in range(300) if number / 15 < confidences[i] <= (number + 1) / 15]
        if members:
            right = sum(bool(is_correct[i]) for i in members) / len(members)
            expected += len(members) / 300 * abs(right - sum(confidences[i] for i in members) / len(members))
    assert calibration_error(confidences, is_correct).value == pytest.approx(expected)


def test_a_network_that_is_always_sure_and_right_has_no_error() -> None:
    found = calibration_error(np.ones(20), np.ones(20, bool))
    assert (found.value, found.low, found.high, found.by_chance) == (0, 0, 0, 0)


@pytest.mark.parametrize(("says", "is_right"), [(0.9, 0.7), (0.8, 0.8), (0.6, 0.7)])
def test_the_interval_covers_the_error_of_many_images(says: float, is_right: float) -> None:
    # In one bin, the error of all images that there are is the distance of the two.
    covered = 0
    for seed in range(40):
        is_correct = np.random.default_rng(seed).random(400) < is_right
        found = calibration_error(np.full(400, says), is_correct, seed=seed)
        assert found.low <= found.value <= found.high
        covered += found.low <= abs(says - is_right) + 1e-12 and abs(says - is_right) - 1e-12 <= found.high
    assert covered >= 34  # 38 on average, and fewer than 34 in 1 of 50 at most if it covers 95 %


def test_what_chance_does_is_the_mean_distance_of_a_share() -> None:
    # Of n images of probability p, the share lies sqrt(2 p (1 - p) / (pi n)) from it on average.
    is_correct = np.random.default_rng(0).random(400) < 0.8
    expected = math.sqrt(2 * 0.8 * 0.2 / (math.pi * 400))
    assert calibration_error(np.full(400, 0.8), is_correct).by_chance == pytest.approx(expected, rel=0.12)
