"""AutoFormer (Chen 2021, arXiv 2107.00651): a vision transformer whose blocks have heads and MLP ratios of their own.

Tensor letters: B batch, G patches a side, N = G * G + 1 tokens, the class token first, C channels, H heads, D head dim,
K = 2 * (G + 1) rows and columns of the grid, the class token being in a row and a column of its own, which come first.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn

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

PATCH_SIZE = 16
MAX_DISTANCE = 14


@dataclass(frozen=True)
class Grid:
    """Where tokens lie, alike for all blocks.

    Args:
        places: (N, K) numbers, 1 at a token's row and at its column, else 0.
        vectors: (G, G + 1) numbers of vectors in a table: for each row of a query, that of each row of keys, the class
            token's first; columns have the same ones.
    """

    places: torch.Tensor
    vectors: torch.Tensor


def grid_of(side: int, like: torch.Tensor) -> Grid:
    """The grid of an image of `side` patches a side, on the device and in the dtype of another tensor."""
    one_hot = torch.eye(side + 1, dtype=like.dtype, device=like.device)
    rows = torch.cat([one_hot[:1], one_hot[1:].repeat_interleave(side, 0)])
    columns = torch.cat([one_hot[:1], one_hot[1:].repeat(side, 1)])
    at = torch.arange(side, device=like.device)
    vectors = (at - at[:, None]).clamp(-MAX_DISTANCE, MAX_DISTANCE) + MAX_DISTANCE + 1
    return Grid(torch.cat([rows, columns], 1), F.pad(vectors, (1, 0)))


class RelativePosition(nn.Module):
    """Vectors added to keys and to values, by the distance of a key from its query in rows and in columns.

    Vector 0 of each table is for pairs with the class token, 1 to 29 are for distances from -14 to 14, where farther
    ones are cut off. The vector of a pair is one of rows plus one of columns. So a query's product with it is a sum of
    two, of which each is the same for a whole row or column of keys, and no tensor of N * N vectors is ever made.
    """

    def __init__(self, head_dim: int, **factory: Any) -> None:
        super().__init__()
        size = (2 * MAX_DISTANCE + 2, head_dim)
        self.key_rows = nn.Parameter(torch.empty(size, **factory))
        self.key_columns = nn.Parameter(torch.empty(size, **factory))
        self.value_rows = nn.Parameter(torch.empty(size, **factory))
        self.value_columns = nn.Parameter(torch.empty(size, **factory))

    def of_queries(self, q: torch.Tensor, grid: Grid) -> torch.Tensor:
        """What each row and column of keys adds to a query's products, (B, H, N, D) to (B, H, N, K).

        The class token adds the same for all keys, which softmax does not see, so 0 stands there.
        """
        side = len(grid.vectors)
        patches = q[:, :, 1:].reshape(*q.shape[:2], side, side, q.shape[-1])
        rows = patches @ self.key_rows[grid.vectors].mT
        columns = (patches.transpose(2, 3) @ self.key_columns[grid.vectors].mT).transpose(2, 3)
        return F.pad(torch.cat([rows, columns], -1).flatten(2, 3), (0, 0, 1, 0))

    def of_values(self, attn: torch.Tensor, grid: Grid) -> torch.Tensor:
        """What attention to each row and column of keys, (B, H, N, K), adds to values, (B, H, N, D).

        All keys of the class token are at its own distance, and attention to all of them is 1.
        """
        side = len(grid.vectors)
        rows, columns = attn[:, :, 1:].reshape(*attn.shape[:2], side, side, attn.shape[-1]).chunk(2, -1)
        patches = rows @ self.value_rows[grid.vectors]
        patches = patches + (columns.transpose(2, 3) @ self.value_columns[grid.vectors]).transpose(2, 3)
        first = (self.value_rows[0] + self.value_columns[0]).to(patches.dtype)
        return torch.cat([first.expand(*patches.shape[:2], 1, -1), patches.flatten(2, 3)], 2)


class Attention(nn.Module):
    """Multi-head attention of all tokens.

    Relative positions enter as further channels: a query brings what each row and column of keys adds to it, a key and
    a value bring ones at their own row and column. So the same two products do all, fused or not.

    Args:
        dim: Width of the tokens, C.
        num_heads: Number of heads, H.
        head_dim: Width of each head, D; the heads together may be wider or narrower than dim.
        rel_pos: Whether vectors of relative positions are added to keys and values.
        fused_attn: Whether to use torch's fused kernel, which is faster but not differentiable in forward mode.
    """

    def __init__(
        self, dim: int, num_heads: int, head_dim: int, *, rel_pos: bool, fused_attn: bool, **factory: Any
    ) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.head_dim = head_dim
        self.scale = head_dim**-0.5
        self.fused_attn = fused_attn
        self.qkv = Linear(dim, 3 * num_heads * head_dim, **factory)
        self.rel_pos = RelativePosition(head_dim, **factory) if rel_pos else None
        self.proj = Linear(num_heads * head_dim, dim, **factory)

    def forward(self, x: torch.Tensor, grid: Grid) -> torch.Tensor:
        """(B, N, C) to the same."""
        qkv = self.qkv(x).unflatten(-1, (3, self.num_heads, self.head_dim)).permute(2, 0, 3, 1, 4)
        q, k, v = qkv.unbind(0)
        q = q * self.scale
        if self.rel_pos is not None:
            places = grid.places.to(q.dtype).expand(*q.shape[:2], -1, -1)
            q = torch.cat([q, self.rel_pos.of_queries(q, grid)], -1)
            k, v = torch.cat([k, places], -1), torch.cat([v, places], -1)
        if self.fused_attn:
            x = F.scaled_dot_product_attention(q, k, v, scale=1.0)
        else:
            x = (q @ k.transpose(-2, -1)).softmax(-1) @ v
        if self.rel_pos is not None:
            x = x[..., : self.head_dim] + self.rel_pos.of_values(x[..., self.head_dim :], grid)
        return self.proj(x.transpose(1, 2).flatten(2))


class Block(nn.Module):
    """Pre-norm attention and MLP, each with a residual connection."""

    def __init__(
        self,
        dim: int,
        num_heads: int,
        head_dim: int,
        mlp_ratio: float,
        drop_path: float,
        *,
        rel_pos: bool,
        norm_eps: float,
        fused_attn: bool,
        **factory: Any,
    ) -> None:
        super().__init__()
        self.norm1 = LayerNorm(dim, norm_eps, **factory)
        self.attn = Attention(dim, num_heads, head_dim, rel_pos=rel_pos, fused_attn=fused_attn, **factory)
        self.norm2 = LayerNorm(dim, norm_eps, **factory)
        self.mlp = Mlp(dim, int(mlp_ratio * dim), **factory)
        self.drop_path = make_drop_path(drop_path)

    def forward(self, x: torch.Tensor, grid: Grid) -> torch.Tensor:
        """(B, N, C) to the same."""
        x = x + self.drop_path(self.attn(self.norm1(x), grid))
        return x + self.drop_path(self.mlp(self.norm2(x)))


class AutoFormerNetwork(TimmNetwork):
    """The network of one architecture; logits come from the mean over the tokens of patches.

    Args:
        embed_dim: Width of the tokens, C.
        depth: Number of blocks.
        mlp_ratio: Hidden over outer width of each block's MLP; a hidden width is rounded down.
        num_heads: Number of heads of each block.
        head_dim: Width of every head; None: embed_dim over the number of a block's heads.
        rel_pos: Whether attention knows relative positions, beside the absolute position embedding.
        norm_eps: What the LayerNorms add to a variance before its square root is taken.
        img_size: Side of the images in pixels, divisible by 16.
        num_classes: Number of classes, which is the number of the head's outputs; 0: there is no head.
        in_chans: Number of channels of the images.
        global_pool: What the head is given: the mean over the tokens of patches ("avg"), the class token ("token"), or
            nothing is pooled ("").
        drop_rate: Probability in training that a feature is dropped before the head.
        drop_path_rate: Probability in training that a branch of the last block is dropped; it grows linearly from 0.
            Needs timm unless it is 0.
        fused_attn: Whether to use torch's fused attention, which is faster but not differentiable in forward mode.
        device, dtype: Device and type of the parameters. On the meta device they get no values.
    """

    FIRST_CONV = "patch_embed"
    num_prefix_tokens = 1

    make_block: Any = Block  # a subclass may have another, of the same arguments

    def __init__(
        self,
        *,
        embed_dim: int,
        depth: int,
        mlp_ratio: Sequence[float],
        num_heads: Sequence[int],
        head_dim: int | None = 64,
        rel_pos: bool = True,
        norm_eps: float = 1e-5,
        img_size: int | Sequence[int] = 224,
        num_classes: int = 1000,
        in_chans: int = 3,
        global_pool: str = "avg",
        drop_rate: float = 0.0,
        drop_path_rate: float = 0.0,
        fused_attn: bool = False,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__()
        factory: dict[str, Any] = {"device": device, "dtype": dtype}
        img_size = square_side(img_size, PATCH_SIZE)
        self.side = img_size // PATCH_SIZE
        self.patch_embed = Conv2d(in_chans, embed_dim, PATCH_SIZE, PATCH_SIZE, **factory)
        self.cls_token = nn.Parameter(torch.empty(1, 1, embed_dim, **factory))
        self.pos_embed = nn.Parameter(torch.empty(1, self.side**2 + 1, embed_dim, **factory))
        self.blocks = nn.ModuleList()
        for i in range(depth):
            width = head_dim or embed_dim // num_heads[i]
            rate = drop_path_rate * i / max(1, depth - 1)
            self.blocks.append(
                self.make_block(
                    embed_dim, num_heads[i], width, mlp_ratio[i], rate,
                    rel_pos=rel_pos, norm_eps=norm_eps, fused_attn=fused_attn, **factory,
                )
            )  # fmt: skip
        self.norm = LayerNorm(embed_dim, norm_eps, **factory)
        self.head = Linear(embed_dim, num_classes, **factory) if num_classes else nn.Identity()
        self.describe(
            [(f"blocks.{i}", embed_dim, PATCH_SIZE) for i in range(depth)],
            num_classes=num_classes, in_chans=in_chans, global_pool=global_pool, drop_rate=drop_rate, img_size=img_size,
        )  # fmt: skip
        self.init_weights()

    def initial_distributions(self) -> dict[str, tuple[str, float]]:
        """How each parameter is drawn, by name, as its authors draw it; see `transformer_distributions`."""
        return transformer_distributions(self, "patch_embed")

    def init_weights(self) -> None:
        """Draw all parameters anew from torch's generator; on the meta device nothing happens."""
        if not self.norm.weight.is_meta:
            draw_parameters(self, self.initial_distributions())

    def embedded(self, images: torch.Tensor) -> torch.Tensor:
        """Tokens with their positions, before the first block: (B, in_chans, img_size, img_size) to (B, N, C)."""
        patches = self.patch_embed(images).flatten(2).transpose(1, 2)
        return torch.cat([self.cls_token.expand(patches.shape[0], -1, -1), patches], 1) + self.pos_embed

    def groups(self) -> list[list[nn.Module]]:
        """Each block."""
        return [[block] for block in self.blocks]

    def keep_groups(self, count: int) -> None:
        """Drop all blocks but the first ones."""
        self.blocks = self.blocks[:count]

    def context(self, state: torch.Tensor) -> tuple[Grid]:
        """Where tokens lie, which each block is told."""
        return (grid_of(self.side, state),)

    def tokens(self, images: torch.Tensor) -> torch.Tensor:
        """Output of the last block, (B, N, C), before the final norm."""
        found: torch.Tensor = self.through(self.embedded(images), self.groups())
        return found

    def no_weight_decay(self) -> set[str]:
        """Parameters that optimizers do not shrink, beside biases and norms, which timm finds by itself."""
        tables = {name for name, _ in self.named_parameters() if ".rel_pos." in name}
        return {"cls_token", "pos_embed", *tables}

    def group_matcher(self, coarse: bool = False) -> dict[str, Any]:
        """Patterns of names by which timm groups parameters by depth."""
        blocks = [(r"^blocks\.(\d+)", None), (r"^norm\.", (99_999,))]
        return {"stem": r"^(?:cls_token|pos_embed|patch_embed)", "blocks": blocks}
