"""Labels of patches beside those of images, with Mixup and CutMix of whole patches (Liao 2021, arXiv 2109.00642).

A second head, trained beside the network and left behind with the objective, gives logits of each patch of the last
stage's grid. The images of a step are mixed by blocks of their positions: the first half of a block by CutMix along the
lines of that grid, the second half by Mixup. So sub-networks, to which images fall in turn, see as much of both. An
image is mixed with the one in the opposite place of the whole step, which is in the same pass
(`images.microbatches`) and may be of another block: it is only a source of pixels, as it is before any mixing.

Letters: B images of a step over all workers, b images of a pass, G patches a side of the last stage's grid, K classes.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import isqrt
from typing import Any, ClassVar

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from raynas.errors import ConfigError
from raynas.models.outputs import after_stem, patches_of
from raynas.models.step_draws import StepContext
from raynas.seeds import seed_from
from raynas.space.build import build
from raynas.training.batch import Batch
from raynas.training.objectives.objective import Loss, Setup

CUTMIX_ALPHA, MIXUP_ALPHA = 1.0, 0.8


class PatchHead(nn.Linear):
    """Logits of patches; of narrower tokens, by the first channels, as the head of a supernet's member has them.

    Args:
        dim: Width of the tokens, C.
        num_classes: Number of classes, K.
        device: Device of the parameters.
    """

    def __init__(self, dim: int, num_classes: int, device: torch.device) -> None:
        super().__init__(dim, num_classes, device=device)
        nn.init.trunc_normal_(self.weight, std=0.02)
        nn.init.zeros_(self.bias)

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        """(b, G * G, C) to (b, G * G, K), where C is the width of the head or less."""
        return F.linear(tokens, self.weight[:, : tokens.shape[-1]], self.bias)


@dataclass(frozen=True)
class TokenLabels:
    """What logits of images and of their patches are compared with; in place of `ClassTargets`.

    Args:
        num_classes: Number of classes, K.
        label_smoothing: Probability spread over all classes.
        grid: Patches a side of the last stage, G.
        width: Width of the tokens of these patches.
        block_images: How many positions of a step draw one box and one share of each mixture.
    """

    num_classes: int
    label_smoothing: float
    grid: int
    width: int
    block_images: int = 128

    columns: ClassVar[tuple[str, ...]] = ("class_loss", "patch_loss")
    resolved: ClassVar[Mapping[str, Any]] = {"mixup": 0.0, "cutmix": 0.0}
    """Terms of the loss; what becomes of settings that presets of augmentation set."""

    @classmethod
    def of(cls, setup: Setup) -> TokenLabels | None:
        """Those that a training asks for; None: it asks for none.

        Raises:
            ConfigError: The model gives no tokens of patches, or settings do not go with their labels.
        """
        config = setup.config
        if not config.token_labels:
            return None
        if given := [name for name in cls.resolved if getattr(config, name)]:
            raise ConfigError(f"token_labels mix images in their own way: {' and '.join(given)} must be 0 or left out")
        if config.retokenize is not None:
            raise ConfigError("token_labels need one grid of patches, and retokenize changes it")
        with torch.device("meta"), torch.no_grad():
            model = build(setup.space, setup.architecture, **setup.model_settings).eval()
            try:
                labelled = patches_of(model)
            except ConfigError as error:
                raise ConfigError(f"models of the space {setup.space.name!r} have no token_labels: {error}") from None
            size = config.img_size
            _, tokens = labelled.forward_with_patches(after_stem(model, torch.empty(1, 3, size, size)))
        grid = isqrt(tokens.shape[1])
        if grid**2 != tokens.shape[1] or size % grid:
            raise ConfigError(
                f"token_labels need a square grid of patches that divides the image: models of the space "
                f"{setup.space.name!r} have {tokens.shape[1]} at {size} pixels"
            )
        return cls(config.num_classes, config.label_smoothing, grid, tokens.shape[2], config.block_images)

    def head(self, model: nn.Module) -> PatchHead:
        """A fresh head for the patches of a model, on its device."""
        return PatchHead(self.width, self.num_classes, next(model.parameters()).device)

    def mixed(self, batch: Batch, context: StepContext) -> tuple[torch.Tensor, tuple[torch.Tensor, torch.Tensor]]:
        """Images after patch CutMix or Mixup, with targets of images (b, K) and of patches (b, G * G, K).

        The mixture is of the whole step, whichever worker computes it.

        Args:
            batch: The images of a pass, reversed beside their partners.
            context: The place of the step in the training.
        """
        assert batch.labels is not None
        images = batch.images
        own = self._own_shares(batch.positions, context)
        side = images.shape[-1] // self.grid
        pixels = own.repeat_interleave(side, 1).repeat_interleave(side, 2)[:, None].to(images.dtype)
        mixed = images * pixels + images.flip(0) * (1 - pixels)
        shares = torch.full(
            (len(batch), self.num_classes), self.label_smoothing / self.num_classes, device=images.device
        )
        shares.scatter_add_(1, batch.labels[:, None], torch.full_like(shares[:, :1], 1 - self.label_smoothing))
        patches = own.flatten(1)[..., None]
        weights = own.double().mean((1, 2)).float()[:, None]
        return mixed, (
            shares * weights + shares.flip(0) * (1 - weights),
            shares[:, None] * patches + shares.flip(0)[:, None] * (1 - patches),
        )

    def loss(self, outputs: tuple[torch.Tensor, ...], targets: tuple[torch.Tensor, ...]) -> Loss:
        """The cross-entropy of images plus that of patches, each a mean.

        Args:
            outputs: Logits of images (b, K) and of patches (b, G * G, K).
            targets: Those from `mixed`.
        """
        losses = [
            F.cross_entropy(logits.flatten(0, -2), shares.flatten(0, -2))
            for logits, shares in zip(outputs, targets, strict=True)
        ]
        return Loss(losses[0] + losses[1], dict(zip(self.columns, (loss.detach() for loss in losses), strict=True)))

    def _own_shares(self, positions: torch.Tensor, context: StepContext) -> torch.Tensor:
        """The shares that images keep of their patches, (b, G, G)."""
        blocks = range(-(-context.batch_size // self.block_images))
        drawn = np.stack([self.drawn(context, block) for block in blocks]).astype(np.float32)
        numbers = torch.div(positions, self.block_images, rounding_mode="floor")
        starts = numbers * self.block_images
        sizes = (context.batch_size - starts).clamp(max=self.block_images)
        kinds = (2 * (positions - starts) >= sizes).long()
        return torch.from_numpy(drawn).to(positions.device)[numbers, kinds]

    def drawn(self, context: StepContext, block: int) -> np.ndarray:
        """The shares that images of a block keep of their patches, (2, G, G): by CutMix 0 in a box, else 1; by Mixup.

        A box has the sizes of the published code, and lies anywhere on the grid with the same probability, where that
        code never reaches the last row, nor but for the widest boxes the last column.

        Args:
            context: The place of the step in the training.
            block: The number of the block in the step, from 0.
        """
        rng = np.random.default_rng(seed_from(context.seed, "token labels", context.number, block))
        area = int(self.grid**2 * rng.beta(CUTMIX_ALPHA, CUTMIX_ALPHA))
        height = int(rng.integers(1, max(2, min(self.grid, area) - 1)))
        width = area // height
        if width > self.grid:
            width, height = self.grid, area // self.grid
        top, left = rng.integers(0, self.grid - height + 1), rng.integers(0, self.grid - width + 1)
        shares = np.ones((2, self.grid, self.grid))
        shares[0, top : top + height, left : left + width] = 0
        shares[1] = rng.beta(MIXUP_ALPHA, MIXUP_ALPHA)
        return shares
