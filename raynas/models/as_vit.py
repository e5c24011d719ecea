"""As-ViT (Chen 2022, arXiv 2202.11921): four stages of windowed attention joined by overlapping token merges.

Tensor letters: B batch, G tokens a side of the grid, N tokens, C channels, H heads, D head dim, T tokens of a window.
Tokens stay in their grid, (B, G, G, C), from the patch embedding to the head. Layers made on their own come without
initial values; `AsViT` draws them all.
"""

from __future__ import annotations

import math
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn

from raynas.errors import ConfigError
from raynas.models.weights import Constant, Init, Normal, Uniform, initialise
from raynas.registry import models
from raynas.space import Architecture

MAX_WIDTH = 1024
PATCH_SIZE = 4


class _Linear(nn.Linear):
    def reset_parameters(self) -> None:
        """Nothing: the model draws all parameters once, or its owner does; a default draw would be thrown away."""


class _LayerNorm(nn.LayerNorm):
    def reset_parameters(self) -> None:
        """Nothing, as in _Linear."""


class _Conv2d(nn.Conv2d):
    def reset_parameters(self) -> None:
        """Nothing, as in _Linear."""


class PatchEmbed(nn.Module):
    """Image to tokens of stride 4 by a convolution whose kernel may be larger than its stride, then LayerNorm."""

    def __init__(self, kernel: int, embed_dim: int, **factory: Any) -> None:
        super().__init__()
        before, after = (kernel - PATCH_SIZE) // 2, (kernel - PATCH_SIZE + 1) // 2
        self.padding = (before, after, before, after)
        self.proj = _Conv2d(3, embed_dim, kernel, stride=PATCH_SIZE, **factory)
        self.norm = _LayerNorm(embed_dim, **factory)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """(B, 3, img_size, img_size) to (B, G, G, C)."""
        tokens: torch.Tensor = self.proj(F.pad(images, self.padding))
        return self.norm(tokens.permute(0, 2, 3, 1))  # type: ignore[no-any-return]


class Attention(nn.Module):
    """Multi-head attention within non-overlapping square windows, without position bias and without shift.

    Args:
        dim: C.
        num_heads: H. Where it does not divide dim, the heads together are narrower than dim.
        split: The grid's side is divided by it, rounding down, to give the window's side; 1 is global attention.
        fused_attn: Use torch's fused kernel, which is faster but not differentiable in forward mode.
    """

    def __init__(self, dim: int, num_heads: int, split: int, *, fused_attn: bool, **factory: Any) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.head_dim = dim // num_heads
        self.scale = self.head_dim**-0.5
        self.split = split
        self.fused_attn = fused_attn
        inner_dim = self.head_dim * num_heads
        self.qkv = _Linear(dim, 3 * inner_dim, **factory)
        self.proj = _Linear(inner_dim, dim, **factory)

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
            x = F.scaled_dot_product_attention(q, k, v, attn_mask=mask, scale=self.scale)
        else:
            attn = (q * self.scale) @ k.transpose(-2, -1)
            if mask is not None:
                attn = attn + mask
            x = attn.softmax(-1) @ v
        # to (B, windows down, side, windows across, side, H, D)
        x = x.reshape(batch, across, across, self.num_heads, side, side, self.head_dim).permute(0, 1, 4, 2, 5, 3, 6)
        x = x.reshape(batch, across * side, across * side, -1)
        return self.proj(x[:, :grid, :grid] if missing else x)  # type: ignore[no-any-return]


def _padding_mask(grid: int, across: int, side: int, like: torch.Tensor) -> torch.Tensor:
    """(windows down, windows across, 1, 1, T): 0 at tokens, minus infinity at padding."""
    beyond = torch.arange(across * side, device=like.device) >= grid
    beyond = (beyond[:, None] | beyond).reshape(across, side, across, side).transpose(1, 2).flatten(2)
    mask = torch.zeros(beyond.shape, dtype=like.dtype, device=like.device).masked_fill(beyond, -math.inf)
    return mask[:, :, None, None]


class Mlp(nn.Module):
    """Two linear layers with exact GELU between them."""

    def __init__(self, dim: int, hidden_dim: int, **factory: Any) -> None:
        super().__init__()
        self.fc1 = _Linear(dim, hidden_dim, **factory)
        self.act = nn.GELU()
        self.fc2 = _Linear(hidden_dim, dim, **factory)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(..., C) to the same."""
        return self.fc2(self.act(self.fc1(x)))  # type: ignore[no-any-return]


class Block(nn.Module):
    """Pre-norm attention and MLP, each with a residual connection."""

    def __init__(self, dim: int, attn: Attention, mlp_ratio: int, drop_path: float, **factory: Any) -> None:
        super().__init__()
        self.norm1 = _LayerNorm(dim, **factory)
        self.attn = attn
        self.norm2 = _LayerNorm(dim, **factory)
        self.mlp = Mlp(dim, mlp_ratio * dim, **factory)
        self.drop_path = _drop_path(drop_path)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(B, G, G, C) to the same."""
        x = x + self.drop_path(self.attn(self.norm1(x)))
        return x + self.drop_path(self.mlp(self.norm2(x)))  # type: ignore[no-any-return]


def _drop_path(rate: float) -> nn.Module:
    if rate == 0.0:
        return nn.Identity()
    from timm.layers import DropPath  # seconds to import, and scores do without it

    layer: nn.Module = DropPath(rate)
    return layer


class TokenMerge(nn.Module):
    """Overlapping patches of tokens with stride 2, their LayerNorm, and a linear layer without bias."""

    def __init__(self, kernel: int, dim: int, out_dim: int, **factory: Any) -> None:
        super().__init__()
        self.kernel = kernel
        self.norm = _LayerNorm(kernel * kernel * dim, **factory)
        self.reduction = _Linear(kernel * kernel * dim, out_dim, bias=False, **factory)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(B, G, G, C) to (B, ceil(G / 2), ceil(G / 2), out_dim)."""
        before, after = (self.kernel - 2) // 2, (self.kernel - 1) // 2 + x.shape[1] % 2
        if before or after:
            x = F.pad(x, (0, 0, before, after, before, after))
        # Channels before rows and columns, as in a convolution's weight.
        x = x.unfold(1, self.kernel, 2).unfold(2, self.kernel, 2).flatten(3)
        return self.reduction(self.norm(x))  # type: ignore[no-any-return]


class Stage(nn.Module):
    """A token merge, except in the first stage, and blocks."""

    def __init__(self, downsample: nn.Module, blocks: list[Block]) -> None:
        super().__init__()
        self.downsample = downsample
        self.blocks = nn.Sequential(*blocks)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(B, G, G, C) to the stage's own grid and width."""
        return self.blocks(self.downsample(x))  # type: ignore[no-any-return]


@models.register("as-vit")
class AsViT(nn.Module):
    """The network of an architecture of the space `as-vit`.

    Args:
        architecture: kernel, split, mlp_ratio, depth (four values each), num_heads of stage 4, embed_dim of stage 1.
        img_size: Side of the images that the position embedding is made for, divisible by 32. Without position
            embedding any other such side works too.
        num_classes: Outputs of the head.
        pos_embed: Learned absolute position embedding, as in trained models; scores are taken without.
        drop_path_rate: Stochastic depth of the last block; it grows linearly from 0.
        fused_attn: Use torch's fused attention, which is faster but not differentiable in forward mode.
        device, dtype: Of the parameters. On the meta device they get no values.

    Raises:
        ConfigError: img_size is not divisible by 32.
    """

    def __init__(
        self,
        architecture: Architecture,
        *,
        img_size: int = 224,
        num_classes: int = 1000,
        pos_embed: bool = True,
        drop_path_rate: float = 0.0,
        fused_attn: bool = False,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__()
        if img_size < 32 or img_size % 32:
            raise ConfigError(f"as-vit: img_size is {img_size}; it must be a positive multiple of 32")
        fields: Any = architecture
        factory: dict[str, Any] = {"device": device, "dtype": dtype}
        widths = [min(MAX_WIDTH, fields["embed_dim"] << i) for i in range(4)]
        grid = img_size // PATCH_SIZE
        self.img_size = img_size
        self.num_classes = num_classes
        self.patch_embed = PatchEmbed(fields["kernel"][0], widths[0], **factory)
        self.pos_embed = nn.Parameter(torch.empty(1, grid, grid, widths[0], **factory)) if pos_embed else None
        num_blocks = sum(fields["depth"])
        stages: list[Stage] = []
        built = 0
        for i, width in enumerate(widths):
            blocks = []
            for _ in range(fields["depth"][i]):
                rate = drop_path_rate * built / max(1, num_blocks - 1)
                built += 1
                heads, split, mlp_ratio = fields["num_heads"] >> (3 - i), fields["split"][i], fields["mlp_ratio"][i]
                attn = Attention(width, heads, split, fused_attn=fused_attn, **factory)
                blocks.append(Block(width, attn, mlp_ratio, rate, **factory))
            merge = TokenMerge(fields["kernel"][i], widths[i - 1], width, **factory) if i else nn.Identity()
            stages.append(Stage(merge, blocks))
        self.stages = nn.Sequential(*stages)
        self.norm = _LayerNorm(widths[-1], **factory)
        self.pre_logits = _Linear(widths[-1], widths[-1], **factory)
        self.head = _Linear(widths[-1], num_classes, **factory)
        if not self.head.weight.is_meta:
            initialise(self, self.init_table())

    def init_table(self) -> dict[str, Init]:
        """The distribution from which each parameter is drawn, by name.

        The authors' truncated normal of std 0.02 is cut at plus and minus 2, a hundred deviations out: a plain normal.
        The patch convolution keeps torch's default.
        """
        bound = 1 / math.sqrt(self.patch_embed.proj.weight[0].numel())
        table: dict[str, Init] = {}
        for name, parameter in self.named_parameters():
            if name.startswith("patch_embed.proj"):
                table[name] = Uniform(bound)
            elif name.endswith("bias"):
                table[name] = Constant(0.0)
            elif parameter.ndim == 1:  # the scale of a LayerNorm
                table[name] = Constant(1.0)
            else:
                table[name] = Normal(0.02)
        return table

    def _tokens(self, images: torch.Tensor) -> torch.Tensor:
        """Output of stage 4, (B, G, G, C), before the final norm."""
        x = self.patch_embed(images)
        if self.pos_embed is not None:
            x = x + self.pos_embed
        return self.stages(x)  # type: ignore[no-any-return]

    def pooled_features(self, images: torch.Tensor) -> torch.Tensor:
        """Mean over the tokens of stage 4, before the final norm: (B, 3, img_size, img_size) to (B, C)."""
        return self._tokens(images).mean((1, 2))

    def forward_features(self, images: torch.Tensor) -> torch.Tensor:
        """Tokens after the final norm: (B, 3, img_size, img_size) to (B, G, G, C)."""
        return self.norm(self._tokens(images))  # type: ignore[no-any-return]

    def forward_head(self, x: torch.Tensor) -> torch.Tensor:
        """Logits of tokens: (B, G, G, C) to (B, num_classes)."""
        return self.head(self.pre_logits(x.mean((1, 2))).tanh())  # type: ignore[no-any-return]

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Logits of images: (B, 3, img_size, img_size) to (B, num_classes)."""
        return self.forward_head(self.forward_features(images))
