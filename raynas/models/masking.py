"""Patches of images hidden at random, and what is left of them (He 2021, arXiv 2111.06377).

Tensor letters: B images, G patches a side of the grid, L = G * G patches, n patches that are kept, C channels,
p pixels a side of a patch.
"""

from __future__ import annotations

import math
from typing import NamedTuple

from torch import Tensor, cat

from raynas.errors import ConfigError


class Masking(NamedTuple):
    """Which patches of each image are hidden.

    Args:
        kept: (B, n) places in the grid of the patches that are kept, in random order.
        restore: (B, L) for each place in the grid, the place of its patch among all in random order, kept ones first.
        hidden: (B, L) 1 where a patch is hidden, else 0.
    """

    kept: Tensor
    restore: Tensor
    hidden: Tensor


def patches_kept(patches: int, ratio: float) -> int:
    """How many of an image's patches are kept: what the ratio leaves, rounded down.

    Args:
        patches: How many patches there are, L.
        ratio: Share that is hidden.

    Raises:
        ConfigError: None would be kept, or none hidden.
    """
    kept = math.floor(patches * (1 - ratio) + 1e-9)  # 0.9 of 10 leave 1, though 10 * (1 - 0.9) is below it
    if not 0 < kept < patches:
        left = "no patch" if kept <= 0 else "all patches"
        raise ConfigError(f"mask_ratio is {ratio:g}, which leaves {left} of {patches}")
    return kept


def random_masking(noise: Tensor, kept: int) -> Masking:
    """Keep the patches of the smallest numbers.

    Args:
        noise: (B, L) random numbers.
        kept: How many patches of each image are kept, n.
    """
    order = noise.argsort(1)
    restore = order.argsort(1)
    return Masking(order[:, :kept], restore, (restore >= kept).to(noise.dtype))


def kept_tokens(tokens: Tensor, masking: Masking, prefix: int) -> Tensor:
    """The tokens of kept patches, behind the prefix tokens: (B, prefix + L, C) to (B, prefix + n, C)."""
    patches = tokens[:, prefix:].gather(1, masking.kept[..., None].expand(-1, -1, tokens.shape[2]))
    return cat([tokens[:, :prefix], patches], 1)


def all_tokens(tokens: Tensor, masking: Masking, mask_token: Tensor, prefix: int) -> Tensor:
    """Tokens in their places, with one and the same where a patch is hidden: (B, prefix + n, C) to (B, prefix + L, C).

    Args:
        tokens: The prefix tokens and those of kept patches, as `kept_tokens` gives them.
        masking: Which these are.
        mask_token: (1, 1, C) what stands in all other places.
        prefix: How many prefix tokens there are.
    """
    patches = tokens[:, prefix:]
    rest = masking.restore.shape[1] - patches.shape[1]
    shuffled = cat([patches, mask_token.to(patches.dtype).expand(len(patches), rest, -1)], 1)
    placed = shuffled.gather(1, masking.restore[..., None].expand(-1, -1, patches.shape[2]))
    return cat([tokens[:, :prefix], placed], 1)


def patchified(images: Tensor, side: int) -> Tensor:
    """Pixels by patch, each (row, column, channel): (B, 3, S, S) to (B, L, p * p * 3), patches row by row.

    Args:
        images: Images of S = side * p pixels a side.
        side: Patches a side of the grid, G.
    """
    batch, channels, pixels, _ = images.shape
    size = pixels // side
    blocks = images.reshape(batch, channels, side, size, side, size)
    return blocks.permute(0, 2, 4, 3, 5, 1).reshape(batch, side * side, size * size * channels)


def unpatchified(patches: Tensor, side: int) -> Tensor:
    """The inverse of `patchified`: (B, L, p * p * 3) to (B, 3, S, S)."""
    batch, _, values = patches.shape
    size = math.isqrt(values // 3)
    blocks = patches.reshape(batch, side, side, size, size, 3)
    return blocks.permute(0, 5, 1, 3, 2, 4).reshape(batch, 3, side * size, side * size)


def normalised_patches(patches: Tensor) -> Tensor:
    """Pixels of each patch less their mean, over the root of their unbiased variance and 1e-6: (B, L, p * p * 3)."""
    variance, mean = patches.var(-1, keepdim=True), patches.mean(-1, keepdim=True)
    return (patches - mean) / (variance + 1e-6).sqrt()


def masked_loss(predicted: Tensor, targets: Tensor, hidden: Tensor) -> Tensor:
    """Squared errors, averaged over the values of a patch and over hidden patches.

    Args:
        predicted, targets: (B, L, values).
        hidden: (B, L) 1 where a patch is hidden, else 0.
    """
    errors = (predicted.to(targets.dtype) - targets).square().mean(-1)
    return (errors * hidden).sum() / hidden.sum()
