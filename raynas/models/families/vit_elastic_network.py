"""The plain vision transformer (Dosovitskiy 2020, arXiv 2010.11929) with heads and MLP units of each block its own.

Parameters have the names that timm's VisionTransformer gives them, and where all blocks are there and alike, weights of
one give the same logits in the other.

Tensor letters: B batch, G tokens a side of the grid, N = G * G + 1 tokens, the class token first, C channels, H heads,
D head size, S side of the image in pixels.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import nn

from raynas.models.image_side import square_side
from raynas.models.layers import Conv2d, LayerNorm, Linear, draw_parameters, transformer_distributions
from raynas.models.pre_norm import NORM_EPS, Block
from raynas.models.timm_network import TimmNetwork


class PatchEmbed(nn.Module):
    """Tokens of an image: a convolution of patches that do not overlap.

    Args:
        in_chans: Number of channels of the images.
        dim: Width of the tokens, C.
        patch_size: Side of a token in pixels.
    """

    def __init__(self, in_chans: int, dim: int, patch_size: int, **factory: Any) -> None:
        super().__init__()
        self.proj = Conv2d(in_chans, dim, patch_size, patch_size, **factory)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """(B, in_chans, S, S) to (B, G * G, C)."""
        return self.proj(images).flatten(2).transpose(1, 2)


class ViTElasticNetwork(TimmNetwork):
    """The network of one architecture; logits come from the class token.

    Args:
        patch_size: Side of a token in pixels.
        width: Channels of the tokens.
        head_size: Width of the heads.
        num_heads: Number of heads of the block in each place; 0: there is none.
        mlp_units: Width between the two layers of each block's MLP; 0 where there is no block.
        img_size: Side of the images in pixels, divisible by the patch size.
        num_classes: Number of classes, which is the number of the head's outputs; 0: there is no head.
        in_chans: Number of channels of the images.
        global_pool: What the head is given: the class token ("token"), the mean over the tokens of patches ("avg"), or
            nothing is pooled ("").
        drop_rate: Probability in training that a feature is dropped before the head.
        drop_path_rate: Probability in training that a branch of the last place is dropped; it grows linearly from 0
            over all places, empty ones among them. Needs timm unless it is 0.
        fused_attn: Whether to use torch's fused attention, which is faster but not differentiable in forward mode.
        device, dtype: Device and type of the parameters. On the meta device they get no values.
    """

    FIRST_CONV = "patch_embed.proj"
    num_prefix_tokens = 1

    make_block: Any = Block  # a subclass may have another, of the same arguments

    def __init__(
        self,
        *,
        patch_size: int,
        width: int,
        head_size: int,
        num_heads: Sequence[int],
        mlp_units: Sequence[int],
        img_size: int | Sequence[int] = 224,
        num_classes: int = 1000,
        in_chans: int = 3,
        global_pool: str = "token",
        drop_rate: float = 0.0,
        drop_path_rate: float = 0.0,
        fused_attn: bool = False,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__()
        factory: dict[str, Any] = {"device": device, "dtype": dtype}
        img_size = square_side(img_size, patch_size)
        self.patch_embed = PatchEmbed(in_chans, width, patch_size, **factory)
        self.cls_token = nn.Parameter(torch.empty(1, 1, width, **factory))
        self.pos_embed = nn.Parameter(torch.empty(1, (img_size // patch_size) ** 2 + 1, width, **factory))
        self.blocks = nn.ModuleList()
        for place, (heads, units) in enumerate(zip(num_heads, mlp_units, strict=True)):
            rate = drop_path_rate * place / max(1, len(num_heads) - 1)
            self.blocks.append(
                self.make_block(width, heads, head_size, units, rate, fused_attn=fused_attn, **factory)
                if heads
                else nn.Identity()
            )
        self.norm = LayerNorm(width, NORM_EPS, **factory)
        self.head = Linear(width, num_classes, **factory) if num_classes else nn.Identity()
        self.describe(
            [(f"blocks.{place}", width, patch_size) for place, heads in enumerate(num_heads) if heads],
            num_classes=num_classes, in_chans=in_chans, global_pool=global_pool, drop_rate=drop_rate, img_size=img_size,
        )  # fmt: skip
        self.init_weights()

    def present_blocks(self) -> Iterator[nn.Module]:
        """The blocks, in the order in which tokens go through them, without the places where there is none."""
        return (block for block in self.blocks if not isinstance(block, nn.Identity))

    def initial_distributions(self) -> dict[str, tuple[str, float]]:
        """How each parameter is drawn, by name, in the order in which the model has them: as timm draws it.

        Returns:
            For each parameter ("normal", its std), ("uniform", the largest absolute value), or ("constant", its value).
        """
        return {**transformer_distributions(self, "patch_embed.proj"), "cls_token": ("normal", 1e-6)}

    def init_weights(self) -> None:
        """Draw all parameters anew from torch's generator; on the meta device nothing happens."""
        if not self.norm.weight.is_meta:
            draw_parameters(self, self.initial_distributions())

    def embedded(self, images: torch.Tensor) -> torch.Tensor:
        """Tokens with their positions, before the first block: (B, in_chans, S, S) to (B, N, C)."""
        patches = self.patch_embed(images)
        return torch.cat([self.cls_token.expand(patches.shape[0], -1, -1), patches], 1) + self.pos_embed

    def groups(self) -> list[list[nn.Module]]:
        """Each block that is there."""
        return [[block] for block in self.present_blocks()]

    def keep_groups(self, count: int) -> None:
        """Drop all blocks but the first ones that are there."""
        places = [i for i, block in enumerate(self.blocks) if not isinstance(block, nn.Identity)]
        self.blocks = self.blocks[: places[count - 1] + 1]

    def tokens(self, images: torch.Tensor) -> torch.Tensor:
        """Output of the last block, before the final norm: (B, in_chans, S, S) to (B, N, C)."""
        found: torch.Tensor = self.through(self.embedded(images), self.groups())
        return found

    def no_weight_decay(self) -> set[str]:
        """Parameters that optimizers do not shrink, beside biases and norms: those of timm's class."""
        return {"cls_token", "pos_embed"}

    def group_matcher(self, coarse: bool = False) -> dict[str, Any]:
        """Patterns of names by which timm groups parameters by depth."""
        blocks = [(r"^blocks\.(\d+)", None), (r"^norm\.", (99_999,))]
        return {"stem": r"^(?:cls_token|pos_embed|patch_embed)", "blocks": blocks}
