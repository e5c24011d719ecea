"""Images of another side: position embeddings of its grid, and weights with them, as timm resizes them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import isqrt

import torch
import torch.nn.functional as F
from torch import nn


def square_side(img_size: int | Sequence[int], multiple: int) -> int:
    """The side in pixels of square images.

    Args:
        img_size: The side, or height and width.
        multiple: What it must be a multiple of.

    Raises:
        ValueError: They differ, or it is no such multiple.
    """
    sides = {img_size} if isinstance(img_size, int) else {*img_size}
    if len(sides) > 1:
        raise ValueError(f"img_size is {img_size}; images must be square")
    (side,) = sides
    if side < multiple or side % multiple:
        raise ValueError(f"img_size is {side}; it must be a positive multiple of {multiple}")
    return side


def checkpoint_filter_fn(state_dict: Mapping[str, torch.Tensor], model: nn.Module) -> dict[str, torch.Tensor]:
    """Weights for a network of another image side: position embeddings are resized to its grids.

    Args:
        state_dict: All weights, by name.
        model: The network that they are for.
    """
    shapes = {name: value.shape for name, value in model.state_dict().items()}
    prefix: int = getattr(model, "num_prefix_tokens", 0)
    return {
        name: resized_positions(value, shapes[name], prefix)
        if name.rpartition(".")[2] == "pos_embed" and name in shapes
        else value
        for name, value in state_dict.items()
    }


def resized_positions(values: torch.Tensor, shape: torch.Size, prefix: int) -> torch.Tensor:
    """A position embedding resized (bicubic, with antialiasing, as in timm) to another grid.

    Args:
        values: (1, prefix + tokens, C) or (1, tokens, C) with a square grid of tokens, (1, h, w, C) or (1, C, h, w).
        shape: The shape to reach, of the same form; where it cannot be reached, values are returned as they are.
        prefix: How many tokens before those of the grid have embeddings of their own, which stay.
    """
    if values.shape == shape or values.ndim != len(shape):
        return values
    if values.ndim == 3 and values.shape[2] == shape[2]:
        for first in dict.fromkeys((prefix, 0)):  # embeddings of later stages may have no prefix
            before, after = (isqrt(max(0, tokens - first)) for tokens in (values.shape[1], shape[1]))
            if before and after and (before**2 + first, after**2 + first) == (values.shape[1], shape[1]):
                grid = values[:, first:].mT.reshape(len(values), -1, before, before)
                return torch.cat([values[:, :first], _resized(grid, (after, after)).flatten(2).mT], 1)
        return values
    if values.ndim == 4 and values.shape[3] == shape[3]:
        return _resized(values.permute(0, 3, 1, 2), (shape[1], shape[2])).permute(0, 2, 3, 1)
    if values.ndim == 4 and values.shape[1] == shape[1]:
        return _resized(values, (shape[2], shape[3]))
    return values


def _resized(grid: torch.Tensor, size: tuple[int, int]) -> torch.Tensor:
    """(1, C, h, w) to another h and w."""
    return F.interpolate(grid.float(), size, mode="bicubic", antialias=True, align_corners=False).to(grid.dtype)
