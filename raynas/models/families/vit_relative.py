"""The plain vision transformer with biases of relative positions, timm's Beit, for the space `vit-relative`.

It comes in through an entry point and not through `raynas.models.families`, since timm takes seconds to import.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import nullcontext
from typing import Any

import torch
from timm.models.beit import Beit

from raynas.errors import ConfigError
from raynas.models.plain_code import PlainCode
from raynas.models.timm_network import timm_cfg
from raynas.space.architecture import Architecture

_PLAIN = '''"""The plain vision transformer with biases of relative positions, timm's Beit (arXiv 2106.08254)."""

from timm.models.beit import Beit, checkpoint_filter_fn
'''


class ViTRelative(Beit):  # type: ignore[misc]
    """timm's Beit for an architecture of the space `vit-relative`: logits come from the mean over patches.

    Each block adds to the attention of each head a bias for each distance between patches, in rows and in columns, and
    three for pairs with the class token; they begin at 0. Keys have no bias of their own, which attention would not
    see: it adds the same to all keys of a query.

    Args:
        architecture: The architecture, with the fields patch_size, embed_dim, depth, num_heads and mlp_ratio.
        img_size: Side of the images in pixels, divisible by the patch size.
        num_classes: Number of classes, which is the number of the head's outputs.
        in_chans: Number of channels of the images.
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
        in_chans: int = 3,
        drop_path_rate: float = 0.0,
        fused_attn: bool = False,
        device: torch.device | str | None = None,
    ) -> None:
        fields: dict[str, Any] = dict(architecture)
        if img_size < 1 or img_size % fields["patch_size"]:
            raise ConfigError(
                f"vit-relative: img_size is {img_size}; it must be a multiple of patch_size {fields['patch_size']}"
            )
        settings = {
            **fields,
            "img_size": img_size,
            "num_classes": num_classes,
            "in_chans": in_chans,
            "use_abs_pos_emb": True,
            "use_rel_pos_bias": True,
        }
        with nullcontext() if device is None else torch.device(device):
            super().__init__(drop_path_rate=drop_path_rate, **settings)
        self._plain_settings = settings
        self.pretrained_cfg = self.default_cfg = timm_cfg(
            num_classes=num_classes,
            input_size=(in_chans, img_size, img_size),
            fixed_input_size=True,
            pool_size=None,
            first_conv="patch_embed.proj",
            classifier="head",
        )
        for block in self.blocks:
            block.attn.fused_attn = fused_attn

    def pooled_features(self, images: torch.Tensor) -> torch.Tensor:
        """Mean over the tokens of patches, before it is normalised: (B, 3, img_size, img_size) to (B, embed_dim)."""
        features: torch.Tensor = self.forward_features(images)[:, 1:].mean(1)
        return features

    def adapted_weights(self, weights: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        """Weights of a plain vision transformer as this network names them, and biases of positions of 0.

        Args:
            weights: All weights by name; those of a network of this kind are returned as they are.
        """
        if not any(name.endswith("attn.qkv.bias") for name in weights):
            return dict(weights)
        found = {}
        for name, value in weights.items():
            if name.endswith("attn.qkv.bias"):
                place = name.removesuffix("qkv.bias")
                found[f"{place}q_bias"], _, found[f"{place}v_bias"] = value.chunk(3)
            else:
                found[name] = value
        for name, parameter in self.named_parameters():
            if name.endswith("relative_position_bias_table"):
                found[name] = torch.zeros(parameter.shape)
        return found

    def plain_code(self) -> PlainCode:
        """A call of timm's Beit."""
        return PlainCode(
            source=_PLAIN,
            network=Beit.__name__,
            settings=self._plain_settings,
            packages=("torch", "timm"),
            first_conv="patch_embed.proj",
            classifier="head",
        )
