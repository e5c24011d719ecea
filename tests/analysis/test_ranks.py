"""Effective ranks and likeness of tokens, where the right values are known."""

from __future__ import annotations

import math

import pytest
import torch

from raynas.analysis.ranks import Spread


def spread(*batches: torch.Tensor) -> Spread:
    found = Spread()
    for batch in batches:
        found.add(batch)
    return found


def test_equal_directions_count_as_many() -> None:
    tokens = torch.cat([torch.eye(6), -torch.eye(6)])[None]
    assert spread(tokens).effective_rank() == pytest.approx(6)
    assert spread(tokens + 3.0).effective_rank() == pytest.approx(6)  # the mean does not count


def test_unequal_directions_count_by_their_shares() -> None:
    tokens = torch.tensor([[3.0, 0], [-3.0, 0], [0, 1.0], [0, -1.0]])[None]
    p = 3 / 4
    assert spread(tokens).effective_rank() == pytest.approx(math.exp(-p * math.log(p) - (1 - p) * math.log(1 - p)))


def test_batches_add_up() -> None:
    tokens = torch.randn(8, 5, 12)
    whole, parts = spread(tokens), spread(tokens[:3], tokens[3:])
    assert parts.effective_rank() == pytest.approx(whole.effective_rank())
    assert parts.token_similarity() == pytest.approx(whole.token_similarity())


def test_tokens_of_an_image_are_compared_with_each_other() -> None:
    same = torch.randn(3, 1, 7).expand(3, 4, 7)
    assert spread(same).token_similarity() == pytest.approx(1)
    orthogonal = torch.eye(5)[None].expand(2, 5, 5)
    assert spread(orthogonal).token_similarity() == pytest.approx(0)
    tokens = torch.randn(2, 6, 4)
    units = torch.nn.functional.normalize(tokens, dim=2)
    pairs = [float(units[i, a] @ units[i, b]) for i in range(2) for a in range(6) for b in range(6) if a != b]
    assert spread(tokens).token_similarity() == pytest.approx(sum(pairs) / len(pairs), abs=1e-6)
    assert math.isnan(spread(torch.ones(2, 3, 4)).effective_rank())
