"""What every registered searcher does on every kind of space.

Most draw from the space. One that grows an architecture starts from one, on spaces that grow.
"""

from __future__ import annotations

import itertools
import logging
import os
import subprocess
import sys
import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from toy_spaces import (
    all_spaces,
    best_score,
    evaluated,
    evenly_spaced,
    growing_stages,
    layers,
    maximize_score,
    num_at_last_option,
    one_architecture,
    searched,
    single_decision,
    stages,
    two_architectures,
    two_depths,
)

from raynas.errors import ConfigError
from raynas.searchers.base import Searcher, own_settings
from raynas.searchers.registered import searchers
from raynas.space.architecture import Architecture
from raynas.space.results import Candidate, Constraint, Evaluation, Objective, Status
from raynas.space.search_space import SearchSpace

GROWING = [name for name in searchers if "start" in own_settings(searchers.get(name))]
every_searcher = pytest.mark.parametrize("name", searchers.names())
every_one_that_draws = pytest.mark.parametrize("name", [name for name in searchers if name not in GROWING])
on_every_space = pytest.mark.parametrize(
    ("name", "space"),
    [
        pytest.param(name, space, id=f"{name}-{space.name}")
        for name in searchers
        for space in all_spaces
        if name not in GROWING or space.growth is not None
    ],
)

SMALL = {"evolution": {"population": 40, "parents": 15, "mutants": 10, "children": 10}}
"""Settings of searchers whose defaults are for thousands of evaluations."""

FAILURES = [status for status in Status if status is not Status.OK]
TWO = (Objective("score"), Objective("cost", maximize=False))
BOUND = Constraint("score", "<=", 3)


def home(name: str) -> SearchSpace:
    """A large space for the searcher."""
    return growing_stages if name in GROWING else stages


def made(
    name: str,
    space: SearchSpace,
    seed: int = 0,
    objectives: tuple[Objective, ...] = maximize_score,
    constraints: tuple[Constraint, ...] = (),
    **settings: object,
) -> Searcher:
    if name in GROWING:
        # The last option of the first decision, which some tests admit alone; then the first of all.
        first = [len(space.decisions[0].options) - 1] + [0] * (len(space.decisions) - 1)
        settings["start"] = space.decode(first).to_json()
    return searchers.get(name)(space, objectives, constraints, seed=seed, **{**SMALL.get(name, {}), **settings})


def asked_four(name: str) -> tuple[Searcher, list[Candidate]]:
    """A searcher that has been told one result and asked for four more candidates."""
    searcher = made(name, home(name))
    searched(searcher, num_at_last_option(home(name)), 1)
    return searcher, searcher.ask(4)


def score_and_cost(space: SearchSpace, architecture: Architecture) -> dict[str, float]:
    numbers = space.encode(architecture)
    return {"score": float(sum(numbers)), "cost": float(sum(number**2 for number in numbers))}


def messages(searcher: Searcher, space: SearchSpace, steps: int) -> list[Candidate]:
    """A fixed sequence of asks and of tells out of order, with results of every kind."""
    rng = np.random.default_rng(3)
    asked: list[Candidate] = []
    waiting: list[Candidate] = []
    for step in range(steps):
        new = searcher.ask(1 + step % 5)
        asked += new
        waiting += new
        rng.shuffle(waiting)  # type: ignore[arg-type]
        told, waiting = waiting[: step % 7], waiting[step % 7 :]
        searcher.tell([result(candidate, space) for candidate in told])
    return asked


def result(candidate: Candidate, space: SearchSpace) -> Evaluation:
    kind = candidate.id % 6
    if kind == 4:
        return Evaluation(
            candidate.id, candidate.architecture, FAILURES[candidate.id % len(FAILURES)], error="no value"
        )
    if kind == 5:  # refused for its cost, and so never scored
        status = Status.NOT_APPLICABLE if candidate.id % 2 else Status.OK
        return Evaluation(candidate.id, candidate.architecture, status, violations={"macs<=1": 2.5})
    return evaluated(candidate, lambda one: score_and_cost(space, one), (BOUND,))


@on_every_space
def test_candidates_are_valid_and_ids_count_from_zero(name: str, space: SearchSpace) -> None:
    asked = messages(made(name, space, constraints=(BOUND,)), space, 30)
    assert [candidate.id for candidate in asked] == list(range(len(asked)))
    assert asked and all(candidate.architecture in space for candidate in asked)


@on_every_space
def test_equal_seeds_and_messages_give_equal_candidates(name: str, space: SearchSpace) -> None:
    first, again = (messages(made(name, space, seed=4, constraints=(BOUND,)), space, 30) for _ in range(2))
    assert first == again


@every_one_that_draws
def test_other_seeds_give_other_candidates(name: str) -> None:
    asked = {tuple(candidate.architecture for candidate in made(name, stages, seed).ask(5)) for seed in range(5)}
    assert len(asked) == 5


@every_searcher
@pytest.mark.parametrize("seed", [0, 2**32, 2**62 + 1])
def test_any_seed_is_taken(name: str, seed: int) -> None:
    assert made(name, home(name), seed).ask(2) == made(name, home(name), seed).ask(2)


@pytest.mark.slow
def test_candidates_do_not_depend_on_hash_randomisation() -> None:
    code = (
        "import sys; sys.path.insert(0, 'tests/searchers'); sys.path.insert(0, 'tests')\n"
        "from test_conformance import home, messages, made, searchers\n"
        "for name in searchers.names():\n"
        "    space = home(name)\n"
        "    print(name, *(one.architecture.key for one in messages(made(name, space), space, 30)))"
    )
    outputs = []
    for hash_seed in ("1", "2"):
        run = subprocess.run(
            [sys.executable, "-c", code],
            env={**os.environ, "PYTHONHASHSEED": hash_seed},
            cwd=Path(__file__).parents[2],
            check=True,
            capture_output=True,
            text=True,
        )
        outputs.append(run.stdout.splitlines())
    assert [line.split()[0] for line in outputs[0]] == list(searchers.names())
    for line, other in zip(*outputs, strict=True):
        assert line == other


@on_every_space
@pytest.mark.parametrize("first", [0, 20])
def test_asking_for_several_is_asking_for_each(name: str, space: SearchSpace, first: int) -> None:
    """Also once results are in (`first` messages), and also where the space ends."""
    at_once, one_by_one = made(name, space), made(name, space)
    messages(at_once, space, first)
    messages(one_by_one, space, first)
    assert at_once.ask(70) == list(itertools.chain(*(one_by_one.ask(1) for _ in range(70))))


@every_searcher
def test_asking_for_none_changes_nothing(name: str) -> None:
    one, other = made(name, home(name)), made(name, home(name))
    assert one.ask(0) == []
    assert one.ask(3) == other.ask(3) != []


@on_every_space
def test_results_are_taken_in_any_order_and_any_subset(name: str, space: SearchSpace) -> None:
    searcher = made(name, space)
    asked = searcher.ask(20)
    searcher.tell([])
    for part in (asked[::-2], asked[-2::-4], asked[-4::-4]):
        searcher.tell([evaluated(one, num_at_last_option(space)) for one in part if one.id])
        assert all(candidate.architecture in space for candidate in searcher.ask(3))


@every_searcher
@pytest.mark.parametrize("is_fresh", [True, False])
def test_unknown_ids_are_refused(name: str, is_fresh: bool) -> None:
    searcher = made(name, home(name)) if is_fresh else asked_four(name)[0]
    for wrong in (0 if is_fresh else 5, 99, -1):
        with pytest.raises(ValueError, match=f"id {wrong} was never asked"):
            searcher.tell([Evaluation(wrong, home(name).sample(np.random.default_rng(0)))])


@every_searcher
def test_ids_told_twice_are_refused(name: str) -> None:
    searcher, asked = asked_four(name)
    results = [evaluated(candidate, num_at_last_option(home(name))) for candidate in asked]
    searcher.tell(results[:1])
    with pytest.raises(ValueError, match="id 0 was told before"):
        searcher.tell([Evaluation(0, asked[0].architecture)])
    with pytest.raises(ValueError, match="id 1 was told before"):
        searcher.tell(results[:1])
    with pytest.raises(ValueError, match="id 2 was told before"):
        searcher.tell([results[1], results[1]])


@every_searcher
def test_refused_results_change_nothing(name: str) -> None:
    (one, asked), (other, _) = asked_four(name), asked_four(name)
    results = [evaluated(candidate, num_at_last_option(home(name))) for candidate in asked]
    with pytest.raises(ValueError, match="never asked"):
        one.tell([*results, Evaluation(77, results[0].architecture)])
    one.tell(results)
    other.tell(results)
    assert one.ask(4) == other.ask(4) != []


@on_every_space
@pytest.mark.parametrize("status", FAILURES)
def test_a_search_of_failures_goes_on(name: str, space: SearchSpace, status: Status) -> None:
    searcher = made(name, space)
    for _ in range(30):
        asked = searcher.ask(4)
        searcher.tell([Evaluation(one.id, one.architecture, status, error="none works") for one in asked])
        assert all(one.architecture in space for one in asked)


@every_searcher
@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf"), 1e308, -1e308, 5e-324])
def test_extreme_values_do_no_harm(name: str, value: float) -> None:
    searcher = made(name, home(name))
    for step in range(30):
        asked = searcher.ask(4)
        scores = [{"score": value if (one.id + step) % 2 else 1.0} for one in asked]
        searcher.tell([Evaluation(one.id, one.architecture, scores=s) for one, s in zip(asked, scores, strict=True)])
    assert all(one.architecture in home(name) for one in searcher.ask(10))


def half_fails(candidate: Candidate) -> Evaluation:
    """Architectures with the first option of the last decision have the best scores, if only they had any."""
    if stages.encode(candidate.architecture)[-1] == 0:
        return Evaluation(candidate.id, candidate.architecture, Status.FAILED, error="does not work")
    return evaluated(candidate, num_at_last_option(stages))


def half_is_infeasible(candidate: Candidate) -> Evaluation:
    """Architectures with the first option of the last decision have the best scores, and violate a constraint."""
    score = 20.0 * (stages.encode(candidate.architecture)[-1] == 0)
    return evaluated(
        candidate,
        lambda one: {"score": score + num_at_last_option(stages)(one)["score"], "memory": score},
        (Constraint("memory", "<=", 10),),
    )


@every_one_that_draws
@pytest.mark.parametrize("judge", [half_fails, half_is_infeasible])
def test_what_fails_or_is_infeasible_is_never_preferred(name: str, judge: Callable[[Candidate], Evaluation]) -> None:
    """A third of random architectures is bad; searchers for the best come to ask fewer, and none asks more."""
    constraints = (Constraint("memory", "<=", 10),) if judge is half_is_infeasible else ()
    bad = 0
    for seed in range(3):
        searcher = made(name, stages, seed, constraints=constraints)
        for step in range(85):
            results = [judge(candidate) for candidate in searcher.ask(4)]
            searcher.tell(results)
            bad += sum(not one.is_feasible for one in results) if step >= 60 else 0
    limit = {"random": 0.45, "tpe": 0.25, "uncertainty": 0.45}.get(name, 0.15)
    assert bad / 300 < limit


@on_every_space
def test_admits_is_respected_where_anything_is_admitted(name: str, space: SearchSpace) -> None:
    """Admitted are the architectures with the last option of the first decision: a half to a fifth."""
    last = [len(decision.options) - 1 for decision in space.decisions][:1]
    admitted = lambda architecture: space.encode(architecture)[:1] == last  # noqa: E731
    searcher = made(name, space, admits=admitted)
    for _ in range(20):
        asked = searcher.ask(5)
        assert all(admitted(one.architecture) for one in asked)
        searcher.tell([evaluated(one, num_at_last_option(space)) for one in asked])


@on_every_space
def test_nothing_admitted_ends_or_is_told_infeasible(name: str, space: SearchSpace) -> None:
    searcher = made(name, space, admits=lambda architecture: False)
    for _ in range(5):
        asked = searcher.ask(2)
        searcher.tell(
            [
                Evaluation(one.id, one.architecture, Status.NOT_APPLICABLE, {"macs": 2.0}, {"macs<=1": 1.0})
                for one in asked
            ]
        )
        assert all(one.architecture in space for one in asked)


@every_one_that_draws
@pytest.mark.parametrize(
    "space", [single_decision, two_architectures, one_architecture, layers, two_depths], ids=lambda space: space.name
)
def test_a_small_space_is_searched_to_its_end(name: str, space: SearchSpace) -> None:
    """All architectures are asked, each once, then none; REINFORCE asks on, since its policy needs repeated draws."""
    searcher = made(name, space)
    told = searched(searcher, num_at_last_option(space), 2 * space.size + 10)
    found = [one.architecture for one in told]
    if name == "reinforce":
        assert len(found) == 2 * space.size + 10
    else:
        assert len(found) == len(set(found)) == space.size
        assert searcher.ask(3) == [] == searcher.ask(1)


@every_searcher
def test_several_objectives_are_taken_or_refused(name: str) -> None:
    space = home(name) if name in GROWING else layers
    if not searchers.get(name).is_multi_objective:
        with pytest.raises(ConfigError, match=r"score:max, cost:min\); searchers for several: .*nsga2"):
            made(name, space, objectives=TWO)
        return
    bounds = (Constraint("cost", "<=", 8),)
    searcher = made(name, space, seed=1, objectives=TWO, constraints=bounds)
    told = searched(searcher, lambda one: score_and_cost(space, one), 80, 8, bounds)
    assert any(one.is_feasible for one in told)
    assert len(told) == 80 or name in GROWING


@every_searcher
def test_no_objective_is_refused_by_those_that_learn(name: str) -> None:
    if name == "random":
        assert len(made(name, stages, objectives=()).ask(3)) == 3
        return
    with pytest.raises(ConfigError, match="at least one objective"):
        made(name, home(name), objectives=())


@every_searcher
def test_minimising_is_maximising_the_negative(name: str) -> None:
    asked = []
    for objective, sign in ((Objective("score", maximize=True), 1.0), (Objective("score", maximize=False), -1.0)):
        space = home(name)
        searcher = made(name, space, seed=2, objectives=(objective,))
        score = lambda one, sign=sign, space=space: {"score": sign * sum(space.encode(one))}  # noqa: E731
        asked.append([one.architecture for one in searched(searcher, score, 150, 4)])
    assert asked[0] == asked[1]


@every_searcher
def test_the_class_says_what_the_engine_needs(name: str) -> None:
    kind = searchers.get(name)
    assert kind.default_window >= 1 and kind.is_multi_objective in (True, False) and kind.__doc__
    assert kind.advised_budget is None or kind.advised_budget >= 1


@every_searcher
def test_nothing_is_printed_logged_or_warned_of(
    name: str, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(logging.getLogger("optuna"), "propagate", True)
    level = logging.getLogger("optuna").level
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        messages(made(name, home(name)), home(name), 20)
    assert capfd.readouterr() == ("", "")
    assert logging.getLogger("optuna").level == level


@every_one_that_draws
def test_searching_beats_drawing_one(name: str) -> None:
    """Every searcher finds a better architecture in 300 evaluations than a random one is on average (6 of 12)."""
    told = searched(made(name, stages), evenly_spaced(stages), 300)
    assert best_score(told) > 8
