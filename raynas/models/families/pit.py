"""PiT (Heo 2021, arXiv 2103.16302), as timm has it, for the spaces `pit-tiny`, `pit-xs` and `pit-small`.

It comes in through an entry point and not through `raynas.models.families`, since timm takes seconds to import.
"""

from __future__ import annotations

import math
from typing import Any

import torch

from raynas.errors import ConfigError
from raynas.models.families import pit_network
from raynas.models.families.pit_network import PiTNetwork
from raynas.models.plain_code import PlainCode, source_of
from raynas.models.weights import Constant, Init, Normal, Uniform
from raynas.space.architecture import Architecture


class PiT(PiTNetwork):
    """timm's PoolingVisionTransformer for an architecture of a PiT space; logits come from the class token.

    Args:
        architecture: The architecture, with the fields base_dim and mlp_ratio of all stages, depth and num_heads of
            each of the three.
        img_size: Side of the images in pixels, a multiple of 8 and at least 16.
        num_classes: Number of classes, which is the number of the head's outputs.
        in_chans: Number of channels of the images.
        drop_path_rate: Probability in training that a branch of the last block is dropped; it grows linearly from 0.
        fused_attn: Whether to use torch's fused attention, which is faster but not differentiable in forward mode.
        device: Device of the parameters. On the meta device they get no values.

    Raises:
        ConfigError: The patches do not end where the image does.
    """

    def __init__(
        self,
        architecture: Architecture,
        *,
        img_size: int = 224,
        num_classes: int = 1000,
        in_chans: int = 3,
        drop_path_rate: float = 0.0,
        fused_attn: bool = False,
        device: torch.device | str | None = None,
    ) -> None:
        if img_size < 16 or img_size % 8:
            raise ConfigError(f"pit: img_size is {img_size}; it must be a multiple of 8, and at least 16")
        fields: dict[str, Any] = dict(architecture)
        settings: dict[str, Any] = {
            "base_dims": (fields["base_dim"],) * 3,
            "depth": fields["depth"],
            "heads": fields["num_heads"],
            "mlp_ratio": fields["mlp_ratio"],
            "img_size": img_size,
            "num_classes": num_classes,
            "in_chans": in_chans,
        }
        super().__init__(**settings, drop_path_rate=drop_path_rate, device=device)
        self._plain_settings = settings
        for stage in self.transformers:
            for block in stage.blocks:
                block.attn.fused_attn = fused_attn

    def init_table(self) -> dict[str, Init]:
        """The distribution from which timm draws each parameter, by name.

        Convolutions and linear layers, with their biases, have torch's default. The truncated normal of std 0.02 is cut
        at plus and minus 2, a hundred deviations out: a plain normal.
        """
        table: dict[str, Init] = {}
        for path, module in self.named_modules():
            for name, parameter in module.named_parameters(prefix=path, recurse=False):
                if isinstance(module, torch.nn.LayerNorm):
                    table[name] = Constant(0.0 if name.endswith("bias") else 1.0)
                elif isinstance(module, torch.nn.Linear | torch.nn.Conv2d):
                    table[name] = Uniform(1 / math.sqrt(module.weight[0].numel()))
                else:
                    assert name in ("pos_embed", "cls_token"), (name, parameter.shape)
                    table[name] = Normal(0.02)
        return table

    def pooled_features(self, images: torch.Tensor) -> torch.Tensor:
        """Mean over all tokens of stage 3, the class token's among them, before the final norm.

        (B, 3, img_size, img_size) to (B, C).
        """
        x = self.patch_embed(images) + self.pos_embed
        patches, first = self.transformers((x, self.cls_token.expand(images.shape[0], -1, -1)))
        tokens: torch.Tensor = torch.cat([first, patches.flatten(2).transpose(1, 2)], 1)
        return tokens.mean(1)

    def plain_code(self) -> PlainCode:
        """The files that the network is written in, over timm's class, with the numbers of this one."""
        return PlainCode(
            source=source_of(pit_network),
            network=PiTNetwork.__name__,
            settings=self._plain_settings,
            packages=("torch", "timm"),
            first_conv=self.FIRST_CONV,
            classifier=self.CLASSIFIER,
        )
