"""Growth in depth and width: its candidates, its choice, its end."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from scipy.stats import rankdata
from toy_spaces import growing_layers, growing_stages, layers, maximize_score, searched

from raynas.errors import ConfigError, SpaceError
from raynas.searchers import AutoScaling
from raynas.searchers.admission import admission
from raynas.searchers.registered import searchers
from raynas.space.architecture import Architecture
from raynas.space.fields import Choice
from raynas.space.growth import Growth
from raynas.space.results import Candidate, Constraint, Evaluation, Objective, Status
from raynas.space.search_space import SearchSpace
from searchspaces.as_vit import as_vit, num_params

SEED = "8,2,3|4,1,2|4,1,4|4,1,6|32"
SIZE = {"img_size": 224, "num_classes": 1000}
BOUND = Constraint("num_params", "<=", 110e6)

Score = Callable[[Architecture], dict[str, float]]


def params(architecture: Architecture) -> float:
    return float(num_params(architecture, 224, 1000))


def told(candidate: Candidate, **scores: float) -> Evaluation:
    return Evaluation(candidate.id, candidate.architecture, scores=scores)


def first_step(start: str, **settings: Any) -> list[Architecture]:
    """The candidates of the first step from an As-ViT genotype."""
    searcher = AutoScaling(as_vit, maximize_score, start=start, **settings)
    (candidate,) = searcher.ask(5)
    searcher.tell([told(candidate, score=1.0, num_params=params(candidate.architecture))])
    return [one.architecture for one in searcher.ask(100)]


def family_of(objectives: tuple[Objective, ...], score: Score, **settings: Any) -> AutoScaling:
    """As-ViT grown from its seed to 80 to 110 million parameters on made-up scores."""
    searcher = AutoScaling(
        as_vit, objectives, (BOUND,), start=SEED, stop="num_params>=80e6",
        admits=admission(as_vit, (BOUND,), **SIZE), **settings,
    )  # fmt: skip
    searched(searcher, lambda one: {**score(one), "num_params": params(one)}, 10_000, 64, (BOUND,))
    return searcher


def noise(architecture: Architecture) -> dict[str, float]:
    rng = np.random.default_rng(int(architecture.key, 16))
    return {"expressive": float(rng.integers(5)), "hard": float(rng.random())}


NOISE = (Objective("expressive"), Objective("hard", maximize=False))


def test_it_is_registered() -> None:
    assert searchers.get("growth") is AutoScaling


# -- candidates --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("width", "grown"),
    [
        (32, [32, 36, 40]),  # 8: 8.4, 8.8, 9.2, 9.6
        (40, [44, 48]),  # 10: 10.5, 11, 11.5, 12; halves are rounded away from zero
        (64, [68, 72, 76]),  # 16: 16.8, 17.6, 18.4, 19.2
        (80, [84, 88, 92, 96]),  # 20: 21, 22, 23, 24
        (360, [380, 396, 416, 432]),  # 90: 94.5, 99, 103.5, 108
    ],
)
def test_a_step_combines_every_stage_with_every_rounded_width(width: int, grown: list[int]) -> None:
    found = [(one["depth"], one["embed_dim"]) for one in first_step(f"8,2,3,2|4,1,2|4,1,4,3|4,1,6|32,{width}")]
    deeper = [(3, 1, 3, 1), (2, 2, 3, 1), (2, 1, 4, 1), (2, 1, 3, 2)]
    assert found == [(depth, width) for width in reversed(grown) for depth in deeper]


def test_nothing_but_depth_and_width_changes() -> None:
    start = as_vit.read(SEED)
    for one in first_step(SEED):
        assert one.replace(depth=start["depth"], embed_dim=start["embed_dim"]) == start


def test_rates_are_a_setting() -> None:
    assert {one["embed_dim"] for one in first_step(SEED, rates=(0.0, 0.5))} == {32, 48}


def test_what_the_constraints_on_costs_refuse_is_not_asked() -> None:
    bound = Constraint("num_params", "<=", 3.1e6)
    asked = first_step(SEED, admits=admission(as_vit, (bound,), **SIZE))
    everything = first_step(SEED)
    assert asked == [one for one in everything if params(one) <= 3.1e6]
    assert 0 < len(asked) < len(everything)


def test_what_the_grammar_refuses_is_not_asked() -> None:
    def even(architecture: Architecture) -> None:
        if architecture["embed_dim"] % 2 or architecture["depth"][0] > 2:  # type: ignore[index, operator]
            raise SpaceError("odd")

    space = SearchSpace(
        "even", {"depth": (Choice(1), Choice(1)), "embed_dim": Choice(20)}, "none", grammar=even, growth=Growth()
    )
    searcher = AutoScaling(space, maximize_score, start='{"depth": [2, 1], "embed_dim": 20}')
    searcher.tell([told(searcher.ask(1)[0], score=0.0)])
    assert [dict(one.architecture) for one in searcher.ask(9)] == [
        {"depth": (2, 2), "embed_dim": 24},
        {"depth": (2, 2), "embed_dim": 22},
    ]


def test_a_new_layer_is_like_the_last_one() -> None:
    start = '{"activation": "relu", "depth": 2, "width": 30, "mlp_ratio": [2, 3.5]}'
    searcher = AutoScaling(growing_layers, maximize_score, start=start)
    searcher.tell([told(searcher.ask(1)[0], score=0.0)])
    assert [dict(one.architecture) for one in searcher.ask(9)] == [
        {"activation": "relu", "depth": 3, "width": width, "mlp_ratio": (2, 3.5, 3.5)} for width in (36, 33)
    ]  # 10 units: 10.5, 11, 11.5, 12


def test_a_unit_may_be_a_field() -> None:
    space = SearchSpace(
        "heads",
        {"depth": Choice(*range(1, 9)), "num_heads": Choice(3), "embed_dim": Choice(*range(3, 99, 3))},
        "none",
        growth=Growth(unit="num_heads"),
    )
    searcher = AutoScaling(space, maximize_score, start='{"depth": 1, "num_heads": 3, "embed_dim": 60}')
    searcher.tell([told(searcher.ask(1)[0], score=0.0)])
    assert [one.architecture["embed_dim"] for one in searcher.ask(9)] == [72, 69, 66, 63]


def test_no_layer_grows_out_of_none() -> None:
    space = growing_layers
    none = Architecture({"activation": "gelu", "depth": 0, "width": 30, "mlp_ratio": []})
    with pytest.raises(SpaceError, match="there is none"):
        Growth(width="width", unit=3).deepened(space.fields, none, 0)


def test_growth_names_fields_of_the_space() -> None:
    with pytest.raises(SpaceError, match="its growth names 'embed_dim', which is no field"):
        SearchSpace("odd", {"depth": Choice(1), "width": Choice(2)}, "none", growth=Growth())


# -- the whole course --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("stage", range(4))
def test_scores_that_prefer_a_stage_put_all_depth_there(stage: int) -> None:
    searcher = family_of(
        (Objective("deep"), Objective("loss", maximize=False)),
        lambda one: {"deep": one["depth"][stage], "loss": -one["embed_dim"] - 1000 * one["depth"][stage]},  # type: ignore[index, operator]
    )
    states = [state.evaluation.architecture for state in searcher.family()]
    assert [sum(one["depth"]) for one in states] == list(range(4, 4 + len(states)))  # type: ignore[arg-type]
    final: Any = states[-1]["depth"]
    assert final == tuple(1 + (len(states) - 1) * (i == stage) for i in range(4))
    assert all(params(one) < 80e6 for one in states[:-1])
    assert 80e6 <= params(states[-1]) <= 110e6
    assert searcher.is_complete
    assert searcher.ask(3) == []


def test_parameters_grow_with_the_width_of_a_steps_candidates() -> None:
    searcher = AutoScaling(as_vit, NOISE, start=SEED, stop="num_params>=80e6")
    while asked := searcher.ask(100):
        for depth in {one.architecture["depth"] for one in asked}:
            counts = [params(one.architecture) for one in asked if one.architecture["depth"] == depth]
            assert counts == sorted(counts, reverse=True)  # the widest first
            assert len(set(counts)) == len(counts)
        searcher.tell([told(one, **noise(one.architecture), num_params=params(one.architecture)) for one in asked])
    assert len(searcher.family()) > 5


def test_growth_is_deterministic_and_ignores_the_seed_and_the_order_of_results() -> None:
    expected = family_of(NOISE, noise).family()
    assert family_of(NOISE, noise, seed=7).family() == expected
    searcher = AutoScaling(
        as_vit, NOISE, (BOUND,), start=SEED, stop="num_params>=80e6", admits=admission(as_vit, (BOUND,), **SIZE)
    )
    rng = np.random.default_rng(0)
    waiting: list[Candidate] = []
    while waiting or not searcher.is_complete:
        waiting += searcher.ask(int(rng.integers(1, 9)))
        candidate = waiting.pop(int(rng.integers(len(waiting))))
        searcher.tell([told(candidate, **noise(candidate.architecture), num_params=params(candidate.architecture))])
    assert searcher.family() == expected


def test_the_family_says_what_each_step_asked_and_changed() -> None:
    searcher = family_of(NOISE, noise)
    family = searcher.family()
    assert [state.step for state in family] == list(range(len(family)))
    assert family[0].change == "start"
    assert family[0].asked == (0, 1)
    for before, after in itertools.pairwise(family):
        assert after.asked[0] == before.asked[1]
        assert after.evaluation.id in range(*after.asked)
        old: Any = before.evaluation.architecture
        new: Any = after.evaluation.architecture
        (stage,) = (i for i in range(4) if new["depth"][i] != old["depth"][i])
        widths = f", embed_dim {old['embed_dim']} -> {new['embed_dim']}" if new["embed_dim"] != old["embed_dim"] else ""
        assert after.change == f"depth[{stage}]+1{widths}"


def test_progress_goes_from_nothing_to_all() -> None:
    searcher = AutoScaling(as_vit, NOISE, start=SEED, stop="num_params>=80e6")
    shares = [searcher.progress().share]
    texts = []
    while asked := searcher.ask(100):
        searcher.tell([told(one, **noise(one.architecture), num_params=params(one.architecture)) for one in asked])
        shares.append(searcher.progress().share)
        texts.append(searcher.progress().text)
    assert shares[0] == 0.0
    assert shares == sorted(shares)
    assert shares[-1] == 1.0
    assert texts[0] == "step 1, num_params 2.42 M of 80 M"


# -- the choice --------------------------------------------------------------------------------------------------


def slow_choice(values: np.ndarray, maximize: list[bool], counts: np.ndarray) -> int:
    """The rule, written out: values (candidates, objectives), parameters of each candidate."""
    ranks = np.zeros(len(values))
    for column, up in zip(values.T, maximize, strict=True):
        ranks += rankdata(-column if up else column, method="dense")
    tied = [i for i in range(len(values)) if ranks[i] == min(ranks)]
    if len(tied) == 1:
        return tied[0]
    ranges = [(max(c) - min(c)) / max(abs(c)) if max(abs(c)) > 0 else 0.0 for c in values.T]
    deciding = ranges.index(max(ranges))
    best = max if maximize[deciding] else min
    level = best(values[i, deciding] for i in tied)
    tied = [i for i in tied if values[i, deciding] == level]
    fewest = min(counts[i] for i in tied)
    return next(i for i in tied if counts[i] == fewest)


@pytest.mark.parametrize("num_objectives", [1, 2, 3])
def test_the_smallest_sum_of_ranks_is_chosen_with_ties_as_stated(num_objectives: int) -> None:
    rng = np.random.default_rng(num_objectives)
    start = as_vit.read("8,2,3|4,1,2|4,1,4|4,1,6|32,80")  # 16 candidates
    ties = 0
    for _ in range(400):
        maximize = rng.random(num_objectives) < 0.5
        objectives = tuple(Objective(f"s{i}", bool(up)) for i, up in enumerate(maximize))
        searcher = AutoScaling(as_vit, objectives, start=start.to_json())
        searcher.tell([Evaluation(0, searcher.ask(1)[0].architecture, Status.FAILED)])
        asked = searcher.ask(99)
        values = rng.integers(-3, 4, (16, num_objectives)) * rng.choice([1.0, 0.5], num_objectives)
        counts = rng.integers(1, 4, 16).astype(float)
        is_bad = rng.random(16) < 0.2
        is_bad[rng.integers(16)] = False
        results = []
        for one, row, count, bad in zip(asked, values.tolist(), counts.tolist(), is_bad.tolist(), strict=True):
            scores = {**{f"s{i}": value for i, value in enumerate(row)}, "num_params": count}
            if bad and one.id % 2:
                results.append(Evaluation(one.id, one.architecture, Status.TIMEOUT, {"num_params": count}))
            else:
                results.append(
                    Evaluation(one.id, one.architecture, scores=scores, violations={"m<=1": 1.0} if bad else {})
                )
        searcher.tell(results)
        good = np.flatnonzero(~is_bad)
        expected = good[slow_choice(values[good], maximize.tolist(), counts[good])]
        assert searcher.family()[-1].evaluation == results[expected]
        columns = [
            rankdata(v if not up else -v, method="dense") for v, up in zip(values[good].T, maximize, strict=True)
        ]
        sums = np.sum(columns, axis=0)
        ties += (sums == sums.min()).sum() > 1
    assert ties > 50  # else the test says little


def test_a_step_is_decided_when_all_of_it_is_told() -> None:
    searcher = AutoScaling(growing_stages, maximize_score, start='{"activation":"gelu","depth":[1,1],"embed_dim":20}')
    assert len(searcher.ask(1)) == 1
    assert searcher.ask(1) == []
    searcher.tell([Evaluation(0, searcher.start, scores={"score": 0.0})])
    asked = searcher.ask(7) + searcher.ask(7)
    assert len(asked) == 8
    searcher.tell([told(one, score=float(one.id)) for one in asked[1:]])
    assert searcher.ask(1) == []
    assert len(searcher.family()) == 1
    searcher.tell([told(asked[0], score=99.0)])
    assert searcher.family()[-1].evaluation.id == asked[0].id
    assert searcher.ask(1)[0].id == 9


@pytest.mark.parametrize("kind", ["failed", "infeasible", "not finite"])
def test_a_step_that_leaves_nothing_ends_growth(kind: str) -> None:
    searcher = AutoScaling(growing_stages, maximize_score, start='{"activation":"gelu","depth":[1,1],"embed_dim":20}')
    searcher.tell([told(searcher.ask(1)[0], score=0.0)])
    for one in searcher.ask(99):
        status = Status.CRASHED if kind == "failed" else Status.OK
        scores = {"score": float("nan") if kind == "not finite" else 1.0}
        violated = {"score<=0": 1.0} if kind == "infeasible" else {}
        searcher.tell([Evaluation(one.id, one.architecture, status, scores, violated)])
    assert searcher.ask(9) == []
    assert len(searcher.family()) == 1
    assert not searcher.is_complete


# -- the end -----------------------------------------------------------------------------------------------------


def test_growth_ends_after_so_many_steps() -> None:
    searcher = AutoScaling(
        growing_layers, maximize_score, max_steps=3,
        start='{"activation":"gelu","depth":1,"width":30,"mlp_ratio":[2]}',
    )  # fmt: skip
    searched(searcher, lambda one: {"score": float(one["width"])}, 1000)  # type: ignore[arg-type]
    assert [state.step for state in searcher.family()] == [0, 1, 2, 3]
    assert searcher.is_complete
    assert searcher.progress().share == 1.0


def test_a_start_that_meets_the_stop_is_all_there_is() -> None:
    searcher = AutoScaling(as_vit, maximize_score, start=SEED, stop="num_params>=1e6")
    searcher.tell([told(searcher.ask(1)[0], score=0.0, num_params=2.4e6)])
    assert searcher.ask(1) == []
    assert searcher.is_complete
    assert len(searcher.family()) == 1


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"start": ""}, "needs an architecture to start from"),
        ({"start": "8,2,3|4,1,2|4,1,4|4,1,6|32,34"}, "starts from a multiple of 4 as embed_dim, not 34"),
        ({"start": "8,2,3|4,1"}, "a genotype has 5 parts"),
        ({"rates": ()}, "rates is a list of numbers"),
        ({"rates": "0.1"}, "rates is a list of numbers"),
        ({"rates": 0.1}, "rates is a list of numbers"),
        ({"rates": (0.1, -0.1)}, "a rate is a number from 0 to 10, not -0.1"),
        ({"stop": "num_params<=80e6"}, "stop is a positive lower bound on num_params or macs"),
        ({"stop": "score>=1"}, "stop is a positive lower bound on num_params or macs"),
        ({"stop": "much"}, "a constraint is NAME<=NUMBER"),
        ({"stop": "num_params>=200e6"}, "is never met, as the constraint num_params<=1.1e"),
        ({"stop": "num_params>110e6"}, "is never met, as the constraint num_params<=1.1e"),
        ({"max_steps": 0}, "max_steps is an integer of at least 1"),
    ],
)
def test_bad_settings_are_refused(settings: dict[str, Any], message: str) -> None:
    with pytest.raises((ConfigError, SpaceError), match=message):
        AutoScaling(as_vit, maximize_score, (BOUND,), **{"start": SEED, **settings})


def test_a_space_that_does_not_grow_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"'toy-layers' does not say how it grows; spaces that do: .*as-vit"):
        AutoScaling(layers, maximize_score, start="{}")
