from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from toy_spaces import (
    GRID_BOUND,
    all_gains_and_costs,
    best_score,
    gain_and_cost,
    grid,
    maximize_score,
    searched,
    stages,
)

from raynas.errors import ConfigError
from raynas.searchers import NSGA2, RandomSearch
from raynas.searchers.registered import searchers
from raynas.space.results import Constraint, Evaluation, Objective

GAIN_AND_COST = (Objective("score"), Objective("cost", maximize=False))


def hypervolume(gains: np.ndarray, costs: np.ndarray, max_cost: float = 200.0) -> float:
    """The area between the front and the corner of no gain at the greatest cost."""
    area, best = 0.0, 0.0
    for cost, gain in sorted(zip(costs, gains, strict=True), key=lambda pair: (pair[0], -pair[1])):
        if gain > best and cost < max_cost:
            area += (gain - best) * (max_cost - cost)
            best = gain
    return area


def covered(told: list[Evaluation]) -> float:
    return hypervolume(*(np.array([one.scores[name] for one in told]) for name in ("score", "cost")))


def test_it_is_registered() -> None:
    assert searchers.get("nsga2") is NSGA2
    assert NSGA2.advised_budget == 10_000


@pytest.mark.slow
def test_the_front_of_two_objectives_is_covered_better_than_by_random_search() -> None:
    whole = hypervolume(*all_gains_and_costs().T)
    for seed in range(5):
        found = covered(searched(NSGA2(grid, GAIN_AND_COST, seed=seed), gain_and_cost, 1500))
        drawn = covered(searched(RandomSearch(grid, GAIN_AND_COST, seed=seed), gain_and_cost, 1500))
        assert found > 0.98 * whole
        assert whole - found < 0.6 * (whole - drawn)


def test_the_feasible_optimum_of_one_objective_is_found() -> None:
    table = all_gains_and_costs()
    best = table[table[:, 1] <= GRID_BOUND.bound, 0].max()
    for seed in range(3):
        told = searched(NSGA2(grid, maximize_score, (GRID_BOUND,), seed=seed), gain_and_cost, 1000, 64, (GRID_BOUND,))
        assert best_score(told) >= best - 2


def test_a_narrow_constraint_on_a_score_is_met() -> None:
    """Hardly any random architecture costs at most 3; minimal violation leads there, against the other objective."""
    bound = Constraint("cost", "<=", 3)
    assert (all_gains_and_costs()[:, 1] <= 3).mean() < 0.001
    told = searched(NSGA2(grid, GAIN_AND_COST, (bound,), seed=0), gain_and_cost, 600, 64, (bound,))
    assert any(one.is_feasible for one in told)


def test_no_architecture_comes_twice_and_the_costs_bound_holds() -> None:
    def admits(architecture: Any) -> bool:
        return gain_and_cost(architecture)["cost"] <= 30

    told = searched(NSGA2(grid, GAIN_AND_COST, seed=0, admits=admits), gain_and_cost, 600)
    assert len({one.architecture for one in told}) == len(told) == 600
    assert all(admits(one.architecture) for one in told)


def test_generations_advance_where_results_come_out_of_order() -> None:
    searcher = NSGA2(grid, maximize_score, population=20, seed=0)
    rng = np.random.default_rng(0)
    waiting, scores = searcher.ask(40), []
    while len(scores) < 600:
        rng.shuffle(waiting)  # type: ignore[arg-type]
        one = waiting.pop()
        scores.append(gain_and_cost(one.architecture)["score"])
        searcher.tell([Evaluation(one.id, one.architecture, scores={"score": scores[-1]})])
        waiting += searcher.ask(1)
    assert np.mean(scores[-100:]) > np.mean(scores[:40]) + 15  # random: 42 of 84


@pytest.mark.parametrize(
    "setting", [{"population": 1}, {"crossover_probability": -0.1}, {"mutation_probability": "often"}], ids=str
)
def test_settings_out_of_range_are_refused(setting: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match=next(iter(setting))):
        NSGA2(stages, GAIN_AND_COST, **setting)
