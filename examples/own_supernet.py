"""A supernet of your own: `raynas supernet train examples/own_supernet.py:parts --data digits --img-size 16`.

Nothing here is elastic. A member computes with the first channels, heads and units of the largest network's tensors, by
the names that they have in both; a layer that holds several tensors in one says how many.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from raynas import Architecture, Choice, PerBlock, SearchSpace

HEAD, PATCH = 16, 4


class Block(nn.Module):
    """Attention and an MLP, each behind a norm and beside a path that skips it."""

    def __init__(self, width: int, heads: int, hidden: int) -> None:
        super().__init__()
        self.heads = heads
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.qkv, self.proj = nn.Linear(width, 3 * heads * HEAD), nn.Linear(heads * HEAD, width)
        self.mlp = nn.Sequential(nn.Linear(width, hidden), nn.GELU(), nn.Linear(hidden, width))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(B, N, width) to the same."""
        q, k, v = self.qkv(self.norm1(x)).unflatten(-1, (3, self.heads, HEAD)).movedim(-3, 0).transpose(2, 3)
        mixed = nn.functional.scaled_dot_product_attention(q, k, v)
        x = x + self.proj(mixed.transpose(1, 2).flatten(2))
        out: torch.Tensor = x + self.mlp(self.norm2(x))
        return out


class Net(nn.Module):
    """A transformer without a class token, whose blocks have widths of their own."""

    def __init__(self, architecture: Architecture, *, img_size: int = 32, num_classes: int = 10) -> None:
        super().__init__()
        a: Any = architecture
        self.patches = nn.Conv2d(3, a["width"], PATCH, PATCH)
        self.places = nn.Parameter(torch.zeros(1, (img_size // PATCH) ** 2, a["width"]))
        choices = zip(a["heads"], a["hidden"], strict=True)
        self.blocks = nn.Sequential(*(Block(a["width"], *one) if one[0] else nn.Identity() for one in choices))
        self.norm, self.head = nn.LayerNorm(a["width"]), nn.Linear(a["width"], num_classes)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Logits (B, num_classes) of images (B, 3, img_size, img_size)."""
        logits: torch.Tensor = self.head(
            self.norm(self.blocks(self.patches(images).flatten(2).mT + self.places)).mean(1)
        )
        return logits

    def stacked_parameters(self) -> dict[str, int]:
        """Queries, keys and values stand in one parameter each."""
        return {name: 3 for name, _ in self.named_parameters() if ".qkv." in name}


parts = SearchSpace(
    "own-parts",
    fields={
        "width": Choice(96, 80, 64, 48),
        "depth": (Choice(4),),
        "heads": PerBlock(tuple(Choice(4, 3, 2, *([0] if i % 2 else [])) for i in range(4))),
        "hidden": PerBlock((Choice(384, 288, 192),) * 4),
    },
    model=Net,
    img_size_multiple=PATCH,
)
