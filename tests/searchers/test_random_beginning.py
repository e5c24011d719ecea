"""Searchers that draw their first candidates at random say how many these are."""

from __future__ import annotations

import pytest
from toy_spaces import maximize_score, searched, stages

from raynas.hooks import offered
from raynas.searchers.protocols import BeginsAtRandom
from raynas.searchers.registered import searchers

FEW = {"nsga2": "population", "evolution": "population", "regularized_evolution": "population", "tpe": "num_random",
       "uncertainty": "first"}  # fmt: skip
"""Settings of how many are drawn at random first."""


@pytest.mark.parametrize("name", [name for name in searchers if name != "growth"])
def test_a_searcher_that_begins_at_random_says_with_how_many(name: str) -> None:
    begins = offered(searchers.get(name)(stages, maximize_score, seed=0), BeginsAtRandom)
    assert (begins is not None) == (name in FEW)
    if begins is None:
        return
    more = {"parents": 4, "mutants": 3, "children": 3} if name == "evolution" else {}
    sequences = []
    for sign in (1, -1):
        searcher = searchers.get(name)(stages, maximize_score, seed=0, **{FEW[name]: 8, **more})
        asked = searched(searcher, lambda one, sign=sign: {"score": sign * sum(stages.encode(one))}, 40, window=1)
        sequences.append([evaluation.architecture for evaluation in asked])
    begins = offered(searcher, BeginsAtRandom)
    assert begins is not None and begins.num_random == 8
    first, other = sequences
    assert first[:8] == other[:8]  # whatever comes out of them
    if name != "uncertainty":  # which learns the same from values of both signs
        assert first[8:] != other[8:]
