"""The decoder of a masked autoencoder (He 2021, arXiv 2111.06377): pixels of hidden patches from tokens of others.

Tensor letters: B images, P prefix tokens, L patches, n patches that are kept, C channels of the encoder, D channels of
the decoder.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import nn

from raynas.errors import ConfigError
from raynas.models.layers import LayerNorm, Linear
from raynas.models.masking import Masking, all_tokens
from raynas.models.pre_norm import NORM_EPS, Block
from raynas.models.token_stages import sine_positions

MLP_RATIO = 4


class MaskedDecoder(nn.Module):
    """Predicts values of patches from the tokens of kept ones.

    Args:
        dim: Channels of the encoder's tokens, C.
        width: Channels of the decoder, D, a multiple of 4 that the heads divide.
        depth: Number of blocks.
        num_heads: Number of heads of each block.
        side: Patches a side of the grid.
        values: How many values are predicted of each patch.
        prefix: How many tokens stand before those of patches, P.
        device: Device of the parameters; on the meta device they get no values.

    Raises:
        ConfigError: The heads do not divide the width, or it is no multiple of 4.
    """

    positions: torch.Tensor

    def __init__(
        self,
        dim: int,
        *,
        width: int,
        depth: int,
        num_heads: int,
        side: int,
        values: int,
        prefix: int,
        device: torch.device | None = None,
    ) -> None:
        super().__init__()
        if width % num_heads:
            raise ConfigError(f"decoder_heads is {num_heads}; it must divide the decoder's width {width}")
        self.prefix = prefix
        self.embed = Linear(dim, width, device=device)
        self.mask_token = nn.Parameter(torch.empty(1, 1, width, device=device))
        self.blocks = nn.ModuleList(
            Block(width, num_heads, width // num_heads, MLP_RATIO * width, 0.0, fused_attn=True, device=device)
            for _ in range(depth)
        )
        self.norm = LayerNorm(width, NORM_EPS, device=device)
        self.predict = Linear(width, values, device=device)
        self.register_buffer("positions", sine_positions(side, width, prefix=prefix).to(device), persistent=False)
        if not self.embed.weight.is_meta:
            draw_as_mae(self)
            nn.init.normal_(self.mask_token, std=0.02)

    def forward(self, tokens: torch.Tensor, masking: Masking) -> torch.Tensor:
        """Values of all patches, (B, P + n, C) to (B, L, values); narrower tokens have the first of the C channels."""
        embedded = F.linear(tokens, self.embed.weight[:, : tokens.shape[-1]], self.embed.bias)
        x = all_tokens(embedded, masking, self.mask_token, self.prefix) + self.positions
        for block in self.blocks:
            x = block(x)
        predicted: torch.Tensor = self.predict(self.norm(x))[:, self.prefix :]
        return predicted


@torch.no_grad()
def draw_as_mae(model: nn.Module) -> None:
    """Draw layers as MAE draws them: linear ones by Xavier with biases 0, the patch convolution as a linear one.

    The bias of that convolution, and what belongs to no layer, such as class tokens, stay as they are.
    """
    for module in model.modules():
        if isinstance(module, nn.Linear | nn.Conv2d):
            nn.init.xavier_uniform_(module.weight.flatten(1))
            if isinstance(module, nn.Linear) and module.bias is not None:
                nn.init.zeros_(module.bias)
        elif isinstance(module, nn.LayerNorm):
            nn.init.ones_(module.weight)
            nn.init.zeros_(module.bias)
