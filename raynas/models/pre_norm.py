"""Pre-norm transformer blocks whose heads have a size of their own, whatever the width of the tokens.

Tensor letters: B batch, N tokens, C channels, H heads, D head size.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import nn

from raynas.models.layers import LayerNorm, Linear, Mlp, make_drop_path

NORM_EPS = 1e-6


class Attention(nn.Module):
    """Multi-head attention of all tokens; the heads together may be wider or narrower than the tokens.

    Args:
        dim: Width of the tokens, C.
        num_heads: Number of heads, H.
        head_size: Width of each head, D.
        fused_attn: Whether to use torch's fused kernel, which is faster but not differentiable in forward mode.
    """

    def __init__(self, dim: int, num_heads: int, head_size: int, *, fused_attn: bool, **factory: Any) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.head_size = head_size
        self.fused_attn = fused_attn
        self.qkv = Linear(dim, 3 * num_heads * head_size, **factory)
        self.proj = Linear(num_heads * head_size, dim, **factory)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(B, N, C) to the same."""
        q, k, v = self.qkv(x).unflatten(-1, (3, self.num_heads, self.head_size)).permute(2, 0, 3, 1, 4).unbind(0)
        if self.fused_attn:
            x = F.scaled_dot_product_attention(q, k, v)
        else:
            x = ((q * self.head_size**-0.5) @ k.transpose(-2, -1)).softmax(-1) @ v
        return self.proj(x.transpose(1, 2).flatten(2))


class Block(nn.Module):
    """Pre-norm attention and MLP, each with a residual connection.

    Args:
        dim: Width of the tokens, C.
        num_heads: Number of heads, H.
        head_size: Width of each head, D.
        mlp_units: Width between the two layers of the MLP.
        drop_path: Probability in training that a branch is dropped.
        fused_attn: Whether to use torch's fused attention.
    """

    def __init__(
        self,
        dim: int,
        num_heads: int,
        head_size: int,
        mlp_units: int,
        drop_path: float,
        *,
        fused_attn: bool,
        **factory: Any,
    ) -> None:
        super().__init__()
        self.norm1 = LayerNorm(dim, NORM_EPS, **factory)
        self.attn = Attention(dim, num_heads, head_size, fused_attn=fused_attn, **factory)
        self.norm2 = LayerNorm(dim, NORM_EPS, **factory)
        self.mlp = Mlp(dim, mlp_units, **factory)
        self.drop_path = make_drop_path(drop_path)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(B, N, C) to the same."""
        x = x + self.drop_path(self.attn(self.norm1(x)))
        return x + self.drop_path(self.mlp(self.norm2(x)))
