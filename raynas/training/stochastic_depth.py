"""Stochastic depth whose draws belong to images, not to the process that computes them.

timm's DropPath draws for the images of a call from the process-wide generator: two workers with half of a batch each
would drop other branches than one worker with all of it, and so train another model.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import nn


class BranchDrops:
    """The source that all DropPaths of a model draw from; `begin` says which images they see next."""

    def __init__(self) -> None:
        self._generator: torch.Generator | None = None
        self._positions: torch.Tensor | None = None
        self._batch_size = 0

    def begin(self, seed: int, positions: np.ndarray, batch_size: int, device: torch.device) -> None:
        """Get ready for a pass.

        Args:
            seed: Of the step; the same on every worker and in every pass of it.
            positions: (b,) of the images of the pass in the batch of the step.
            batch_size: Of the step, over all workers.
            device: Where the model computes.
        """
        self._generator = torch.Generator(device).manual_seed(seed)
        self._positions = torch.from_numpy(positions).to(device, non_blocking=True)
        self._batch_size = batch_size

    def kept(self, probability: float, like: torch.Tensor) -> torch.Tensor:
        """1 for what is kept, else 0: (b, 1, ...), to be multiplied with a tensor (b, ...).

        Draws for the whole batch, so that the n-th call of a pass draws the same for an image in every pass. Where a
        model drops parts of images, such as windows (b is a multiple of the images), draws are those of the process.
        """
        assert self._positions is not None, "begin comes first"
        shape = (len(like), *[1] * (like.ndim - 1))
        if len(like) != len(self._positions):
            return like.new_empty(shape).bernoulli_(probability)
        drawn = torch.empty(self._batch_size, device=like.device).bernoulli_(probability, generator=self._generator)
        return drawn[self._positions].to(like.dtype).view(shape)

    def __deepcopy__(self, memo: dict[int, Any]) -> BranchDrops:
        """Itself: a moving average of the model, which drops nothing, needs no draws of its own."""
        return self


class _DropPath(nn.Module):
    def __init__(self, drops: BranchDrops, drop_prob: float, scale_by_keep: bool) -> None:
        super().__init__()
        self.drops = drops
        self.drop_prob = drop_prob
        self.scale_by_keep = scale_by_keep

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """As timm's, with draws from the shared source."""
        if not self.training or not self.drop_prob:
            return x
        keep = 1 - self.drop_prob
        kept = self.drops.kept(keep, x)
        return x * (kept / keep if self.scale_by_keep and keep else kept)


def share_drops(model: nn.Module) -> BranchDrops:
    """Have all of a model's DropPaths (timm's) draw from one source, which is returned.

    They have no weights, so that the model keeps its names. Dropout of single features is left as it is.
    """
    from timm.layers import DropPath

    drops = BranchDrops()
    for parent in list(model.modules()):
        for name, child in parent.named_children():
            if isinstance(child, DropPath):
                setattr(parent, name, _DropPath(drops, child.drop_prob or 0.0, child.scale_by_keep))
    return drops
