"""ViT-Res (Liao 2021, arXiv 2109.00642): a vision transformer of three stages with residual spatial reduction.

Tensor letters: B batch, G tokens a side of a stage's grid, N = G * G + 1 tokens, the class token first, C channels, H
heads, D head size, S side of the image in pixels.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn

from raynas.models.image_side import square_side
from raynas.models.layers import Conv2d, LayerNorm, Linear, draw_parameters
from raynas.models.pre_norm import NORM_EPS, Block
from raynas.models.timm_network import TimmNetwork

STEM_CHANNELS = 24


class Stem(nn.Module):
    """Tokens of an image: convolutions at half its side, the second and third of them beside a shortcut, and patches.

    Args:
        in_chans: Number of channels of the images.
        dim: Width of the tokens, C.
        patch_size: Side of a token in pixels of half the image's side.
    """

    def __init__(self, in_chans: int, dim: int, patch_size: int, **factory: Any) -> None:
        super().__init__()
        width = STEM_CHANNELS
        self.conv1 = Conv2d(in_chans, width, 3, 2, 1, bias=False, **factory)
        self.norm1 = nn.BatchNorm2d(width, **factory)
        self.conv2 = Conv2d(width, width, 3, 1, 1, bias=False, **factory)
        self.norm2 = nn.BatchNorm2d(width, **factory)
        self.conv3 = Conv2d(width, width, 3, 1, 1, bias=False, **factory)
        self.norm3 = nn.BatchNorm2d(width, **factory)
        self.act = nn.ReLU()
        self.proj = Conv2d(width, dim, patch_size, patch_size, **factory)

    def features(self, images: torch.Tensor) -> torch.Tensor:
        """What patches are taken of: (B, in_chans, S, S) to (B, 24, S / 2, S / 2)."""
        x = self.act(self.norm1(self.conv1(images)))
        y = self.act(self.norm2(self.conv2(x)))
        return x + self.act(self.norm3(self.conv3(y)))

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """(B, in_chans, S, S) to (B, C, G, G)."""
        return self.proj(self.features(images))


class Reduction(nn.Module):
    """Residual spatial reduction: half the grid and more channels, beside a path without parameters.

    That path takes the mean of two by two patches and the class token as they are, and gives new channels zeros.

    Args:
        before: Width of the tokens that come, C.
        dim: Width of the tokens that go, at least as many.
        side: Tokens a side of the grid that comes, G, an even number.
    """

    def __init__(self, before: int, dim: int, side: int, **factory: Any) -> None:
        super().__init__()
        self.side = side
        self.new_channels = dim - before
        self.norm = LayerNorm(before, NORM_EPS, **factory)
        self.conv = Conv2d(before, dim, 3, 2, 1, **factory)
        self.pos_embed = nn.Parameter(torch.empty(1, (side // 2) ** 2, dim, **factory))
        self.linear = Linear(before, dim, **factory)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(B, G * G + 1, before) to (B, G * G / 4 + 1, dim)."""
        y = self.norm(x)
        patches = self.conv(self._grid(y)).flatten(2).transpose(1, 2) + self.pos_embed
        pooled = F.avg_pool2d(self._grid(x), 2).flatten(2).transpose(1, 2)
        skipped = F.pad(torch.cat([x[:, :1], pooled], 1), (0, self.new_channels))
        return torch.cat([self.linear(y[:, :1]), patches], 1) + skipped

    def _grid(self, x: torch.Tensor) -> torch.Tensor:
        """The patches as a map: (B, N, C) to (B, C, G, G)."""
        return x[:, 1:].transpose(1, 2).reshape(x.shape[0], x.shape[2], self.side, self.side)


class ViTResNetwork(TimmNetwork):
    """The network of one architecture; logits come from the class token.

    Args:
        width: Channels of the tokens of each stage.
        depth: Number of places for blocks of each stage.
        head_size: Width of the heads of each stage.
        num_heads: Number of heads of the block in each place, of all stages in their order; 0: there is none.
        mlp_units: Width between the two layers of each block's MLP; 0 where there is no block.
        patch_size: Side of a token in pixels of half the image's side.
        img_size: Side of the images in pixels, divisible by 8 * patch_size.
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

    FIRST_CONV = "patch_embed.conv1"
    num_prefix_tokens = 1

    make_block: Any = Block  # a subclass may have another, of the same arguments

    def __init__(
        self,
        *,
        width: Sequence[int],
        depth: Sequence[int],
        head_size: Sequence[int],
        num_heads: Sequence[int],
        mlp_units: Sequence[int],
        patch_size: int = 7,
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
        img_size = square_side(img_size, patch_size << len(width))
        side = img_size // (2 * patch_size)
        self.patch_embed = Stem(in_chans, width[0], patch_size, **factory)
        self.cls_token = nn.Parameter(torch.empty(1, 1, width[0], **factory))
        self.pos_embed = nn.Parameter(torch.empty(1, side**2 + 1, width[0], **factory))
        self.reductions = nn.ModuleList(
            Reduction(width[i - 1], width[i], side >> (i - 1), **factory) for i in range(1, len(width))
        )
        self.stages = nn.ModuleList()
        places = iter(range(sum(depth)))
        for i in range(len(width)):
            stage = nn.ModuleList()
            for _ in range(depth[i]):
                place = next(places)
                rate = drop_path_rate * place / max(1, sum(depth) - 1)
                stage.append(
                    self.make_block(
                        width[i], num_heads[place], head_size[i], mlp_units[place], rate,
                        fused_attn=fused_attn, **factory,
                    )
                    if num_heads[place]
                    else nn.Identity()
                )  # fmt: skip
            self.stages.append(stage)
        self.norm = LayerNorm(width[-1], NORM_EPS, **factory)
        self.head = Linear(width[-1], num_classes, **factory) if num_classes else nn.Identity()
        self.describe(
            [(f"stages.{i}.{depth[i] - 1}", one, 2 * patch_size << i) for i, one in enumerate(width)],
            num_classes=num_classes, in_chans=in_chans, global_pool=global_pool, drop_rate=drop_rate, img_size=img_size,
        )  # fmt: skip
        self.init_weights()

    def blocks(self) -> Iterator[nn.Module]:
        """The blocks of all stages, in the order in which tokens go through them."""
        return (block for stage in self.stages for block in stage.children() if not isinstance(block, nn.Identity))

    def initial_distributions(self) -> dict[str, tuple[str, float]]:
        """How each parameter is drawn, by name, in the order in which the model has them.

        Linear layers and embeddings are normal with std 0.02, their biases 0; convolutions have torch's default; scales
        of norms are 1 and their shifts 0.

        Returns:
            For each parameter ("normal", its std), ("uniform", the largest absolute value), or ("constant", its value).
        """
        table: dict[str, tuple[str, float]] = {}
        for path, module in self.named_modules():
            for name, _ in module.named_parameters(prefix=path, recurse=False):
                if isinstance(module, nn.Conv2d):
                    table[name] = ("uniform", 1 / math.sqrt(module.weight[0].numel()))
                elif name.endswith("bias"):
                    table[name] = ("constant", 0.0)
                elif isinstance(module, (nn.LayerNorm, nn.BatchNorm2d)):
                    table[name] = ("constant", 1.0)
                else:
                    table[name] = ("normal", 0.02)
        return table

    def init_weights(self) -> None:
        """Draw all parameters anew from torch's generator; on the meta device nothing happens."""
        if not self.norm.weight.is_meta:
            draw_parameters(self, self.initial_distributions())

    def stem_features(self, images: torch.Tensor) -> torch.Tensor:
        """What patches are taken of, which depends on no width: (B, in_chans, S, S) to (B, 24, S / 2, S / 2)."""
        return self.patch_embed.features(images)

    def _embedded(self, features: torch.Tensor) -> torch.Tensor:
        """Tokens with their positions of what the stem gives: (B, 24, S / 2, S / 2) to (B, N, C)."""
        patches = self.patch_embed.proj(features).flatten(2).transpose(1, 2)
        return torch.cat([self.cls_token.expand(patches.shape[0], -1, -1), patches], 1) + self.pos_embed

    def embedded(self, images: torch.Tensor) -> torch.Tensor:
        """Tokens with their positions, before the first block: (B, in_chans, S, S) to (B, N, C)."""
        return self._embedded(self.stem_features(images))

    def groups(self) -> list[list[nn.Module]]:
        """Each stage's reduction, which the first has not, and its blocks."""
        before: list[list[nn.Module]] = [[], *([one] for one in self.reductions)]
        return [[*first, *stage.children()] for first, stage in zip(before, self.stages, strict=True)]

    def keep_groups(self, count: int) -> None:
        """Drop all stages but the first ones."""
        self.stages, self.reductions = self.stages[:count], self.reductions[: count - 1]

    def tokens_from_stem(self, features: torch.Tensor) -> torch.Tensor:
        """Output of the last block, (B, N, C), before the final norm, from what the stem gives."""
        found: torch.Tensor = self.through(self._embedded(features), self.groups())
        return found

    def forward_from_stem(self, features: torch.Tensor) -> torch.Tensor:
        """Logits of what `stem_features` gives: (B, 24, S / 2, S / 2) to (B, num_classes)."""
        return self.forward_head(self.norm(self.tokens_from_stem(features)))

    def no_weight_decay(self) -> set[str]:
        """Parameters that optimizers do not shrink, beside biases and norms, which timm finds by itself."""
        return {"cls_token"}

    def group_matcher(self, coarse: bool = False) -> dict[str, Any]:
        """Patterns of names by which timm groups parameters by depth."""
        blocks: Any = [(r"^stages\.(\d+)", None), (r"^reductions\.(\d+)", None)]
        if not coarse:
            # A reduction stands behind the blocks of the stage that it reduces.
            blocks = [(r"^stages\.(\d+)\.(\d+)", None), (r"^reductions\.(\d+)", (99_999,)), (r"^norm\.", (99_999,))]
        return {"stem": r"^(?:cls_token|pos_embed|patch_embed)", "blocks": blocks}
