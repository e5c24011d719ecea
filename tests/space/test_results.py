from __future__ import annotations

import pytest
from toy_spaces import one_architecture

from raynas.errors import ConfigError
from raynas.space.results import Constraint, Evaluation, Objective, Status, violations

ARCHITECTURE = one_architecture.decode([])


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("macs<=2e9", Constraint("macs", "<=", 2e9)),
        (" num-params >= 1.5 ", Constraint("num_params", ">=", 1.5)),
        ("naswot<-3", Constraint("naswot", "<", -3.0)),
        ("a>+1E-3", Constraint("a", ">", 0.001)),
    ],
)
def test_constraints_are_read(text: str, expected: Constraint) -> None:
    assert Constraint.parse(text) == expected
    assert Constraint.parse(str(expected)) == expected


@pytest.mark.parametrize(
    "text", ["", "macs", "macs<=", "<=2", "macs=2", "macs<=two", "macs<=1.2.3", "a b<=1", "a<=1 b"]
)
def test_other_constraints_are_refused(text: str) -> None:
    with pytest.raises(ConfigError, match="a constraint is NAME<=NUMBER"):
        Constraint.parse(text)


@pytest.mark.parametrize(
    ("text", "value", "violation"),
    [("a<=2", 2, 0), ("a<=2", 2.5, 0.5), ("a>=2", 2, 0), ("a>=2", -1, 3), ("a<2", 1.9, 0), ("a>2", 2.1, 0)],
)
def test_violations_are_distances_to_the_bound(text: str, value: float, violation: float) -> None:
    assert Constraint.parse(text).violation({"a": value}) == violation


@pytest.mark.parametrize("text", ["a<2", "a>2"])
def test_a_value_at_a_strict_bound_violates_it(text: str) -> None:
    assert violations((Constraint.parse(text),), {"a": 2.0})[text] > 0


def test_bounds_that_differ_have_different_texts() -> None:
    bounds = [1234567, 1234568, 1.0, 2e9, 0.1, 0.1000001, 1 / 3]
    assert len({str(Constraint("macs", "<=", bound)) for bound in bounds}) == len(bounds)
    assert str(Constraint("macs", "<=", 2e9)) == "macs<=2e+09"


def test_unknown_scores_violate_nothing() -> None:
    constraints = (Constraint("a", "<=", 1), Constraint("b", "<=", 1))
    assert violations(constraints, {"a": 3.0}) == {"a<=1": 2.0}


def test_feasible_is_ok_without_violations() -> None:
    assert Evaluation(0, ARCHITECTURE, scores={"a": 1.0}).is_feasible
    violated = Evaluation(0, ARCHITECTURE, scores={"a": 1.0}, violations={"a<=0": 1.0})
    failed = Evaluation(0, ARCHITECTURE, Status.FAILED, error="x")
    assert violated.is_ok and not violated.is_feasible
    assert not failed.is_ok and not failed.is_feasible


def test_objectives_are_oriented_so_that_higher_is_better() -> None:
    assert Objective("a").oriented({"a": 2.0}) == 2.0
    assert Objective("a", maximize=False).oriented({"a": 2.0}) == -2.0
    assert str(Objective("a", maximize=False)) == "a:min"
