"""Correlations on resampled rows against scipy on the rows themselves, and against counting pairs."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from scipy import stats

import raynas.stats.resampling
from raynas.stats.resampling import Resampler, resampled_weights


def columns(n: int, seed: int = 0) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """Smooth, coarse, heavy-tailed and nearly constant predictors, and two labels with ties."""
    rng = np.random.default_rng(seed)
    common = rng.standard_normal(n)
    first = [
        common + rng.standard_normal(n),
        rng.integers(0, 3, n).astype(float),
        np.exp(40 * common) * 1e200,
        1e9 + (np.arange(n) < 3),
    ]
    return first, [np.round(common + rng.standard_normal(n), 1), rng.integers(0, 5, n) - common.round()]


def rows_of(weights: np.ndarray) -> np.ndarray:
    """The rows that were drawn, each as often as it was."""
    return np.repeat(np.arange(len(weights)), weights.astype(int))


@pytest.mark.filterwarnings("ignore::scipy.stats.ConstantInputWarning")
@pytest.mark.parametrize("measure", ["tau", "rho", "r"])
def test_measures_are_those_of_scipy_on_the_resampled_rows(measure: str) -> None:
    slow = {"tau": stats.kendalltau, "rho": stats.spearmanr, "r": stats.pearsonr}[measure]
    first, second = columns(40)
    (weights,) = resampled_weights(40, 60, seed=1)
    found = getattr(Resampler(first, second), measure)(weights)
    assert found.shape == (60, 4, 2)
    unknown = 0
    for resample, p, k in itertools.product(range(60), range(4), range(2)):
        rows = rows_of(weights[resample])
        expected = slow(first[p][rows], second[k][rows]).statistic
        unknown += math.isnan(expected)
        assert found[resample, p, k] == pytest.approx(expected, nan_ok=True, abs=1e-9)
    assert unknown > 0  # of the column that is often constant


def test_tau_counts_pairs_with_ties() -> None:
    first, second = columns(25)
    found = Resampler(first[:2], second).tau(np.ones((1, 25)))[0]
    for p, k in itertools.product(range(2), range(2)):
        signs = [
            (np.sign(first[p][i] - first[p][j]), np.sign(second[k][i] - second[k][j]))
            for i, j in itertools.combinations(range(25), 2)
        ]
        untied = [sum(a != 0 for a, _ in signs), sum(b != 0 for _, b in signs)]
        assert found[p, k] == pytest.approx(sum(a * b for a, b in signs) / math.sqrt(untied[0] * untied[1]))


def test_resamples_have_as_many_rows_and_follow_from_the_seed(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = np.concatenate(list(resampled_weights(30, 50, seed=3)))
    assert whole.shape == (50, 30)
    assert (whole.sum(axis=1) == 30).all()
    assert (whole == np.floor(whole)).all()
    monkeypatch.setattr(raynas.stats.resampling, "_CHUNK", 200)
    parts = list(resampled_weights(30, 50, seed=3))
    assert len(parts) > 5
    assert (np.concatenate(parts) == whole).all()
    assert (np.concatenate(list(resampled_weights(30, 50, seed=4))) != whole).any()


def test_tau_of_many_rows_is_exact_on_all_and_close_on_resamples(monkeypatch: pytest.MonkeyPatch) -> None:
    first, second = columns(900, seed=2)
    first, second = first[:2], second[:1]
    weights = np.concatenate(list(resampled_weights(900, 300, seed=0)))
    exact = Resampler(first, second).tau(weights)
    monkeypatch.setattr(raynas.stats.resampling, "EXACT_ROWS", 100)
    for reference_rows in (2000, 400):  # all rows, and a part of them
        monkeypatch.setattr(raynas.stats.resampling, "_REFERENCE_ROWS", reference_rows)
        sampler = Resampler(first, second)
        on_all = sampler.tau(np.ones((1, 900)))[0]
        for p in range(2):
            assert on_all[p, 0] == pytest.approx(stats.kendalltau(first[p], second[0]).statistic)
        near = sampler.tau(weights)
        assert np.abs(near.std(axis=0) / exact.std(axis=0) - 1).max() < 0.05
        assert (np.sqrt(((near - exact) ** 2).mean(axis=0)) < 0.15 * exact.std(axis=0)).all()


@pytest.mark.parametrize("measure", ["tau", "rho", "r"])
def test_a_resample_without_any_of_the_rows_has_no_correlation(measure: str) -> None:
    columns = np.array([[1.0, 2.0, 4.0, 8.0]])
    weights = np.array([[0.0] * 4, [1.0] * 4])
    nothing, whole = getattr(Resampler(columns, columns), measure)(weights)
    assert np.isnan(nothing).all()
    assert whole == pytest.approx(1.0)


def test_a_measure_of_equal_columns_is_one_whatever_is_drawn() -> None:
    column = np.random.default_rng(0).standard_normal(1500)
    sampler = Resampler([column, -column], [column])
    weights = np.concatenate(list(resampled_weights(1500, 20, seed=0)))
    for measure in (sampler.tau, sampler.rho, sampler.r):
        found = measure(weights)
        assert found[:, 0, 0] == pytest.approx(1, abs=2e-3)
        assert found[:, 1, 0] == pytest.approx(-1, abs=2e-3)
        assert np.abs(found).max() <= 1
