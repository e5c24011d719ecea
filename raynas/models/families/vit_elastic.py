"""Parts of a plain vision transformer, for the space `vit-elastic`; the network itself is in `vit_elastic_network`."""

from __future__ import annotations

from typing import Any

import torch

from raynas.errors import ConfigError
from raynas.models.elastic.units import block_channels, block_units, stacked_qkv
from raynas.models.families import vit_elastic_network
from raynas.models.families.vit_elastic_network import ViTElasticNetwork
from raynas.models.plain_code import PlainCode, source_of
from raynas.models.pre_norm import Block
from raynas.models.protocols import Place, Units
from raynas.models.roles import Roles, transformer_roles
from raynas.models.skeletons import copied_on_meta
from raynas.models.weights import Init, init_table
from raynas.space.architecture import Architecture
from raynas.space.registered import models

_FIELDS = ("patch_size", "width", "head_size", "num_heads", "mlp_units")


@models.register("vit-elastic")
class ViTElastic(ViTElasticNetwork):
    """The network of an architecture of `vit-elastic`, whose parameters have the names of timm's VisionTransformer.

    Args:
        architecture: The architecture, with the fields patch_size, width, depth and head_size, and num_heads and
            mlp_units of each place for a block.
        img_size: Side of the images in pixels, divisible by the patch size.
        num_classes: Number of classes, which is the number of the head's outputs.
        in_chans: Number of channels of the images.
        drop_path_rate: Probability in training that a branch of the last place is dropped; it grows linearly from 0.
        fused_attn: Whether to use torch's fused attention, which is faster but not differentiable in forward mode.
        device, dtype: Device and type of the parameters. On the meta device they get no values.

    Raises:
        ConfigError: The patches do not tile the image.
    """

    make_block = staticmethod(copied_on_meta(Block))

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
        dtype: torch.dtype | None = None,
    ) -> None:
        fields: dict[str, Any] = dict(architecture)
        if img_size < 1 or img_size % fields["patch_size"]:
            raise ConfigError(
                f"vit-elastic: img_size is {img_size}; it must be a multiple of patch_size {fields['patch_size']}"
            )
        settings: dict[str, Any] = {
            **{name: fields[name] for name in _FIELDS},
            "img_size": img_size,
            "num_classes": num_classes,
            "in_chans": in_chans,
            "fused_attn": fused_attn,
        }
        super().__init__(**settings, drop_path_rate=drop_path_rate, device=device, dtype=dtype)
        self._plain_settings = settings

    def init_table(self) -> dict[str, Init]:
        """The distribution from which each parameter is drawn, by name."""
        return init_table(self.initial_distributions())

    def embedded_tokens(self, images: torch.Tensor) -> torch.Tensor:
        """Tokens with their positions, before the first block: (B, 3, img_size, img_size) to (B, N, C)."""
        return self.embedded(images)

    def through_blocks(self, tokens: torch.Tensor, first: int, last: int) -> torch.Tensor:
        """What the blocks that are there, from number `first` to before number `last`, make of tokens (B, n, C)."""
        found: torch.Tensor = self.through(tokens, self.groups()[first:last])
        return found

    def roles(self) -> Roles:
        """The network's parts by role."""
        return transformer_roles(self.present_blocks(), head=self.head, norm=self.norm, prefix_tokens=1)

    def pooled_features(self, images: torch.Tensor) -> torch.Tensor:
        """Mean over all tokens, the class token's among them, before the final norm.

        (B, 3, img_size, img_size) to (B, C).
        """
        return self.tokens(images).mean(1)

    def stacked_parameters(self) -> dict[str, int]:
        """Queries, keys and values come from one layer."""
        return stacked_qkv(self)

    def units(self) -> list[Units]:
        """Heads and MLP units of each block."""
        names = {module: name for name, module in self.named_modules()}
        return [one for block in self.present_blocks() for one in block_units(names[block], block)]

    def channel_units(self) -> list[Units]:
        """The channels of the tokens, which are the same from the patches to the head."""
        names = {module: name for name, module in self.named_modules()}
        places = [
            Place("patch_embed.proj.weight", 0),
            Place("patch_embed.proj.bias", 0),
            Place("cls_token", 2),
            Place("pos_embed", 2),
            *(place for block in self.present_blocks() for place in block_channels(names[block])),
            Place("norm.weight", 0),
            Place("norm.bias", 0),
            Place("head.weight", 1),
        ]
        return [Units("channels", self.num_features, tuple(places))]

    def plain_code(self) -> PlainCode:
        """The files that the network is written in, with the numbers of this one."""
        return PlainCode(
            source=source_of(vit_elastic_network),
            network=ViTElasticNetwork.__name__,
            settings=self._plain_settings,
            first_conv=self.FIRST_CONV,
            classifier=self.CLASSIFIER,
        )
