"""AutoFormer networks in their two builds; the network itself is in `autoformer_network`."""

from __future__ import annotations

from typing import Any, ClassVar

import torch

from raynas.errors import ConfigError
from raynas.models.elastic.units import block_units, stacked_qkv
from raynas.models.families import autoformer_network
from raynas.models.families.autoformer_network import PATCH_SIZE, AutoFormerNetwork, Block
from raynas.models.plain_code import PlainCode, source_of
from raynas.models.protocols import Units
from raynas.models.roles import Roles, transformer_roles
from raynas.models.skeletons import copied_on_meta
from raynas.models.weights import Init, init_table
from raynas.space.architecture import Architecture
from raynas.space.registered import models

_FIELDS = ("embed_dim", "depth", "mlp_ratio", "num_heads")


@models.register("autoformer")
class AutoFormer(AutoFormerNetwork):
    """The network of an architecture of the AutoFormer spaces, as its authors build it.

    Heads are 64 wide whatever the width of the network, and attention knows the relative position of patches.

    Args:
        architecture: The architecture, with the fields embed_dim, depth, and mlp_ratio and num_heads of each block.
        img_size: Side of the images in pixels, divisible by 16.
        num_classes: Number of classes, which is the number of the head's outputs.
        in_chans: Number of channels of the images.
        drop_path_rate: Probability in training that a branch of the last block is dropped; it grows linearly from 0.
        fused_attn: Whether to use torch's fused attention, which is faster but not differentiable in forward mode.
        device, dtype: Device and type of the parameters. On the meta device they get no values.

    Raises:
        ConfigError: img_size is not divisible by 16.
    """

    make_block = staticmethod(copied_on_meta(Block))

    _BUILD: ClassVar[dict[str, Any]] = {"head_dim": 64, "rel_pos": True, "norm_eps": 1e-5}

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
        if img_size < PATCH_SIZE or img_size % PATCH_SIZE:
            raise ConfigError(f"autoformer: img_size is {img_size}; it must be a positive multiple of {PATCH_SIZE}")
        fields: dict[str, Any] = dict(architecture)
        settings: dict[str, Any] = {
            **{name: fields[name] for name in _FIELDS},
            **self._BUILD,
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
        return transformer_roles(self.blocks, head=self.head, norm=self.norm, prefix_tokens=1)

    def pooled_features(self, images: torch.Tensor) -> torch.Tensor:
        """Mean over the tokens of patches, before the final norm: (B, 3, img_size, img_size) to (B, C)."""
        return self.tokens(images)[:, 1:].mean(1)

    def stacked_parameters(self) -> dict[str, int]:
        """Queries, keys and values come from one layer."""
        return stacked_qkv(self)

    def units(self) -> list[Units]:
        """Heads and MLP units of each block."""
        return [one for i, block in enumerate(self.blocks) for one in block_units(f"blocks.{i}", block)]

    def plain_code(self) -> PlainCode:
        """The files that the network is written in, with the numbers of this one."""
        return PlainCode(
            source=source_of(autoformer_network),
            network=AutoFormerNetwork.__name__,
            settings=self._plain_settings,
            first_conv=self.FIRST_CONV,
            classifier=self.CLASSIFIER,
        )


@models.register("autoformer-plain")
class AutoFormerPlain(AutoFormer):
    """The network of an architecture as the tiny-data benchmark builds it (ViT-Bench-101, arXiv 2312.09059).

    A head has the network's width over the block's heads, and attention knows no positions: so heads change neither the
    number of parameters nor the multiply-adds.
    """

    _BUILD: ClassVar[dict[str, Any]] = {"head_dim": None, "rel_pos": False, "norm_eps": 1e-6}

    # Attention that knows no positions can look at some of the patches alone, unlike that of the other build.

    def embedded_tokens(self, images: torch.Tensor) -> torch.Tensor:
        """Tokens with their positions, before the first block: (B, 3, img_size, img_size) to (B, N, C)."""
        return self.embedded(images)

    def through_blocks(self, tokens: torch.Tensor, first: int, last: int) -> torch.Tensor:
        """What the blocks from number `first` to before number `last` make of some or all tokens, (B, n, C)."""
        found: torch.Tensor = self.through(tokens, self.groups()[first:last])
        return found
