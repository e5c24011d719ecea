"""REINFORCE against a loop written with torch's Adam and autograd, and against what it has to find."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from toy_spaces import (
    Score,
    evaluated,
    evenly_spaced,
    layers,
    maximize_score,
    num_at_last_option,
    one_architecture,
    searched,
    stages,
)

from raynas.errors import ConfigError
from raynas.searchers import Reinforce
from raynas.searchers.registered import searchers
from raynas.space.results import Candidate, Constraint, Evaluation, Objective, Status

SCORES = [3.0, 3.5, 1.0, 4.0, 4.0, -2.0, 0.5, 7.0, 6.0, 6.5, 0.0, 2.0] * 3


def policy_by_torch(start: dict[str, np.ndarray], actions: list[list[int]], rewards: list[float]) -> list[torch.Tensor]:
    """The published loop: loss = -log pi(a) (R - b), where b is an average that already holds R."""
    logits = [torch.tensor(np.log(p), requires_grad=True) for p in start.values()]
    optimizer = torch.optim.Adam(logits, lr=0.08)
    numerator = denominator = 0.0
    for action, reward in zip(actions, rewards, strict=True):
        numerator, denominator = 0.9 * numerator + 0.1 * reward, 0.9 * denominator + 0.1
        log_pi = sum(torch.log_softmax(row, 0)[number] for row, number in zip(logits, action, strict=True))
        optimizer.zero_grad()
        (-log_pi * (reward - numerator / denominator)).backward()  # type: ignore[union-attr]
        optimizer.step()
    return [torch.softmax(row.detach(), 0) for row in logits]


def published_rewards(values: list[float]) -> list[float]:
    rewards = [0.0]
    for t in range(1, len(values)):
        recent = values[max(0, t - 19) : t + 1]
        rewards.append((values[t] - values[t - 1]) / (max(recent) - min(recent)))
    return rewards


def told(searcher: Reinforce, scores: list[Any]) -> list[Candidate]:
    """Ask and tell one by one; a number is the score, a status a failure."""
    asked = []
    for score in scores:
        asked += searcher.ask(1)
        if isinstance(score, Status):
            searcher.tell([Evaluation(asked[-1].id, asked[-1].architecture, score)])
        else:
            searcher.tell([evaluated(asked[-1], lambda _, score=score: {"score": score})])
    return asked


def assert_equal_policies(one: Reinforce, other: Reinforce) -> None:
    for p, q in zip(one.probabilities().values(), other.probabilities().values(), strict=True):
        np.testing.assert_array_equal(p, q)


def test_it_is_registered_with_the_papers_lag() -> None:
    assert searchers.get("reinforce") is Reinforce
    assert Reinforce.default_window == 4


@pytest.mark.parametrize("scale", [1.0, 1e-9])
def test_the_policy_is_that_of_the_published_loop(scale: float) -> None:
    values = [scale * score for score in SCORES]
    searcher = Reinforce(stages, maximize_score, seed=8)
    start = searcher.probabilities()
    actions = [stages.encode(one.architecture) for one in told(searcher, values)]
    expected = policy_by_torch(start, actions, published_rewards(values))
    for found, reference in zip(searcher.probabilities().values(), expected, strict=True):
        np.testing.assert_allclose(found, reference.numpy(), rtol=1e-4)


def test_the_policy_starts_almost_uniform() -> None:
    policy = Reinforce(stages, maximize_score, seed=3).probabilities()
    assert list(policy) == [decision.name for decision in stages.decisions]
    for p, decision in zip(policy.values(), stages.decisions, strict=True):
        assert p.shape == (len(decision.options),)
        np.testing.assert_allclose(p, 1 / len(decision.options), atol=2e-3)
    assert any(p.std() > 0 for p in policy.values())


def test_the_first_advantage_is_zero() -> None:
    searcher = Reinforce(stages, maximize_score)
    before = searcher.probabilities()
    told(searcher, [17.0])
    for p, q in zip(before.values(), searcher.probabilities().values(), strict=True):
        np.testing.assert_array_equal(p, q)
    told(searcher, [18.0])
    assert any((p != q).any() for p, q in zip(before.values(), searcher.probabilities().values(), strict=True))


@pytest.mark.parametrize("window", [1, 4])
def test_all_decisions_are_found_in_500_steps(window: int) -> None:
    score = num_at_last_option(stages)
    assert sum(recommended(score, seed, window) == len(stages.decisions) for seed in range(10)) >= 9


@pytest.mark.parametrize("window", [1, 4])
def test_evenly_spaced_levels_are_climbed(window: int) -> None:
    """At least 95 % of the way from the mean score, half the number of decisions, to the best."""
    best = len(stages.decisions)
    climbed = [(recommended(evenly_spaced(stages), seed, window) - best / 2) / (best / 2) for seed in range(10)]
    assert sum(share >= 0.95 for share in climbed) >= 9
    assert np.mean(climbed) >= 0.95


def recommended(score: Score, seed: int, window: int) -> float:
    searcher = Reinforce(stages, maximize_score, seed=seed)
    searched(searcher, score, 500, window)
    return score(searcher.recommendation())["score"]


def test_the_recommendation_is_the_most_probable_option_of_each_decision() -> None:
    searcher = Reinforce(stages, maximize_score)
    told(searcher, SCORES)
    numbers = stages.encode(searcher.recommendation())
    assert numbers == [int(p.argmax()) for p in searcher.probabilities().values()]


@pytest.mark.parametrize("status", [Status.NON_FINITE, Status.OUT_OF_MEMORY])
def test_a_failure_is_the_worst_value_so_far(status: Status) -> None:
    failing, worst = (Reinforce(stages, maximize_score, seed=1) for _ in range(2))
    told(failing, [3.0, 1.5, 5.0, status, 4.0, status])
    told(worst, [3.0, 1.5, 5.0, 1.5, 4.0, 1.5])
    assert_equal_policies(failing, worst)


def test_failures_before_any_value_move_nothing() -> None:
    failing, none = (Reinforce(stages, maximize_score, seed=1) for _ in range(2))
    told(failing, [Status.FAILED] * 5)
    assert_equal_policies(failing, none)


def test_an_infeasible_result_is_the_worst_value_so_far() -> None:
    bound = Constraint("score", "<=", 6)
    bounded = Reinforce(stages, maximize_score, (bound,), seed=1)
    worst = Reinforce(stages, maximize_score, seed=1)
    for score, replaced in [(3.0, 3.0), (1.5, 1.5), (9.0, 1.5), (4.0, 4.0)]:
        bounded.tell([evaluated(bounded.ask(1)[0], lambda _, score=score: {"score": score}, (bound,))])
        told(worst, [replaced])
    assert_equal_policies(bounded, worst)


def test_several_objectives_add_their_normalised_differences_with_signs() -> None:
    two = Reinforce(stages, (Objective("up"), Objective("down", maximize=False)), seed=8)
    start = two.probabilities()
    rng = np.random.default_rng(0)
    up, down = rng.normal(size=30).tolist(), (1e-6 * rng.normal(size=30)).tolist()
    actions = []
    for u, d in zip(up, down, strict=True):
        candidate = two.ask(1)[0]
        actions.append(stages.encode(candidate.architecture))
        two.tell([evaluated(candidate, lambda _, u=u, d=d: {"up": u, "down": d})])
    rewards = [a - b for a, b in zip(published_rewards(up), published_rewards(down), strict=True)]
    expected = policy_by_torch(start, actions, rewards)
    for found, reference in zip(two.probabilities().values(), expected, strict=True):
        np.testing.assert_allclose(found, reference.numpy(), rtol=1e-4)


def test_equal_scores_leave_the_policy_alone() -> None:
    searcher, fresh = (Reinforce(stages, maximize_score, seed=1) for _ in range(2))
    told(searcher, [0.0] * 10)
    assert_equal_policies(searcher, fresh)


def test_scores_of_any_magnitude_are_alike() -> None:
    one, other = (Reinforce(stages, maximize_score, seed=1) for _ in range(2))
    assert told(one, SCORES) == told(other, [score * 2.0**-40 for score in SCORES])
    assert_equal_policies(one, other)


def test_decisions_of_absent_layers_get_no_gradient() -> None:
    searcher = Reinforce(layers, maximize_score, seed=0)
    asked = searcher.ask(60)
    shallow = [one for one in asked if one.architecture["depth"] == 1]
    before = searcher.probabilities()
    searcher.tell([evaluated(one, num_at_last_option(layers)) for one in shallow])
    after = searcher.probabilities()
    changed = {name for name in before if not np.array_equal(before[name], after[name])}
    assert changed == {"activation", "depth", "num_heads[0]", "mlp_ratio[0]"}


def test_layers_are_found_as_well() -> None:
    searcher = Reinforce(layers, maximize_score, seed=0)
    searched(searcher, num_at_last_option(layers), 500)
    assert layers.encode(searcher.recommendation()) == [1, 2, 1, 1, 1, 2, 2, 2]


def test_the_policy_leaves_what_is_not_admitted() -> None:
    """The best score is out of bounds: 11 of 12 decisions at their last option is the best that is admitted."""
    score = num_at_last_option(stages)

    def admits(architecture: Any) -> bool:
        return architecture["num_heads"] != 64

    searcher = Reinforce(stages, maximize_score, seed=0, admits=admits)
    evaluations = searched(searcher, score, 500)
    assert all(admits(one.architecture) for one in evaluations)
    assert score(searcher.recommendation())["score"] == 11


def test_a_space_of_one_architecture_is_asked_again_and_again() -> None:
    searcher = Reinforce(one_architecture, maximize_score)
    assert len({one.architecture for one in told(searcher, [1.0, 2.0, 3.0])}) == 1
    assert searcher.probabilities() == {}
    assert searcher.recommendation() == one_architecture.sample(np.random.default_rng(0))


@pytest.mark.parametrize(
    "setting",
    [
        *({"learning_rate": value} for value in (-1, 0, "fast")),
        *({"baseline_momentum": value} for value in (0, 0.0, 1.0)),
        {"history": 1},
        {"max_tries": 0.5},
    ],
    ids=str,
)
def test_settings_out_of_range_are_refused(setting: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match=next(iter(setting))):
        Reinforce(stages, maximize_score, **setting)
