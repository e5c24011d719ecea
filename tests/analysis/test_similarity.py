"""Linear CKA where the right values are known, and against the estimator written out."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
import torch
from torch import Tensor

from raynas.analysis.similarity import Likeness, products, unbiased_hsic
from raynas.errors import DataError


def cka(first: Sequence[Tensor], second: Sequence[Tensor] | None = None, *, batch: int = 64) -> Tensor:
    found = Likeness(is_same=second is None)
    for start in range(0, len(first[0]), batch):
        part = [one[start : start + batch] for one in first]
        found.add(part, part if second is None else [one[start : start + batch] for one in second])
    return found.values()


def test_the_estimator_is_the_published_one() -> None:
    x, y = torch.randn(7, 5).double(), torch.randn(7, 3).double()
    k, other = products(x), products(y)
    ones = torch.ones(7).double()
    by_hand = (
        torch.trace(k @ other) + (ones @ k @ ones) * (ones @ other @ ones) / 30 - 2 * (ones @ k @ other @ ones) / 5
    )
    assert float(unbiased_hsic(k[None], other[None])) == pytest.approx(float(by_hand) / (7 * 4))


def test_what_is_the_same_is_alike_by_1() -> None:
    torch.manual_seed(0)
    points = [torch.randn(256, 40), torch.randn(256, 30)]
    found = cka(points)
    assert found.diagonal().tolist() == pytest.approx([1, 1], abs=1e-6)
    assert torch.allclose(found, found.T)
    turn, _ = torch.linalg.qr(torch.randn(40, 40))
    other = cka(points[:1], [3.7 * points[0] @ turn])
    assert float(other) == pytest.approx(1, abs=1e-4)
    moved = cka(points[:1], [points[0] + 5.0])
    assert float(moved) == pytest.approx(1, abs=1e-3)


def test_independent_features_are_not_alike() -> None:
    torch.manual_seed(1)
    found = [float(cka([torch.randn(256, 64)], [torch.randn(256, 64)], batch=256)) for _ in range(10)]
    assert abs(sum(found) / 10) < 0.1
    assert min(found) < 0  # the estimate is unbiased, not positive


def test_a_part_that_is_shared_is_alike_in_part() -> None:
    torch.manual_seed(2)
    shared, own, other = (torch.randn(2048, 16) for _ in range(3))
    found = float(cka([torch.cat([shared, own], 1)], [torch.cat([shared, other], 1)], batch=512))
    assert found == pytest.approx(0.5, abs=0.05)  # half of the variance of each


def test_batches_of_other_sizes_come_to_the_same() -> None:
    torch.manual_seed(3)
    base = torch.randn(1024, 20)
    mixed = base + 0.7 * torch.randn(1024, 20)
    assert float(cka([base], [mixed], batch=128)) == pytest.approx(float(cka([base], [mixed], batch=1024)), abs=0.02)


def test_four_images_are_needed() -> None:
    with pytest.raises(DataError, match="at least 4 images"):
        cka([torch.randn(3, 5)])
