from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from toy_spaces import (
    GRID_BOUND,
    all_gains_and_costs,
    best_score,
    evenly_spaced,
    gain_and_cost,
    grid,
    maximize_score,
    searched,
    stages,
)

from raynas.errors import ConfigError
from raynas.searchers import TPE, RandomSearch
from raynas.searchers.registered import searchers
from raynas.space.results import Objective


def test_it_is_registered() -> None:
    assert searchers.get("tpe") is TPE
    assert TPE.advised_budget == 1_000


@pytest.mark.slow
def test_it_beats_random_search() -> None:
    score = evenly_spaced(stages)
    for seed in range(4):
        modelled = searched(TPE(stages, maximize_score, seed=seed), score, 200)
        drawn = searched(RandomSearch(stages, maximize_score, seed=seed), score, 200)
        assert best_score(modelled) > best_score(drawn) + 0.5


def test_the_feasible_optimum_is_approached() -> None:
    table = all_gains_and_costs()
    best = table[table[:, 1] <= GRID_BOUND.bound, 0].max()
    for seed in range(3):
        told = searched(TPE(grid, maximize_score, (GRID_BOUND,), seed=seed), gain_and_cost, 250, 16, (GRID_BOUND,))
        assert best_score(told) >= 0.8 * best


def test_two_objectives_are_improved_together() -> None:
    objectives = (Objective("score"), Objective("cost", maximize=False))

    def trade_off(kind: Any) -> float:
        told = searched(kind(grid, objectives, seed=0), gain_and_cost, 250, 8)[50:]
        return float(np.mean([one.scores["score"] / 84 - one.scores["cost"] / 184 for one in told]))

    assert trade_off(TPE) > trade_off(RandomSearch) + 0.02


def test_what_is_not_admitted_is_not_asked() -> None:
    def admits(architecture: Any) -> bool:
        return gain_and_cost(architecture)["cost"] <= 30

    told = searched(TPE(grid, maximize_score, seed=0, admits=admits), gain_and_cost, 100)
    assert len({one.architecture for one in told}) == len(told) == 100
    assert all(admits(one.architecture) for one in told)


@pytest.mark.parametrize("setting", [{"num_random": 0}, {"num_proposals": 1.5}], ids=str)
def test_settings_out_of_range_are_refused(setting: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match=next(iter(setting))):
        TPE(stages, maximize_score, **setting)
