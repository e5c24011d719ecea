"""How far and how widely heads attend, where the right values are known."""

from __future__ import annotations

import math

import pytest
import torch

from raynas.models.attention_statistics import (
    attention_distance,
    attention_entropy,
    between_patches,
    grid_distances,
)


def test_uniform_attention_has_known_values() -> None:
    attention = between_patches(torch.zeros(2, 3, 197, 197), 1)
    assert attention is not None and attention.shape == (2, 3, 196, 196)
    assert attention_entropy(attention).tolist() == pytest.approx([math.log(196)] * 3, abs=3e-4)
    by_hand = sum(math.hypot(a // 14 - b // 14, a % 14 - b % 14) for a in range(196) for b in range(196)) / 196**2
    assert attention_distance(attention).tolist() == pytest.approx([by_hand] * 3, rel=1e-5)


def test_attention_to_oneself_alone_is_at_no_distance() -> None:
    attention = between_patches(100 * torch.eye(17).expand(1, 2, 17, 17), 1)
    assert attention is not None
    assert attention_entropy(attention).abs().max() < 1e-4
    assert attention_distance(attention).abs().max() < 1e-4


def test_attention_to_a_neighbour_is_at_its_distance() -> None:
    logits = torch.zeros(1, 1, 9, 9)
    logits[..., torch.arange(9), (torch.arange(9) + 3) % 9] = 100  # the row below; from the last row, the first
    attention = between_patches(logits, 0)
    assert attention is not None
    assert float(attention_distance(attention)) == pytest.approx((6 * 1 + 3 * 2) / 9)


def test_prefix_tokens_do_not_count() -> None:
    logits = torch.randn(2, 3, 18, 18)
    changed = logits.clone()
    changed[:, :, :2] = 50
    changed[:, :, :, :2] = 50
    first, second = between_patches(logits, 2), between_patches(changed, 2)
    assert first is not None and second is not None
    assert torch.equal(first, second)
    assert torch.allclose(first.sum(-1), torch.ones(2, 3, 16))


@pytest.mark.parametrize(
    ("shape", "prefix"), [((4, 3, 49, 50), 0), ((4, 49, 49), 0), ((4, 3, 50, 50), 0), ((1, 1, 1, 1), 1)]
)
def test_what_is_no_grid_has_no_distances(shape: tuple[int, ...], prefix: int) -> None:
    assert between_patches(torch.zeros(shape), prefix) is None


def test_distances_are_euclidean() -> None:
    found = grid_distances(4)
    assert float(found[0, 5]) == pytest.approx(math.sqrt(2))
    assert float(found[3, 12]) == pytest.approx(math.sqrt(18))
    assert torch.equal(found, found.T)
