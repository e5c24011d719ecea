"""Shares of variance, against functions whose shares are known in closed form."""

from __future__ import annotations

import math

import numpy as np
import pytest

from raynas.stats.importance import ABSENT, main_effects


def drawn(levels: list[int], n: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, levels, (n, len(levels)))


def test_shares_of_a_sum_are_the_variances_of_its_terms() -> None:
    options = drawn([2, 4, 3, 5], 400)
    tables = [np.array([0.0, 2.0]), np.array([0.0, 1.0, 2.0, 3.0]), np.array([1.0, 0.0, 1.0]), np.zeros(5)]
    values = sum(table[column] for table, column in zip(tables, options.T, strict=True))
    variances = [table.var() for table in tables]
    found = main_effects(options, values, [[0], [1], [2], [3]])
    assert found is not None
    assert [one.value for one in found.groups] == pytest.approx([v / sum(variances) for v in variances], abs=1e-9)
    assert found.rest.value == pytest.approx(0, abs=1e-9)
    for table, effects in zip(tables, found.effects, strict=True):
        assert effects == pytest.approx(table - table.mean(), abs=1e-9)


def test_shares_of_the_ishigami_function_are_its_sobol_indices() -> None:
    a, b, levels = 7.0, 0.1, 16
    options = drawn([levels] * 3, 4000)
    x = -math.pi + 2 * math.pi * (options + 0.5) / levels
    values = np.sin(x[:, 0]) + a * np.sin(x[:, 1]) ** 2 + b * x[:, 2] ** 4 * np.sin(x[:, 0])
    first, second = 0.5 * (1 + b * math.pi**4 / 5) ** 2, a**2 / 8  # Ishigami and Homma 1990
    joint = b**2 * math.pi**8 * 8 / 225
    total = first + second + joint
    found = main_effects(options, values, [[0], [1], [2]])
    assert found is not None
    assert [one.value for one in found.groups] == pytest.approx([first / total, second / total, 0], abs=0.03)
    assert found.rest.value == pytest.approx(joint / total, abs=0.03)
    for one, truth in zip(found.groups, (first / total, second / total, 0), strict=True):
        assert one.low <= truth <= one.high


def test_a_decision_that_goes_along_with_another_is_not_credited_with_its_effect() -> None:
    rng = np.random.default_rng(1)
    first = rng.integers(0, 4, 600)
    second = np.where(rng.random(600) < 0.8, first, rng.integers(0, 4, 600))
    values = np.array([0.0, 5.0, 1.0, 3.0])[first] + 0.1 * rng.standard_normal(600)
    found = main_effects(np.stack([first, second], 1), values, [[0], [1]])
    assert found is not None
    assert found.groups[0].low > 0.98
    assert found.groups[1].value < 0.01


def test_noise_alone_has_no_share() -> None:
    shares = []
    for seed in range(60):
        options = drawn([4, 4, 4], 60, seed)
        found = main_effects(options, np.random.default_rng(1000 + seed).standard_normal(60), [[0], [1], [2]])
        assert found is not None
        shares.append(found.groups[0].value)
        assert found.groups[0].low <= 0.05
    # Shares are cut off at 0. Without correction, the coefficients of one decision would explain 5 % among 60 rows.
    assert np.mean(shares) < 0.03


def test_intervals_hold_the_share_about_as_often_as_they_say() -> None:
    table, held = np.array([0.0, 1.0, 2.0]), 0
    truth = table.var() / (table.var() + 1.0)
    for seed in range(200):
        options = drawn([3, 3], 120, seed)
        noise = np.random.default_rng(5000 + seed).standard_normal(120)
        found = main_effects(options, table[options[:, 0]] + noise, [[0], [1]])
        assert found is not None
        held += found.groups[0].low <= truth <= found.groups[0].high
    assert 0.90 <= held / 200 <= 0.99


def test_layers_that_a_row_lacks_leave_their_effects_to_others() -> None:
    rng = np.random.default_rng(2)
    depth, layer = rng.integers(0, 2, 500), rng.integers(0, 3, 500)
    values = 2.0 * depth + np.where(depth == 1, np.array([-1.0, 0.0, 1.0])[layer], 0.0)
    options = np.stack([depth, np.where(depth == 1, layer, ABSENT)], 1)
    found = main_effects(options, values, [[0], [1]])
    assert found is not None
    within = (depth == 1).mean() * 2 / 3  # the layer's variance, in the rows that have it
    assert [one.value for one in found.groups] == pytest.approx([1 / (1 + within), within / (1 + within)], abs=0.01)


def test_too_few_rows_and_constant_values_have_no_shares() -> None:
    options = drawn([4, 4], 33)
    assert main_effects(options, np.arange(33.0), [[0], [1]]) is None
    assert main_effects(drawn([4, 4], 100), np.full(100, 2.0), [[0], [1]]) is None


def test_an_option_that_is_hardly_seen_is_not_counted() -> None:
    options = drawn([3, 3], 300)
    options[:2, 0] = 3
    values = np.array([0.0, 1.0, 2.0, 1000.0])[options[:, 0]] + 0.01 * options[:, 1]
    found = main_effects(options, values, [[0], [1]])
    assert found is not None
    assert math.isnan(found.effects[0][3])
    assert found.effects[0][:3] == pytest.approx([-1, 0, 1], abs=1e-6)
