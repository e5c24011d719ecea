"""Scores of the gradients of the logits by the images: how different they are between images.

Letters: B images, D numbers of an image.
"""

from __future__ import annotations

import math
from itertools import combinations

import torch
from torch import Tensor

from raynas.errors import NotApplicableError
from raynas.proxies.passes import input_gradients
from raynas.proxies.probe import Probe
from raynas.proxies.registered import RESTING, proxy

_MANY_CLASSES = 100


def correlations(rows: Tensor) -> Tensor:
    """Pearson correlations of the rows, (B, D) to (B, B) float64 on the CPU; NaN for a row without variance."""
    centred = (rows - rows.mean(1, keepdim=True)).double()
    unit = centred / centred.norm(dim=1, keepdim=True)
    matrix: Tensor = unit @ unit.T
    return matrix.cpu()


@proxy(
    "jacob_cov",
    needs_images=True,
    paper="arXiv 2006.04647v1, arXiv 2101.08134",
    version=2,
    batch_norm="batch",
    departures=(
        RESTING,
        "Eigenvalues are those of a symmetric matrix, none below 0; the code's general solver may give small negative "
        "ones.",
    ),
)
def jacob_cov(probe: Probe) -> float:
    """Minus the sum of log v + 1 / v, v the eigenvalues of the images' gradient correlations; higher is better.

    Mellor (2020, first version): gradients of the sum of the logits, 1e-5 added to v. At most about -B, which it is
    where the gradients are uncorrelated.

    Raises:
        NotApplicableError: There is one image only.
    """
    rows = probe.once(input_gradients).rows
    if len(rows) < 2:
        raise NotApplicableError(f"needs at least two images, got {len(rows)}")
    matrix = correlations(rows)
    if not matrix.isfinite().all():
        return math.nan
    values = torch.linalg.eigvalsh(matrix).clamp(min=0) + 1e-5
    return -float((values.log() + 1 / values).sum())


@proxy(
    "epe_nas",
    needs_images=True,
    needs_labels=True,
    paper="arXiv 2102.08099",
    version=2,
    batch_norm="batch",
    departures=(
        RESTING,
        "Classes with one image in the batch are left out, of which the code counts 1e-5 up to 100 classes.",
        "Above 100 classes each pair of classes counts once, where the code counts it in both orders: half of its "
        "value.",
    ),
)
def epe_nas(probe: Probe) -> float:
    """Sum over classes of |sum of log(|r| + 1e-5)|, r the gradient correlations in a class; higher is better.

    Lopes (2021). Networks with more than 100 outputs instead sum the differences between classes, each divided by its
    number of rows, over the number of classes. Classes with one image in the batch are left out (our choice).

    Raises:
        NotApplicableError: No class has two images.
    """
    found = probe.once(input_gradients)
    labels = probe.labels.to(found.rows.device)
    is_many = found.num_classes > _MANY_CLASSES
    sums = []
    for label in labels.unique():  # type: ignore[no-untyped-call]
        rows = found.rows[labels == label]
        if len(rows) > 1:
            total = float((correlations(rows).abs() + 1e-5).log().sum())
            sums.append(total / len(rows) if is_many else total)
    if not sums:
        raise NotApplicableError("needs a class with at least two images in the batch")
    if is_many:
        return sum(abs(a - b) for a, b in combinations(sums, 2)) / len(sums)
    return sum(abs(value) for value in sums)
