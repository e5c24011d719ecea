"""Likeness of what layers make of images: linear CKA with the unbiased estimator of HSIC (Kornblith 2019, arXiv
1905.00414; Nguyen 2020, arXiv 2010.15327).

Of each mini-batch, the products of all images with one another are compared; sums over mini-batches are divided, not
their ratios averaged, so that the size of a batch hardly matters. Features need not be centred: the estimator does it.

Letters: n images of a mini-batch, p points (layers) of one network, q of another, F features of an image at a point.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from raynas.errors import DataError

LEAST_IMAGES = 4
"""Images of a mini-batch that the estimator needs."""


def products(features: Tensor) -> Tensor:
    """Products of images with one another, those with themselves left out: (n, F) to (n, n), float64."""
    return (features @ features.T).double().fill_diagonal_(0.0)


def unbiased_hsic(first: Tensor, second: Tensor) -> Tensor:
    """The unbiased estimates of HSIC of all pairs of points, (p, n, n) and (q, n, n) to (p, q), float64.

    Args:
        first, second: Products of the images of a mini-batch with zeros on the diagonal.

    Raises:
        DataError: There are fewer than four images.
    """
    n = first.shape[1]
    if n < LEAST_IMAGES:
        raise DataError(f"likeness of layers needs at least {LEAST_IMAGES} images in a batch, and there are {n}")
    traces = first.flatten(1) @ second.flatten(1).T  # both are symmetric
    rows = first.sum(2), second.sum(2)
    totals = rows[0].sum(1)[:, None] * rows[1].sum(1)
    crossed = rows[0] @ rows[1].T
    return (traces + totals / ((n - 1) * (n - 2)) - 2 * crossed / (n - 2)) / (n * (n - 3))


class Likeness:
    """Linear CKA of all points of one network with all of another, added up over mini-batches.

    Args:
        is_same: Whether both networks are one, whose points are compared with one another.
    """

    def __init__(self, *, is_same: bool) -> None:
        self._is_same = is_same
        self._sums: list[Tensor] = []

    def add(self, first: Sequence[Tensor], second: Sequence[Tensor]) -> None:
        """Add a mini-batch.

        Args:
            first, second: Features (n, F) of the same images at each point, each with its own F. Where both networks
                are one, the second ones are not looked at.

        Raises:
            DataError: There are fewer than four images.
        """
        grams = torch.stack([products(one.float()) for one in first])
        others = grams if self._is_same else torch.stack([products(one.float()) for one in second])
        own = unbiased_hsic(grams, grams).diagonal()
        found = [
            unbiased_hsic(grams, others),
            own,
            own if self._is_same else unbiased_hsic(others, others).diagonal(),
        ]
        self._sums = [before + now for before, now in zip(self._sums, found, strict=True)] if self._sums else found

    def values(self) -> Tensor:
        """CKA (p, q): 1 where two points hold the same up to a turn and a scale, NaN where one of them is constant."""
        crossed, own, other = self._sums
        return (crossed / (own[:, None] * other).clamp(min=0).sqrt()).cpu()
