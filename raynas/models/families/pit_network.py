"""PiT (Heo 2021, arXiv 2103.16302), as timm has it, with checkpointed gradients and features of all forms.

Tensor letters: B batch, G tokens a side of a stage's grid, C channels, S side of the image in pixels. A state is a map
(B, C, G, G) and the class token (B, 1, C).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from timm.models.pit import PoolingVisionTransformer
from torch import nn

from raynas.models.checkpointing import Blocks
from raynas.models.image_side import square_side
from raynas.models.timm_network import TimmNetwork

STRIDE = 8


class PiTNetwork(TimmNetwork, PoolingVisionTransformer):  # type: ignore[misc]
    """timm's PoolingVisionTransformer; logits come from the class token.

    Args:
        img_size: Side of the images in pixels, a multiple of 8 and at least 16.
        num_classes: Number of classes, which is the number of the head's outputs; 0: there is no head.
        in_chans: Number of channels of the images.
        global_pool: What the head is given: the class token ("token"), or a sequence of it alone ("").
        drop_rate: Probability in training that a feature is dropped before the head.
        settings: Further keywords of timm's class, but for `distilled`.
    """

    FIRST_CONV = "patch_embed.conv"
    POOLS = ("token", "")
    num_prefix_tokens = 1

    patch_embed: Any
    pos_embed: Any
    pos_drop: Any
    cls_token: Any
    transformers: Any

    def __init__(
        self,
        *,
        img_size: int | Sequence[int] = 224,
        num_classes: int = 1000,
        in_chans: int = 3,
        global_pool: str = "token",
        drop_rate: float = 0.0,
        **settings: Any,
    ) -> None:
        side = square_side(img_size, STRIDE)
        super().__init__(img_size=side, num_classes=num_classes, in_chans=in_chans, **settings)
        for stage in self.transformers:
            stage.blocks = Blocks(*stage.blocks)
        self.describe(
            [(one["module"], one["num_chs"], one["reduction"]) for one in self.feature_info],
            num_classes=num_classes, in_chans=in_chans, global_pool=global_pool, drop_rate=drop_rate, img_size=side,
        )  # fmt: skip

    def embedded(self, images: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Patches with their positions, and the class token: of images (B, in_chans, S, S)."""
        return self.pos_drop(self.patch_embed(images) + self.pos_embed), self.cls_token.expand(len(images), -1, -1)

    def groups(self) -> list[list[nn.Module]]:
        """Each stage."""
        return [[stage] for stage in self.transformers]

    def keep_groups(self, count: int) -> None:
        """Drop all stages but the first ones."""
        self.transformers = self.transformers[:count]

    def normalised(self, state: tuple[torch.Tensor, torch.Tensor]) -> tuple[torch.Tensor, torch.Tensor]:
        """The state with its class token after the final norm, which is of that token alone."""
        return state[0], self.norm(state[1])

    def output_of(self, state: tuple[torch.Tensor, torch.Tensor]) -> torch.Tensor:
        """The class token, (B, 1, C)."""
        return state[1]

    def map_and_prefix(self, state: tuple[torch.Tensor, torch.Tensor]) -> tuple[torch.Tensor, torch.Tensor]:
        """The state itself."""
        return state

    def draw_head(self, head: nn.Linear) -> None:
        """Leave a fresh head as torch draws it, as timm does."""

    def no_weight_decay(self) -> set[str]:
        """Parameters that optimizers do not shrink, beside biases and norms: those of timm's class."""
        return {"cls_token", "pos_embed"}

    def group_matcher(self, coarse: bool = False) -> dict[str, Any]:
        """Patterns of names by which timm groups parameters by depth."""
        blocks: Any = r"^transformers\.(\d+)"
        if not coarse:
            of_block = (r"^transformers\.(\d+)\.blocks\.(\d+)", None)
            blocks = [(r"^transformers\.(\d+)\.pool", (0,)), of_block, (r"^norm\.", (99_999,))]
        return {"stem": r"^(?:cls_token|pos_embed|patch_embed)", "blocks": blocks}
