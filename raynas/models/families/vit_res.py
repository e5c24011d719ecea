"""ViT-Res networks in their two sizes of tokens; the network itself is in `vit_res_network`."""

from __future__ import annotations

from typing import Any, ClassVar

import torch

from raynas.errors import ConfigError
from raynas.models.elastic.units import block_units, stacked_qkv
from raynas.models.families import vit_res_network
from raynas.models.families.vit_res_network import ViTResNetwork
from raynas.models.plain_code import PlainCode, source_of
from raynas.models.pre_norm import Block
from raynas.models.protocols import Units
from raynas.models.roles import Roles, transformer_roles
from raynas.models.skeletons import copied_on_meta
from raynas.models.weights import Init, init_table
from raynas.space.architecture import Architecture
from raynas.space.registered import models

_FIELDS = ("width", "depth", "head_size", "num_heads", "mlp_units")


@models.register("vit-res")
class ViTRes(ViTResNetwork):
    """The network of an architecture of `vit-res-tiny` and `vit-res-small`, whose tokens are 14 pixels.

    Args:
        architecture: The architecture, with the fields width, depth and head_size of each stage, and num_heads and
            mlp_units of each place for a block.
        img_size: Side of the images in pixels, divisible by 56.
        num_classes: Number of classes, which is the number of the head's outputs.
        in_chans: Number of channels of the images.
        drop_path_rate: Probability in training that a branch of the last place is dropped; it grows linearly from 0.
        fused_attn: Whether to use torch's fused attention, which is faster but not differentiable in forward mode.
        device, dtype: Device and type of the parameters. On the meta device they get no values.

    Raises:
        ConfigError: The grid cannot be halved twice.
    """

    make_block = staticmethod(copied_on_meta(Block))

    PATCH_SIZE: ClassVar[int] = 7

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
        multiple = 8 * self.PATCH_SIZE
        if img_size < multiple or img_size % multiple:
            raise ConfigError(f"vit-res: img_size is {img_size}; it must be a positive multiple of {multiple}")
        fields: dict[str, Any] = dict(architecture)
        settings: dict[str, Any] = {
            **{name: fields[name] for name in _FIELDS},
            "patch_size": self.PATCH_SIZE,
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

    def roles(self) -> Roles:
        """The network's parts by role."""
        return transformer_roles(self.blocks(), head=self.head, norm=self.norm, prefix_tokens=1)

    def pooled_features(self, images: torch.Tensor) -> torch.Tensor:
        """Mean over all tokens of the last stage, the class token among them, before the final norm.

        (B, 3, img_size, img_size) to (B, C).
        """
        return self.tokens_from_stem(self.stem_features(images)).mean(1)

    def forward_with_patches(self, features: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Logits and tokens of patches of what `stem_features` gives.

        (B, 24, img_size / 2, img_size / 2) to (B, num_classes) and (B, G * G, C), G patches a side of the last stage.
        """
        tokens = self.norm(self.tokens_from_stem(features))
        return self.forward_head(tokens), tokens[:, 1:]

    def stacked_parameters(self) -> dict[str, int]:
        """Queries, keys and values come from one layer."""
        return stacked_qkv(self)

    def units(self) -> list[Units]:
        """Heads and MLP units of each block."""
        names = {module: name for name, module in self.named_modules()}
        return [one for block in self.blocks() for one in block_units(names[block], block)]

    def plain_code(self) -> PlainCode:
        """The files that the network is written in, with the numbers of this one."""
        return PlainCode(
            source=source_of(vit_res_network),
            network=ViTResNetwork.__name__,
            settings=self._plain_settings,
            first_conv=self.FIRST_CONV,
            classifier=self.CLASSIFIER,
        )


@models.register("vit-res-nano")
class ViTResNano(ViTRes):
    """The network of an architecture of `vit-res-nano`, whose tokens are 4 pixels."""

    PATCH_SIZE: ClassVar[int] = 2
