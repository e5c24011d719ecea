"""How far heads attend, and how widely, between the patches of an image.

Attention to and from prefix tokens is left out, and what is left of each query's attention sums to 1 again, as the
analyses of arXiv 2205.14443 do it.

Tensor letters: B images, H heads, N tokens, P prefix tokens, G patches a side of the grid, L = G * G.
"""

from __future__ import annotations

from math import isqrt

import torch
from torch import Tensor

EPSILON = 1e-6
"""Added to attention before its logarithm is taken, as in the source."""


def between_patches(logits: Tensor, prefix: int) -> Tensor | None:
    """Attention of patches to patches, (B, H, N, N) before the softmax to (B, H, L, L) after it.

    Args:
        logits: What attention has before its softmax.
        prefix: How many tokens stand before those of patches, P.

    Returns:
        None where the tokens are none of a whole square grid, as within windows.
    """
    if logits.ndim != 4 or logits.shape[2] != logits.shape[3] or logits.shape[2] <= prefix:
        return None
    patches = logits.shape[2] - prefix
    if isqrt(patches) ** 2 != patches:
        return None
    exact = torch.promote_types(logits.dtype, torch.float32)
    return logits[..., prefix:, prefix:].to(exact).softmax(-1)


def grid_distances(side: int) -> Tensor:
    """Distances (L, L) between the patches of a grid, in sides of a patch, float64."""
    places = torch.arange(side)
    grid = torch.stack([places.repeat_interleave(side), places.repeat(side)], 1).double()
    return torch.cdist(grid, grid, compute_mode="donot_use_mm_for_euclid_dist")


def attention_distance(attention: Tensor) -> Tensor:
    """How far a head attends, the mean over images and queries: (B, H, L, L) to (H,), in sides of a patch."""
    distances = grid_distances(isqrt(attention.shape[-1])).to(attention)
    return (attention * distances).sum(-1).mean((0, 2))


def attention_entropy(attention: Tensor) -> Tensor:
    """The entropy of a head's attention in nats, the mean over images and queries: (B, H, L, L) to (H,).

    It is ln L where all patches are attended alike.
    """
    return -(attention * (attention + EPSILON).log()).sum(-1).mean((0, 2))
