"""Transformers computed part by part: tokens of an image, blocks, final norm; also on some of the tokens alone.

Tensor letters: B images, P prefix tokens such as a class token, G patches a side of the grid, N tokens, C channels.
"""

from __future__ import annotations

from math import isqrt
from typing import Any

import torch
from torch import Tensor, nn

from raynas.errors import ConfigError
from raynas.hooks import offered
from raynas.models.protocols import HasTokenStages
from raynas.models.roles import roles_of


class TokenStages:
    """The parts of a model of tokens, one after another.

    Args:
        model: A model that offers `HasTokenStages`, or a plain vision transformer of timm.

    Attributes:
        depth: How many blocks there are.
        prefix: How many tokens stand before those of patches, P.

    Raises:
        ConfigError: The model is neither.
    """

    def __init__(self, model: nn.Module) -> None:
        roles = roles_of(model)
        found = offered(model, HasTokenStages) or _of_timm(model)
        if found is None or not roles.blocks or not roles.final_norms:
            raise ConfigError(
                f"{type(model).__name__} cannot be computed on some of its patches: that is for models of the spaces "
                "vit and autoformer-...-plain, plain vision transformers of timm, and those with methods "
                "embedded_tokens and through_blocks"
            )
        self._stages: HasTokenStages = found
        self._norm = roles.final_norms[0]
        self.depth = len(roles.blocks)
        self.prefix = roles.blocks[0].prefix_tokens

    def embedded(self, images: Tensor) -> Tensor:
        """Tokens with their positions, as the first block takes them: (B, 3, S, S) to (B, P + G * G, C)."""
        return self._stages.embedded_tokens(images)

    def through(self, tokens: Tensor, first: int = 0, last: int | None = None) -> Tensor:
        """What some blocks make of tokens (B, N, C), which may be some of an image's.

        Args:
            tokens: What stands before the first of these blocks.
            first: The number of the first block, from 0.
            last: The number of the block to stop before; None: to go through all.
        """
        return self._stages.through_blocks(tokens, first, self.depth if last is None else last)

    def normalised(self, tokens: Tensor) -> Tensor:
        """What the norm before the head makes of tokens (B, N, C); where a model pools first, of each of them alike."""
        normalised: Tensor = self._norm(tokens)
        return normalised

    def grid_side(self, tokens: Tensor) -> int:
        """Patches a side of the grid, G, of all the tokens of an image.

        Raises:
            ConfigError: They form no square.
        """
        patches = tokens.shape[1] - self.prefix
        side = isqrt(patches)
        if side * side != patches:
            raise ConfigError(f"{patches} patches form no square grid")
        return side


class _TimmStages:
    """The parts of a plain vision transformer of timm."""

    def __init__(self, model: Any) -> None:
        self._model = model

    def embedded_tokens(self, images: Tensor) -> Tensor:
        model = self._model
        tokens: Tensor = model.norm_pre(model._pos_embed(model.patch_embed(images)))
        return tokens

    def through_blocks(self, tokens: Tensor, first: int, last: int) -> Tensor:
        for block in self._model.blocks[first:last]:
            tokens = block(tokens)
        return tokens


def _of_timm(model: nn.Module) -> HasTokenStages | None:
    from timm.models.vision_transformer import VisionTransformer  # takes seconds, and not every model is timm's

    return _TimmStages(model) if isinstance(model, VisionTransformer) else None


def position_embedding(model: nn.Module) -> nn.Parameter | None:
    """The learned positions of a model's tokens, (1, P + G * G, C); None where it has none of that form."""
    found = getattr(model, "pos_embed", None)
    return found if isinstance(found, nn.Parameter) and found.ndim == 3 else None


def sine_positions(side: int, dim: int, *, prefix: int = 0, columns_first: bool = True) -> Tensor:
    """Positions of a grid as sines and cosines, (1, prefix + side * side, dim), float32 (He 2021, arXiv 2111.06377).

    Half of the channels tell the column, half the row, each by the sines and then the cosines of dim / 4 frequencies
    from 1 down to 1/10,000. Prefix tokens have zeros.

    Args:
        side: Patches a side of the grid.
        dim: Number of channels, a multiple of 4.
        prefix: How many tokens stand before those of the grid.
        columns_first: Whether the first half tells the column, as MAE has it; otherwise the row, as MoCo v3 has it.

    Raises:
        ConfigError: dim is no multiple of 4.
    """
    if dim % 4:
        raise ConfigError(f"positions of sines need a width that is a multiple of 4, not {dim}")
    frequencies = 10_000 ** -(torch.arange(dim // 4, dtype=torch.float64) / (dim // 4))
    angles = torch.arange(side, dtype=torch.float64)[:, None] * frequencies
    of_place = torch.cat([angles.sin(), angles.cos()], 1)
    rows = of_place.repeat_interleave(side, 0)
    columns = of_place.repeat(side, 1)
    grid = torch.cat([columns, rows] if columns_first else [rows, columns], 1)
    return torch.cat([grid.new_zeros(prefix, dim), grid]).float()[None]


def put_sine_positions(model: nn.Module, *, columns_first: bool = True) -> None:
    """Give a model of tokens positions of sines, where it has positions of that form.

    Args:
        model: The model.
        columns_first: See `sine_positions`.
    """
    positions, roles = position_embedding(model), roles_of(model)
    if positions is None or not roles.blocks:
        return
    prefix = roles.blocks[0].prefix_tokens
    side = round((positions.shape[1] - prefix) ** 0.5)
    with torch.no_grad():
        positions.copy_(sine_positions(side, positions.shape[2], prefix=prefix, columns_first=columns_first))
