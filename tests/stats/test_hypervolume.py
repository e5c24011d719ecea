"""Hypervolumes against sums over subsets and random points."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from raynas.stats.hypervolume import hypervolume_trace


def by_inclusion_and_exclusion(points: np.ndarray) -> float:
    """Of points in the unit box: boxes of single points, less those of pairs, and so on."""
    subsets = itertools.chain.from_iterable(itertools.combinations(points, k) for k in range(1, len(points) + 1))
    return sum((-1) ** (len(some) + 1) * float(np.prod(1 - np.max(some, axis=0))) for some in subsets)


def unit_box(columns: int) -> tuple[np.ndarray, np.ndarray]:
    return np.zeros(columns), np.ones(columns)


@pytest.mark.parametrize("columns", [1, 2, 3, 4])
@pytest.mark.parametrize("steps", [10, 10_000])
def test_volumes_are_those_of_inclusion_and_exclusion(columns: int, steps: int) -> None:
    points = np.random.default_rng(columns).integers(0, steps, size=(9, columns)) / steps
    trace = dict(hypervolume_trace(points, *unit_box(columns)))
    last = 0.0
    for n in range(1, len(points) + 1):
        last = trace.get(n - 1, last)
        assert last == pytest.approx(by_inclusion_and_exclusion(points[:n]), abs=1e-12)


@pytest.mark.parametrize("columns", [2, 3])
def test_volumes_are_the_share_of_random_points_that_are_dominated(columns: int) -> None:
    rng = np.random.default_rng(1)
    losses = rng.normal(size=(60, columns)) * 10.0 ** np.arange(columns)
    scaled = (losses - losses.min(axis=0)) / np.ptp(losses, axis=0)
    drawn = rng.random((50_000, columns))
    trace = hypervolume_trace(losses)
    for position, volume in trace[:: max(1, len(trace) // 4)]:
        is_dominated = (scaled[None, : position + 1] <= drawn[:, None]).all(axis=2).any(axis=1)
        assert volume == pytest.approx(is_dominated.mean(), abs=0.01)  # four standard deviations
    volumes = [volume for _, volume in trace]
    assert volumes == sorted(volumes)


def test_two_columns_are_three_of_which_one_is_constant() -> None:
    points = np.random.default_rng(2).random((300, 2))
    expected = hypervolume_trace(np.insert(points, 1, 0.0, axis=1), *unit_box(3))
    found = hypervolume_trace(points, *unit_box(2))
    assert [position for position, _ in found] == [position for position, _ in expected]
    assert [area for _, area in found] == pytest.approx([area for _, area in expected], rel=1e-12)


@pytest.mark.parametrize("columns", [1, 2, 3])
def test_no_points_have_no_volume_and_one_point_is_its_own_box(columns: int) -> None:
    assert hypervolume_trace(np.zeros((0, columns))) == []
    assert hypervolume_trace(np.full((1, columns), 7.0)) == [(0, 1.0)]


def test_hypervolume_is_the_dominated_area() -> None:
    losses = np.random.default_rng(1).random((60, 2))
    trace = hypervolume_trace(losses)
    scaled = (losses - losses.min(axis=0)) / np.ptp(losses, axis=0)
    centres = (np.arange(500) + 0.5) / 500
    for position, area in trace[:: max(1, len(trace) // 5)]:
        covered = np.zeros((500, 500), bool)
        for a, b in scaled[: position + 1]:
            covered |= (centres[:, None] > a) & (centres > b)
        assert area == pytest.approx(covered.mean(), abs=0.01)
    assert [area for _, area in trace] == sorted(area for _, area in trace)
    assert hypervolume_trace(np.zeros((0, 2))) == []
