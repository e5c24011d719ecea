from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np
import pytest
from scipy.stats import chisquare
from toy_spaces import grid, layers, maximize_score, single_decision, stages

from raynas.errors import ConfigError
from raynas.searchers import RandomSearch
from raynas.searchers.base import Unseen
from raynas.searchers.registered import searchers
from raynas.space.registered import spaces
from raynas.space.results import Evaluation, Objective, Status


def test_it_is_registered() -> None:
    assert searchers.get("random") is RandomSearch


def test_no_architecture_comes_twice() -> None:
    asked = [candidate.architecture.key for candidate in RandomSearch(stages, maximize_score).ask(20_000)]
    assert len(set(asked)) == 20_000


@pytest.mark.parametrize("space", [stages, grid], ids=lambda space: space.name)
def test_every_option_is_equally_likely(space: object) -> None:
    """In a space drawn in blocks, and in one that is walked in a random order."""
    numbers = np.array([stages_or_grid.encode(one.architecture) for stages_or_grid in [space] for one in asked(space)])
    for column, decision in zip(numbers.T, space.decisions, strict=True):  # type: ignore[attr-defined]
        assert chisquare(np.bincount(column, minlength=len(decision.options))).pvalue > 1e-4


def asked(space: object) -> list[object]:
    return RandomSearch(space, maximize_score, seed=11).ask(3000)  # type: ignore[arg-type, return-value]


def test_the_first_draw_has_the_distribution_of_sample() -> None:
    """A third of the draws has one layer, though those are 12 of 516 architectures."""
    depths = Counter(
        RandomSearch(layers, maximize_score, seed=seed).ask(1)[0].architecture["depth"] for seed in range(600)
    )
    assert chisquare([depths[1], depths[2], depths[3]]).pvalue > 1e-4


def test_a_needle_is_found_in_a_small_space() -> None:
    needle = grid.sample(np.random.default_rng(5))
    searcher = RandomSearch(grid, maximize_score, admits=lambda architecture: architecture == needle)
    assert [candidate.architecture for candidate in searcher.ask(2)] == [needle]
    assert searcher.ask(1) == []


def test_the_search_for_a_needle_in_a_large_space_ends() -> None:
    tries = 0

    def admits(_: object) -> bool:
        nonlocal tries
        tries += 1
        return False

    searcher = RandomSearch(stages, maximize_score, admits=admits)
    assert searcher.ask(3) == searcher.ask(3) == []
    assert tries == Unseen.max_tries + 1


def test_the_last_architectures_of_a_large_space_are_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Unseen, "max_combinations", 100)
    searcher = RandomSearch(layers, maximize_score)
    assert len(searcher.ask(1000)) == layers.size


def test_results_change_nothing() -> None:
    told, untold = (RandomSearch(single_decision, maximize_score, seed=2) for _ in range(2))
    first = told.ask(1)[0]
    told.tell([Evaluation(first.id, first.architecture, scores={"score": 5.0})])
    assert [first, *told.ask(5)] == untold.ask(6)


TWO = (Objective("score"), Objective("cost", maximize=False))


def recommended(rows: list[tuple[float, float]], **settings: object) -> int | None:
    """Number of the candidate that is recommended after these scores and costs."""
    searcher = RandomSearch(stages, TWO, **settings)  # type: ignore[arg-type]
    candidates = searcher.ask(len(rows))
    for candidate, (score, cost) in reversed(list(zip(candidates, rows, strict=True))):
        status = Status.OK if score == score else Status.NON_FINITE
        values = {"score": score, "cost": cost} if status is Status.OK else {"cost": cost}
        searcher.tell([Evaluation(candidate.id, candidate.architecture, status, values)])
    chosen = searcher.recommendation()
    return None if chosen is None else [candidate.architecture for candidate in candidates].index(chosen)


def test_several_objectives_end_in_a_choice_by_their_normalised_sum() -> None:
    rows = [(0.0, 0.0), (10.0, 1e6), (9.0, 4e5), (float("nan"), -1e9)]
    assert recommended(rows) == 2  # 0 + 1, 1 + 0, 0.9 + 0.6
    assert recommended(rows, weights=(1.0, 3.0)) == 0
    assert recommended(rows, weights=(5.0, 1.0)) == 2
    assert recommended(rows, weights=(9.0, 1.0)) == 1
    assert recommended([(0.0, 0.0), (1.0, 5.0), (100.0, 6.0), (2.0, 4.0)], combine="rank_sum") == 3
    assert recommended([(1.0, 1.0), (1.0, 1.0)]) == 0
    assert recommended([(float("nan"), 1.0)]) is None


def test_one_objective_ends_in_no_choice_of_its_own() -> None:
    searcher = RandomSearch(stages, maximize_score)
    (candidate,) = searcher.ask(1)
    searcher.tell([Evaluation(candidate.id, candidate.architecture, scores={"score": 1.0})])
    assert searcher.recommendation() is None


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"combine": "product"}, "combine is 'product'; it is one of log_rank, rank_sum, min_max"),
        ({"weights": (1.0,)}, "weights are 2 numbers, one for each objective"),
        ({"weights": (0.0, 0.0)}, "not all 0"),
        ({"weights": (1.0, -1.0)}, "weights is a number from 0"),
    ],
)
def test_settings_of_the_choice_are_checked(settings: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        RandomSearch(stages, TWO, **settings)  # type: ignore[arg-type]


def test_blocks_are_absent_half_the_time_and_otherwise_uniform() -> None:
    space = spaces.get("vit-res-nano")
    searcher = searchers.get("random")(space, maximize_score, seed=1)
    drawn = [candidate.architecture for candidate in searcher.ask(2000)]
    heads: Any = np.array([one["num_heads"] for one in drawn])
    for i, _ in space.removable:
        column = heads[:, int(space.decisions[i].name.partition("[")[2][:-1])]
        values, counts = np.unique(column, return_counts=True)
        assert abs(counts[values == 0][0] / 2000 - 0.5) < 4 * 0.5 / 2000**0.5
        present = counts[values > 0]
        assert chisquare(present).pvalue > 1e-4
