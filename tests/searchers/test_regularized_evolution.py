from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from toy_spaces import (
    GRID_BOUND,
    all_gains_and_costs,
    best_score,
    evaluated,
    evenly_spaced,
    gain_and_cost,
    grid,
    maximize_score,
    num_at_last_option,
    searched,
    stages,
)

from raynas.errors import ConfigError
from raynas.searchers import RandomSearch, RegularizedEvolution
from raynas.searchers.registered import searchers
from raynas.space.architecture import Architecture
from raynas.space.results import Candidate, Constraint, Evaluation, Status


def distance(one: Architecture, other: Architecture) -> int:
    """In how many decisions two architectures differ."""
    return int((np.array(stages.encode(one)) != np.array(stages.encode(other))).sum())


def test_it_is_registered() -> None:
    assert searchers.get("regularized_evolution") is RegularizedEvolution


@pytest.mark.slow
def test_it_beats_random_search() -> None:
    score = evenly_spaced(stages)
    for seed in range(10):
        evolved = searched(RegularizedEvolution(stages, maximize_score, seed=seed), score, 1000)
        drawn = searched(RandomSearch(stages, maximize_score, seed=seed), score, 1000)
        assert best_score(evolved) > best_score(drawn)
        assert best_score(evolved) > 11.5  # of 12


def test_no_architecture_comes_twice() -> None:
    told = searched(RegularizedEvolution(stages, maximize_score), num_at_last_option(stages), 3000)
    assert len({one.architecture for one in told}) == 3000


def test_children_are_mutants_of_the_fittest_among_those_told_last() -> None:
    """With tournaments of the whole population the parent is known, and it retires with age."""
    searcher = RegularizedEvolution(stages, maximize_score, population=10, sample_size=1000)
    rng = np.random.default_rng(0)
    told: list[Evaluation] = []
    distances = []
    for step in range(300):
        candidate = searcher.ask(1)[0]
        if step >= 10:
            parent = max(told[-10:], key=lambda one: one.scores["score"])
            distances.append(distance(parent.architecture, candidate.architecture))
        value = float(rng.random())
        told.append(evaluated(candidate, lambda _, value=value: {"score": value}))
        searcher.tell(told[-1:])
    # A second mutation follows where a neighbour was asked before.
    assert np.mean([one == 1 for one in distances]) > 0.8 and max(distances) <= 4


def test_it_starts_with_random_architectures_until_the_population_was_asked() -> None:
    searcher, drawn = (
        RegularizedEvolution(stages, maximize_score, seed=3, population=20),
        RandomSearch(stages, maximize_score, seed=3),
    )
    first = searcher.ask(5)
    searcher.tell([evaluated(one, num_at_last_option(stages)) for one in first])
    assert first + searcher.ask(15) == drawn.ask(20)
    nearest = min(distance(child.architecture, one.architecture) for child in searcher.ask(1) for one in first)
    assert nearest == 1


def test_it_asks_at_random_while_no_result_is_in() -> None:
    searcher = RegularizedEvolution(stages, maximize_score, population=5, sample_size=5)
    assert len({one.architecture for one in searcher.ask(40)}) == 40


def parents_of(results: list[Any], constraints: tuple[Constraint, ...] = (), **settings: Any) -> set[int]:
    """The ids nearest to the children of a population with these results."""
    searcher = RegularizedEvolution(
        stages, maximize_score, constraints, population=len(results), sample_size=100, **settings
    )
    asked = searcher.ask(len(results))
    searcher.tell([judged(one, result) for one, result in zip(asked, results, strict=True)])
    return {min(asked, key=lambda one: distance(one.architecture, child.architecture)).id for child in searcher.ask(30)}


def judged(candidate: Candidate, result: Any) -> Evaluation:
    if isinstance(result, Status):
        return Evaluation(candidate.id, candidate.architecture, result)
    value, violations = result
    scores = {} if value is None else {"score": value}
    status = Status.OK if scores else Status.NOT_APPLICABLE
    return Evaluation(candidate.id, candidate.architecture, status, scores, violations)


@pytest.mark.parametrize(
    ("results", "parent"),
    [
        ([(1.0, {}), (2.0, {}), (0.0, {}), Status.FAILED], 1),
        ([Status.FAILED, Status.TIMEOUT, (-5.0, {}), Status.FAILED], 2),
        ([(9.0, {"macs<=1e+09": 1.0}), (1.0, {})], 1),
        ([(9.0, {"macs<=1e+09": 9e8}), (1.0, {"macs<=1e+09": 2e8})], 1),
        # Relative to the bounds, 5e8 of 1e9 is less than 2 of 2.
        ([(1.0, {"num_params<=2": 2.0}), (1.0, {"macs<=1e+09": 5e8})], 1),
        ([(1.0, {"num_params<=2": 0.9, "macs<=1e+09": 3e8}), (1.0, {"num_params<=2": 1.2})], 1),
        ([(1.0, {"num_params<=2": 0.1}), (2.0, {"num_params<=2": 0.1}), (None, {"num_params<=2": 0.1})], 1),
        ([(1.0, {"num_params<=2": 0.2}), (None, {"num_params<=2": 0.1}), Status.FAILED], 1),
    ],
)
def test_feasibility_comes_before_violation_and_violation_before_score(results: list[Any], parent: int) -> None:
    constraints = (Constraint("macs", "<=", 1e9), Constraint("num_params", "<=", 2))
    assert parents_of(results, constraints) == {parent}


def test_after_failures_alone_it_asks_at_random() -> None:
    searcher, drawn = RegularizedEvolution(stages, maximize_score, population=4), RandomSearch(stages, maximize_score)
    first = searcher.ask(4)
    searcher.tell([Evaluation(one.id, one.architecture, Status.CRASHED) for one in first])
    assert first + searcher.ask(4) == drawn.ask(8)


def test_the_feasible_optimum_is_found() -> None:
    table = all_gains_and_costs()
    best = table[table[:, 1] <= GRID_BOUND.bound, 0].max()
    for seed in range(5):
        searcher = RegularizedEvolution(grid, maximize_score, (GRID_BOUND,), seed=seed)
        told = searched(searcher, gain_and_cost, 1500, constraints=(GRID_BOUND,))
        assert best_score(told) >= best - 1


def test_crossover_takes_decisions_from_two_parents() -> None:
    searcher = RegularizedEvolution(stages, maximize_score, population=3, sample_size=2, crossover_probability=1.0)
    *fittest, third = searcher.ask(3)  # of which any two are drawn, so that one of the first two wins
    searcher.tell([evaluated(one, lambda _, one=one: {"score": -one.id}) for one in (*fittest, third)])
    first, second = fittest
    a, b = stages.encode(first.architecture), stages.encode(second.architecture)
    mixed = 0
    for child in searcher.ask(20):
        numbers = stages.encode(child.architecture)
        assert sum(n not in (x, y) for n, x, y in zip(numbers, a, b, strict=True)) <= 2
        mixed += min(distance(child.architecture, one.architecture) for one in (first, second)) > 2
    assert mixed > 3


@pytest.mark.parametrize(
    "setting",
    [{"population": 1}, {"population": True}, {"sample_size": 1}, {"sample_size": 2.0}, {"crossover_probability": 1.1}],
    ids=str,
)
def test_settings_out_of_range_are_refused(setting: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match=next(iter(setting))):
        RegularizedEvolution(stages, maximize_score, **setting)
