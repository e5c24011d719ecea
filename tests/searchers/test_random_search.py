from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from scipy.stats import chisquare
from toy_spaces import grid, layers, maximize_score, single_decision, stages

from raynas.registry import searchers
from raynas.results import Evaluation
from raynas.searchers import RandomSearch
from raynas.searchers.base import Unseen


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
