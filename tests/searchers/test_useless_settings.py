"""Settings with which a searcher learns nothing are refused, whichever searcher it is."""

from __future__ import annotations

import itertools

import pytest
from toy_spaces import maximize_score, searched, stages

from raynas.errors import ConfigError
from raynas.searchers.base import own_settings
from raynas.searchers.registered import searchers

# One draws nothing, one learns nothing, and one asks the same whether a score is to be large or small.
LEARNING = [name for name in searchers if name not in ("growth", "random", "uncertainty")]
FEW = {
    "nsga2": {"population": 10},
    "regularized_evolution": {"population": 10, "sample_size": 5},
    "tpe": {"num_random": 5},
    "evolution": {"population": 10, "parents": 5, "mutants": 5, "children": 5},
}
"""Settings with which thirty evaluations teach something."""


def asked_where(name: str, sign: int, settings: dict[str, object]) -> list[str]:
    """What is asked where the sum of the options' numbers is to be large, or to be small."""
    searcher = searchers.get(name)(stages, maximize_score, **{**FEW.get(name, {}), **settings})
    told = searched(searcher, lambda one: {"score": float(sign * sum(stages.encode(one)))}, 30, window=1)
    return [one.architecture.key for one in told]


@pytest.mark.parametrize(
    "name", [pytest.param(one, marks=pytest.mark.slow if one == "evolution" else ()) for one in LEARNING]
)
def test_settings_with_which_nothing_is_learnt_are_refused(name: str) -> None:
    """Each at 0 and 1, alone and in pairs: what is asked depends on results, or the searcher is refused."""
    single = [{setting: value} for setting in own_settings(searchers.get(name)) for value in (0, 1)]
    pairs = [one | other for one, other in itertools.combinations(single, 2) if one.keys() != other.keys()]
    useless = []
    for settings in [{}, *single, *pairs]:
        try:
            is_learnt = asked_where(name, 1, settings) != asked_where(name, -1, settings)
        except ConfigError:
            continue
        if not is_learnt:
            useless.append(settings)
    assert useless == []
