"""Feature maps by hand, for tests of what compares a student with a teacher."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch


def resized_by_hand(features: np.ndarray, size: int) -> np.ndarray:
    """(C, h, w) to (C, size, size): each new pixel's centre between the four nearest old ones."""
    out = np.zeros((len(features), size, size))
    for i in range(size):
        for j in range(size):
            y, x = (
                max((k + 0.5) * side / size - 0.5, 0) for k, side in ((i, features.shape[1]), (j, features.shape[2]))
            )
            top, left = int(y), int(x)
            below, right = min(top + 1, features.shape[1] - 1), min(left + 1, features.shape[2] - 1)
            down, across = y - top, x - left
            upper = (1 - across) * features[:, top, left] + across * features[:, top, right]
            lower = (1 - across) * features[:, below, left] + across * features[:, below, right]
            out[:, i, j] = (1 - down) * upper + down * lower
    return out


def grids(model: Any, images: torch.Tensor) -> list[np.ndarray]:
    """State of timm's plain ViT after each block, (B, C, h, w)."""
    found = []
    with torch.no_grad():
        x = model._pos_embed(model.patch_embed(images))
        for block in model.blocks:
            x = block(x)
            batch, tokens, width = x.shape
            side = math.isqrt(tokens - 1)
            found.append(x[:, 1:].numpy().reshape(batch, side, side, width).transpose(0, 3, 1, 2))
    return found


def stages(model: Any, images: torch.Tensor) -> list[np.ndarray]:
    """Feature maps of the ResNet's three stages."""
    found = []
    with torch.no_grad():
        x = model.bn1(model.conv1(images)).relu()
        for stage in model.stages:
            x = stage(x)
            found.append(x.numpy())
    return found
