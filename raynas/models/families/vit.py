"""The plain vision transformer (Dosovitskiy 2020, arXiv 2010.11929), as timm has it, for the space `vit`.

It comes in through an entry point and not through `raynas.models.families`, since timm takes seconds to import.
"""

from __future__ import annotations

from contextlib import nullcontext
from typing import Any, Literal

import torch
from timm.models.vision_transformer import VisionTransformer

from raynas.errors import ConfigError
from raynas.models.layers import transformer_distributions
from raynas.models.plain_code import PlainCode
from raynas.models.weights import Init, init_table
from raynas.space.architecture import Architecture

_PLAIN = '''"""The plain vision transformer (Dosovitskiy 2020, arXiv 2010.11929), as timm has it."""

from timm.models.vision_transformer import VisionTransformer
'''


class ViT(VisionTransformer):  # type: ignore[misc]
    """timm's VisionTransformer for an architecture of the space `vit`.

    Args:
        architecture: The architecture, with the fields patch_size, embed_dim, depth, num_heads and mlp_ratio.
        img_size: Side of the images in pixels, divisible by the patch size.
        num_classes: Number of classes, which is the number of the head's outputs.
        pool: What the head is given: the class token after the final norm, or the mean over the tokens of patches,
            which is normalised then.
        drop_path_rate: Probability in training that a branch of the last block is dropped; it grows linearly from 0.
        fused_attn: Whether to use torch's fused attention, which is faster but not differentiable in forward mode.
        device: Device of the parameters. On the meta device they get no values.

    Raises:
        ConfigError: The patches do not tile the image.
    """

    def __init__(
        self,
        architecture: Architecture,
        *,
        img_size: int = 224,
        num_classes: int = 1000,
        pool: Literal["token", "mean"] = "token",
        drop_path_rate: float = 0.0,
        fused_attn: bool = False,
        device: torch.device | str | None = None,
    ) -> None:
        fields: dict[str, Any] = dict(architecture)
        if img_size < 1 or img_size % fields["patch_size"]:
            raise ConfigError(
                f"vit: img_size is {img_size}; it must be a multiple of patch_size {fields['patch_size']}"
            )
        with nullcontext() if device is None else torch.device(device):
            pooling = {"global_pool": "avg"} if pool == "mean" else {}
            settings = {**fields, **pooling, "img_size": img_size, "num_classes": num_classes}
            super().__init__(drop_path_rate=drop_path_rate, **settings)
        self._plain_settings = settings
        for block in self.blocks:
            block.attn.fused_attn = fused_attn

    def init_table(self) -> dict[str, Init]:
        """The distribution from which timm draws each parameter, by name: the usual one but for the class token."""
        drawn = transformer_distributions(self, "patch_embed.proj")
        return init_table({**drawn, "cls_token": ("normal", 1e-6)})

    def pooled_features(self, images: torch.Tensor) -> torch.Tensor:
        """Mean over all tokens, the class token's among them, before the final norm.

        (B, 3, img_size, img_size) to (B, embed_dim).
        """
        x: torch.Tensor = self.blocks(self._pos_embed(self.patch_embed(images)))
        return x.mean(1)

    def plain_code(self) -> PlainCode:
        """A call of timm's VisionTransformer."""
        return PlainCode(
            source=_PLAIN,
            network=VisionTransformer.__name__,
            settings=self._plain_settings,
            packages=("torch", "timm"),
            first_conv="patch_embed.proj",
            classifier="head",
        )
