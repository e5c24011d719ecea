"""As-ViT (Chen 2022, arXiv 2202.11921): four stages of windowed attention joined by overlapping token merges.

Tensor letters: B batch, G tokens a side of the grid, N tokens, C channels, H heads, D head dim, T tokens of a window.
Tokens stay in their grid, (B, G, G, C), from the patch embedding to the head.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn

from raynas.models.checkpointing import Blocks
from raynas.models.image_side import square_side
from raynas.models.layers import (
    Conv2d,
    LayerNorm,
    Linear,
    Mlp,
    draw_parameters,
    make_drop_path,
    transformer_distributions,
)
from raynas.models.timm_network import TimmNetwork

MAX_WIDTH = 1024
PATCH_SIZE = 4


class PatchEmbed(nn.Module):
    """Image to tokens by a convolution whose kernel may be larger than its stride, then LayerNorm."""

    def __init__(self, in_chans: int, kernel: int, embed_dim: int, **factory: Any) -> None:
        super().__init__()
        self.proj = Conv2d(in_chans, embed_dim, kernel, **factory)
        self.norm = LayerNorm(embed_dim, **factory)
        self.retokenize(PATCH_SIZE, 1)

    def retokenize(self, stride: int, dilation: int) -> None:
        """Make tokens of another size with the same weights; the grid is the image side over the stride."""
        beyond = (self.proj.kernel_size[0] - 1) * dilation + 1 - stride
        before, after = max(0, beyond // 2), max(0, (beyond + 1) // 2)
        self.proj.stride, self.proj.dilation = (stride, stride), (dilation, dilation)
        self.padding = (before, after, before, after)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """(B, in_chans, img_size, img_size) to (B, G, G, C)."""
        tokens: torch.Tensor = self.proj(F.pad(images, self.padding))
        return self.norm(tokens.permute(0, 2, 3, 1))


class Attention(nn.Module):
    """Multi-head attention within non-overlapping square windows, without position bias and without shift.

    Args:
        dim: Width of the tokens, C.
        num_heads: Number of heads, H; where it does not divide dim, the heads together are narrower than dim.
        split: What the grid's side is divided by, rounding down, to give the window's side; 1 is global attention.
        fused_attn: Whether to use torch's fused kernel, which is faster but not differentiable in forward mode.
    """

    def __init__(self, dim: int, num_heads: int, split: int, *, fused_attn: bool, **factory: Any) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.head_dim = dim // num_heads
        self.scale = self.head_dim**-0.5
        self.split = split
        self.fused_attn = fused_attn
        inner_dim = self.head_dim * num_heads
        self.qkv = Linear(dim, 3 * inner_dim, **factory)
        self.proj = Linear(inner_dim, dim, **factory)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(B, G, G, C) to the same."""
        batch, grid = x.shape[:2]
        side = max(1, grid // self.split)
        across = -(-grid // side)
        missing = across * side - grid
        qkv = self.qkv(x)
        if missing:
            qkv = F.pad(qkv, (0, 0, 0, missing, 0, missing))
        qkv = qkv.reshape(batch, across, side, across, side, 3, self.num_heads, self.head_dim)
        # to (3, B, windows down, windows across, H, T, D)
        qkv = qkv.permute(5, 0, 1, 3, 6, 2, 4, 7).flatten(5, 6)
        q, k, v = qkv.unbind(0)
        mask = _padding_mask(grid, across, side, x) if missing else None
        if self.fused_attn:
            x = _fused_attention(q, k, v, mask, self.scale)
        else:
            attn = (q * self.scale) @ k.transpose(-2, -1)
            if mask is not None:
                attn = attn + mask
            x = attn.softmax(-1) @ v
        # to (B, windows down, side, windows across, side, H, D)
        x = x.reshape(batch, across, across, self.num_heads, side, side, self.head_dim).permute(0, 1, 4, 2, 5, 3, 6)
        x = x.reshape(batch, across * side, across * side, self.num_heads * self.head_dim)
        return self.proj(x[:, :grid, :grid] if missing else x)


def _fused_attention(
    q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, mask: torch.Tensor | None, scale: float
) -> torch.Tensor:
    """Torch's kernel, whose fast forms have one dimension of heads: every window brings heads of its own."""
    if mask is not None:
        mask = mask.expand(-1, -1, q.shape[3], -1, -1).flatten(0, 2)
    shape = q.shape
    q, k, v = (x.flatten(1, 3) for x in (q, k, v))
    return F.scaled_dot_product_attention(q, k, v, attn_mask=mask, scale=scale).reshape(shape)


def _padding_mask(grid: int, across: int, side: int, like: torch.Tensor) -> torch.Tensor:
    """(windows down, windows across, 1, 1, T): 0 at tokens, minus infinity at padding."""
    beyond = torch.arange(across * side, device=like.device) >= grid
    beyond = (beyond[:, None] | beyond).reshape(across, side, across, side).transpose(1, 2).flatten(2)
    mask = torch.zeros(beyond.shape, dtype=like.dtype, device=like.device).masked_fill(beyond, -math.inf)
    return mask[:, :, None, None]


class Block(nn.Module):
    """Pre-norm attention and MLP, each with a residual connection."""

    def __init__(self, dim: int, attn: Attention, mlp_ratio: int, drop_path: float, **factory: Any) -> None:
        super().__init__()
        self.norm1 = LayerNorm(dim, **factory)
        self.attn = attn
        self.norm2 = LayerNorm(dim, **factory)
        self.mlp = Mlp(dim, mlp_ratio * dim, **factory)
        self.drop_path = make_drop_path(drop_path)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(B, G, G, C) to the same."""
        x = x + self.drop_path(self.attn(self.norm1(x)))
        return x + self.drop_path(self.mlp(self.norm2(x)))


class TokenMerge(nn.Module):
    """Overlapping patches of tokens with stride 2, their LayerNorm, and a linear layer without bias."""

    def __init__(self, kernel: int, dim: int, out_dim: int, **factory: Any) -> None:
        super().__init__()
        self.kernel = kernel
        self.norm = LayerNorm(kernel * kernel * dim, **factory)
        self.reduction = Linear(kernel * kernel * dim, out_dim, bias=False, **factory)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(B, G, G, C) to (B, ceil(G / 2), ceil(G / 2), out_dim)."""
        before, after = (self.kernel - 2) // 2, (self.kernel - 1) // 2 + x.shape[1] % 2
        if before or after:
            x = F.pad(x, (0, 0, before, after, before, after))
        # Channels before rows and columns, as in a convolution's weight.
        x = x.unfold(1, self.kernel, 2).unfold(2, self.kernel, 2).flatten(3)
        return self.reduction(self.norm(x))


class Stage(nn.Module):
    """A token merge, except in the first stage, and blocks."""

    def __init__(self, downsample: nn.Module, blocks: list[Block]) -> None:
        super().__init__()
        self.downsample = downsample
        self.blocks = Blocks(*blocks)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(B, G, G, C) to the stage's own grid and width."""
        return self.blocks(self.downsample(x))


class AsViTNetwork(TimmNetwork):
    """The network of one architecture; letters of the paper in brackets.

    Args:
        kernel: Sides of the kernels of the patch embedding and of the three token merges (K).
        split: Into how many attention windows a side the grid of each stage is split (S).
        mlp_ratio: Hidden over outer width of each stage's MLPs (E).
        depth: Number of blocks of each stage (L).
        num_heads: Number of heads in stage 4 (A); every stage has twice the heads of the one before.
        embed_dim: Width of stage 1 (C); widths double from stage to stage, up to 1024.
        img_size: Side of the images that the position embedding is made for, divisible by 4.
        num_classes: Number of classes, which is the number of the head's outputs; 0: there is no head.
        in_chans: Number of channels of the images.
        pos_embed: Whether to learn an absolute position embedding.
        global_pool: What the head is given: the mean over the tokens ("avg"), or nothing is pooled ("").
        drop_rate: Probability in training that a feature is dropped before the head.
        drop_path_rate: Probability in training that a branch of the last block is dropped; it grows linearly from 0.
            Needs timm unless it is 0.
        fused_attn: Whether to use torch's fused attention, which is faster but not differentiable in forward mode.
        stride, dilation: Step and dilation of the patch convolution; see `retokenize`.
        device, dtype: Device and type of the parameters. On the meta device they get no values.

    Raises:
        ValueError: The image side is not divisible by the stride, or the stride not by 4; the pooling is not known.
    """

    FIRST_CONV = "patch_embed.proj"
    POOLS = ("avg", "")
    output_fmt = "NHWC"

    def __init__(
        self,
        *,
        kernel: Sequence[int],
        split: Sequence[int],
        mlp_ratio: Sequence[int],
        depth: Sequence[int],
        num_heads: int,
        embed_dim: int,
        img_size: int | Sequence[int] = 224,
        num_classes: int = 1000,
        in_chans: int = 3,
        pos_embed: bool = True,
        global_pool: str = "avg",
        drop_rate: float = 0.0,
        drop_path_rate: float = 0.0,
        fused_attn: bool = False,
        stride: int = PATCH_SIZE,
        dilation: int = 1,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__()
        factory: dict[str, Any] = {"device": device, "dtype": dtype}
        widths = [min(MAX_WIDTH, embed_dim << i) for i in range(4)]
        self.img_size = square_side(img_size, PATCH_SIZE)
        self._check_tokens(stride, dilation)
        grid = self.img_size // PATCH_SIZE
        self.patch_embed = PatchEmbed(in_chans, kernel[0], widths[0], **factory)
        self.pos_embed = nn.Parameter(torch.empty(1, grid, grid, widths[0], **factory)) if pos_embed else None
        stages: list[Stage] = []
        built = 0
        for i, width in enumerate(widths):
            blocks = []
            for _ in range(depth[i]):
                rate = drop_path_rate * built / max(1, sum(depth) - 1)
                built += 1
                attn = Attention(width, num_heads >> (3 - i), split[i], fused_attn=fused_attn, **factory)
                blocks.append(Block(width, attn, mlp_ratio[i], rate, **factory))
            merge = TokenMerge(kernel[i], widths[i - 1], width, **factory) if i else nn.Identity()
            stages.append(Stage(merge, blocks))
        self.stages = nn.Sequential(*stages)
        self.norm = LayerNorm(widths[-1], **factory)
        self.pre_logits: nn.Module | None = Linear(widths[-1], widths[-1], **factory)
        self.head = Linear(widths[-1], num_classes, **factory) if num_classes else nn.Identity()
        self.describe(
            [(f"stages.{i}", width, stride << i) for i, width in enumerate(widths)],
            num_classes=num_classes, in_chans=in_chans, global_pool=global_pool, drop_rate=drop_rate,
            img_size=self.img_size, fixed_input_size=pos_embed,
        )  # fmt: skip
        self.retokenize(stride, dilation)
        self.init_weights()

    def initial_distributions(self) -> dict[str, tuple[str, float]]:
        """How each parameter is drawn, by name, as its authors draw it; see `transformer_distributions`."""
        return transformer_distributions(self, "patch_embed.proj")

    def init_weights(self) -> None:
        """Draw all parameters anew from torch's generator; on the meta device nothing happens."""
        if not self.norm.weight.is_meta:
            draw_parameters(self, self.initial_distributions())

    def retokenize(self, stride: int, dilation: int) -> None:
        """Make tokens of `stride` pixels a side from now on; no parameter changes.

        The patch convolution gets another stride, dilation and padding, and the position embedding is pooled to the
        grid of img_size / stride tokens a side.

        Raises:
            ValueError: The stride is no multiple of 4 that divides the image side, or the dilation is below 1.
        """
        self._check_tokens(stride, dilation)
        self.patch_embed.retokenize(stride, dilation)
        for i, feature in enumerate(self.feature_info):
            feature["reduction"] = stride << i
        self.pretrained_cfg["pool_size"] = (self.img_size // stride >> 3,) * 2

    def _check_tokens(self, stride: int, dilation: int) -> None:
        if stride < PATCH_SIZE or stride % PATCH_SIZE or self.img_size % stride or self.img_size < stride:
            raise ValueError(
                f"stride is {stride}; it must be a multiple of {PATCH_SIZE} that divides the image side {self.img_size}"
            )
        if dilation < 1:
            raise ValueError(f"dilation is {dilation}; it must be at least 1")

    def _position_embedding(self) -> torch.Tensor | None:
        """(1, G, G, C): each token's is the mean over the tokens of 4 pixels a side that it replaces."""
        ratio = self.patch_embed.proj.stride[0] // PATCH_SIZE
        if self.pos_embed is None or ratio == 1:
            return self.pos_embed
        return F.avg_pool2d(self.pos_embed.permute(0, 3, 1, 2), ratio).permute(0, 2, 3, 1)

    def embedded(self, images: torch.Tensor) -> torch.Tensor:
        """Tokens with their positions, as stage 1 takes them: (B, in_chans, img_size, img_size) to (B, G, G, C)."""
        x: torch.Tensor = self.patch_embed(images)
        pos_embed = self._position_embedding()
        return x if pos_embed is None else x + pos_embed

    def groups(self) -> list[list[nn.Module]]:
        """Each stage."""
        return [[stage] for stage in self.stages]

    def keep_groups(self, count: int) -> None:
        """Drop all stages but the first ones."""
        self.stages = self.stages[:count]

    def tokens(self, images: torch.Tensor) -> torch.Tensor:
        """Output of the last stage, (B, G, G, C), before the final norm."""
        found: torch.Tensor = self.through(self.embedded(images), self.groups())
        return found

    def before_head(self, x: torch.Tensor) -> torch.Tensor:
        """A linear layer and tanh, (..., C) to the same."""
        return x if self.pre_logits is None else self.pre_logits(x).tanh()

    def drop_before_head(self) -> None:
        """Take away that layer."""
        self.pre_logits = None

    def no_weight_decay(self) -> set[str]:
        """Parameters that optimizers do not shrink, beside biases and norms, which timm finds by itself."""
        return {"pos_embed"}

    def group_matcher(self, coarse: bool = False) -> dict[str, Any]:
        """Patterns of names by which timm groups parameters by depth."""
        blocks: Any = r"^stages\.(\d+)"
        if not coarse:
            last = (r"^(?:norm|pre_logits)\.", (99_999,))
            blocks = [(r"^stages\.(\d+)\.downsample", (0,)), (r"^stages\.(\d+)\.blocks\.(\d+)", None), last]
        return {"stem": r"^(?:pos_embed|patch_embed)", "blocks": blocks}
