"""Classes of images told by those of the images with the nearest features (Wu 2018, arXiv 1805.01978).

Letters: n known images, m images to tell, C features, k neighbours.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F

NEIGHBOURS = 20
TEMPERATURE = 0.07

_AT_ONCE = 1024  # images whose similarities to all others are in memory


def told_classes(
    known: torch.Tensor,
    classes: torch.Tensor,
    features: torch.Tensor,
    *,
    neighbours: int = NEIGHBOURS,
    temperature: float = TEMPERATURE,
    are_same: bool = False,
) -> torch.Tensor:
    """The class (m,) with the largest vote of each image's nearest neighbours; of several, the first.

    A neighbour votes with exp(cosine / temperature).

    Args:
        known: (n, C) features of images whose classes are known.
        classes: (n,) these classes.
        features: (m, C) features of the images to tell.
        neighbours: How many of them vote, k; all where there are fewer.
        temperature: What cosines are divided by.
        are_same: Whether the images to tell are the known ones, in the same order, so that none is its own neighbour.
    """
    known, features = F.normalize(known.float(), dim=1), F.normalize(features.float(), dim=1)
    k = min(neighbours, len(known) - are_same)
    number = int(classes.max()) + 1
    told = []
    for start in range(0, len(features), _AT_ONCE):
        cosines = features[start : start + _AT_ONCE] @ known.T
        if are_same:
            cosines.diagonal(start)[: len(cosines)] = -torch.inf
        nearest, places = cosines.topk(k, dim=1)
        votes = (nearest.double() / temperature).exp()
        told.append(votes.new_zeros(len(votes), number).scatter_add_(1, classes[places], votes).argmax(1))
    return torch.cat(told)


def knn_accuracy(features: torch.Tensor, classes: torch.Tensor) -> float:
    """How many of some images have the class that their neighbours among the others tell, from 0 to 1.

    Half as many neighbours vote as a class has images, at least one and at most NEIGHBOURS.

    Args:
        features: (n, C) features of the images.
        classes: (n,) their classes.
    """
    of_class = len(classes) // max(1, len(classes.bincount().nonzero()))
    neighbours = min(NEIGHBOURS, max(1, of_class // 2))
    told = told_classes(features, classes, features, neighbours=neighbours, are_same=True)
    return float((told == classes).double().mean())
