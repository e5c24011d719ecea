"""Which sub-networks a step trains: dealt without replacement, by seed, step and block, the largest ones first."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from toy_spaces import blocks, stages

from raynas import Choice, SearchSpace
from raynas.errors import ConfigError
from raynas.models.elastic.sampling import SubnetSampler, num_allowed
from raynas.space.registered import spaces

NANO = spaces.get("vit-res-nano")


def test_choices_are_let_in_one_by_one() -> None:
    """The epochs from which on there is one choice more, of 30 epochs of warm-up, as the paper's code has them."""
    expected = {5: {0: 1, 7: 1, 8: 2, 14: 2, 15: 3, 22: 3, 23: 4, 29: 4, 30: 5, 119: 5}}
    expected[4] = {0: 1, 9: 1, 10: 2, 19: 2, 20: 3, 29: 3, 30: 4}
    expected[7] = {0: 1, 4: 1, 5: 2, 10: 3, 15: 4, 20: 5, 25: 6, 29: 6, 30: 7, 31: 7}
    for choices, counts in expected.items():
        assert {epoch: num_allowed(choices, epoch, 30) for epoch in counts} == counts
    assert num_allowed(5, 0, 0) == 5


def test_only_the_largest_is_trained_at_first_and_blocks_are_left_out_from_two_thirds_on() -> None:
    sampler = SubnetSampler(NANO, 0, warmup_epochs=30)
    assert set(sampler.drawn(0, 0, 0)) == {NANO.largest()}
    for epoch, may_lack in ((19, False), (20, True)):
        absent = [0 in one["num_heads"] for step in range(60) for one in sampler.drawn(epoch, step, 0)]  # type: ignore[operator]
        assert any(absent) == may_lack


@pytest.mark.parametrize("per_block", [2, 3, 4, 9])
def test_no_choice_comes_again_before_all_have_come(per_block: int) -> None:
    sampler = SubnetSampler(stages, 1, per_block=per_block, warmup_epochs=0)
    for step in range(20):
        rows = np.array([stages.encode(one) for one in sampler.drawn(0, step, 0)])
        for column, decision in zip(rows.T, stages.decisions, strict=True):
            counts = np.bincount(column, minlength=len(decision.options))
            # Dealt from whole rounds: none more often than there are rounds, and rounds are cut short at one end.
            assert counts.max() <= -(-per_block // len(decision.options))
            if per_block <= len(decision.options):
                assert counts.max() == 1


def test_each_choice_is_as_likely_as_others_and_blocks_are_there_half_of_the_time() -> None:
    sampler = SubnetSampler(blocks, 0, per_block=1, warmup_epochs=0)
    drawn: list[Any] = [sampler.drawn(0, step, 0)[0] for step in range(4000)]
    assert np.mean([one["width"] == 8 for one in drawn]) == pytest.approx(0.5, abs=0.03)
    heads = np.array([one["num_heads"] for one in drawn])
    assert (heads == 0).mean(0).tolist() == pytest.approx([0, 0.5, 0, 0.5, 0], abs=0.03)
    units = np.array([one["mlp_units"] for one in drawn])[:, 0]
    assert [float((units == one).mean()) for one in (4, 8, 12)] == pytest.approx([1 / 3] * 3, abs=0.03)


def test_draws_follow_from_seed_step_and_block_alone() -> None:
    one, other = SubnetSampler(NANO, 3, warmup_epochs=0), SubnetSampler(NANO, 3, warmup_epochs=0)
    assert [one.drawn(5, step, block) for step in range(3) for block in range(3)] == [
        other.drawn(5, step, block) for step in range(3) for block in range(3)
    ]
    different = {
        tuple(SubnetSampler(NANO, seed, warmup_epochs=0).drawn(5, s, b))
        for seed in (3, 4)
        for s in (0, 1)
        for b in (0, 1)
    }
    assert len(different) == 8


def test_one_sub_network_a_step_and_shared_widths() -> None:
    single = SubnetSampler(NANO, 0, strategy="single", warmup_epochs=0)
    assert len({tuple(single.drawn(0, 7, block)) for block in range(4)}) == 1
    assert len(single.drawn(0, 7, 0)) == 1
    hybrid = SubnetSampler(NANO, 0, warmup_epochs=0, shared=["width"])
    of_step = [one for block in range(4) for one in hybrid.drawn(0, 7, block)]
    assert len({one["width"] for one in of_step}) == 1
    assert len({one["mlp_units"] for one in of_step}) == 8
    assert len({hybrid.drawn(0, step, 0)[0]["width"] for step in range(20)}) > 5


@pytest.mark.parametrize("per_block", [3, 4, 6])
def test_a_sandwich_has_both_ends_and_random_sub_networks_between(per_block: int) -> None:
    sampler = SubnetSampler(NANO, 0, strategy="sandwich", per_block=per_block, warmup_epochs=0)
    between = set()
    for step in range(10):
        for block in range(2):
            largest, smallest, *others = sampler.drawn(0, step, block)
            assert (largest, smallest) == (NANO.largest(), NANO.smallest())
            assert len(others) == per_block - 2
            between |= {*others}
    assert len(between) == 20 * (per_block - 2)
    # Those are drawn as without the ends.
    alone = SubnetSampler(NANO, 0, per_block=per_block - 2, warmup_epochs=0)
    assert sampler.drawn(0, 3, 1)[2:] == alone.drawn(0, 3, 1)


def test_what_cannot_be_drawn_is_refused() -> None:
    for settings, message in (
        ({"per_block": 0}, "per_block is 0"),
        ({"warmup_epochs": -1}, "warmup_epochs -1"),
        ({"shared": ["depths"]}, "has no field depths"),
        ({"strategy": "sandwich", "warmup_epochs": 0}, "subnets is 2, at least 3"),
        (
            {"strategy": "sandwich", "per_block": 3, "warmup_epochs": 4},
            "choice_warmup_epochs is 4; with sampling",
        ),
    ):
        with pytest.raises(ConfigError, match=message):
            SubnetSampler(NANO, 0, **settings)  # type: ignore[arg-type]
    words = SearchSpace("own", {"act": Choice("relu", "gelu")}, model="none")
    assert {SubnetSampler(words, 0, warmup_epochs=1).drawn(0, step, 0)[0]["act"] for step in range(9)} == {"relu"}
