"""Overlap and regret by hand, and against trying every way to break ties."""

from __future__ import annotations

import itertools
import math
from fractions import Fraction

import numpy as np
import pytest

from raynas.bench.choices import choices, expected_best, top_overlap


def broken_ties(score: np.ndarray, k: int) -> list[tuple[int, ...]]:
    """Every set of k rows that can be the best by a score."""
    filled = np.where(np.isnan(score), -np.inf, score)
    sets = itertools.combinations(range(len(score)), k)
    return [rows for rows in sets if min(filled[list(rows)]) >= np.sort(filled)[::-1][k - 1]
            and set(np.flatnonzero(filled > np.sort(filled)[::-1][k - 1])) <= set(rows)]  # fmt: skip


@pytest.mark.parametrize("k", [1, 2, 3, 5, 7])
def test_ties_count_by_their_chance(k: int) -> None:
    rng = np.random.default_rng(k)
    for _ in range(10):
        score = rng.integers(0, 3, 7).astype(float)
        score[rng.integers(0, 7, 2)] = math.nan
        label = rng.integers(0, 4, 7).astype(float)
        best = np.mean([label[list(rows)].max() for rows in broken_ties(score, k)])
        assert expected_best(score, label, k) == pytest.approx(best)
        pairs = itertools.product(broken_ties(score, k), broken_ties(label, k))
        shared = np.mean([len(set(a) & set(b)) / k for a, b in pairs])
        assert top_overlap(score, label, k) == pytest.approx(shared)


@pytest.mark.parametrize("seed", range(20))
def test_a_regret_of_nothing_is_zero_in_every_digit(seed: int) -> None:
    """Labels are decimals, which have no exact binary form; whether a regret is 0 is worked out in fractions."""
    rng = np.random.default_rng(seed)
    label = rng.integers(700, 705, 12) / 10 * 10.0 ** rng.integers(-6, 6)
    score = rng.integers(0, 2, 12).astype(float)
    found = choices(score, label, top=5)
    for name, k in (("regret", 1), ("regret_top_k", 5)):
        exact = [max(Fraction(label[i]) for i in rows) for rows in broken_ties(score, k)]
        is_nothing = sum(exact) / len(exact) == Fraction(label.max())
        assert (found[name] == 0) == is_nothing
        assert (found[f"{name}_scaled"] == 0) == is_nothing


def test_choices_by_hand() -> None:
    label = np.array([50.0, 60.0, 70.0, 80.0, 90.0, math.nan])
    score = np.array([5.0, 1.0, math.nan, 9.0, 7.0, 99.0])
    found = choices(score, label, top=3)
    # Of the five with a label, the best by score are those with 80, 90, 50; the one without a score comes last.
    assert found["k"] == 3
    assert found["top_k"] == pytest.approx(2 / 3)
    assert found["top_5pct"] == found["top_10pct"] == 0  # one of five: 80 instead of 90
    assert found["regret"] == 10
    assert found["regret_scaled"] == pytest.approx(10 / 40)
    assert found["regret_top_k"] == found["regret_top_k_scaled"] == 0


def test_a_constant_predictor_chooses_as_chance_does() -> None:
    label = np.arange(40.0)
    found = choices(np.ones(40), label, top=10)
    assert found["top_5pct"] == pytest.approx(2 / 40)
    assert found["top_10pct"] == pytest.approx(4 / 40)
    assert found["top_k"] == pytest.approx(10 / 40)
    assert found["regret"] == pytest.approx(39 - label.mean())
    # The largest of 10 numbers out of 0, ..., 39 is (10 * 41) / 11 - 1 in the mean.
    assert found["regret_top_k"] == pytest.approx(39 - (410 / 11 - 1))


def test_without_any_value_there_is_no_choice() -> None:
    assert choices(np.full(5, math.nan), np.arange(5.0), top=2) == {}
    assert choices(np.arange(5.0), np.arange(5.0), top=50)["k"] == 5
