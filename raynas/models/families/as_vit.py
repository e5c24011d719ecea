"""The As-ViT network for an architecture of the space `as-vit`; the network itself is in `as_vit_network`."""

from __future__ import annotations

from typing import Any

import torch

from raynas.errors import ConfigError
from raynas.models.families import as_vit_network
from raynas.models.families.as_vit_network import PATCH_SIZE, AsViTNetwork
from raynas.models.plain_code import PlainCode, source_of
from raynas.models.roles import Roles, transformer_roles
from raynas.models.weights import Init, init_table
from raynas.space.architecture import Architecture
from raynas.space.registered import models
from raynas.space.tokens import default_dilation

_FIELDS = ("kernel", "split", "mlp_ratio", "depth", "num_heads", "embed_dim")


@models.register("as-vit")
class AsViT(AsViTNetwork):
    """The network of an architecture of the space `as-vit`.

    Args:
        architecture: The architecture, with the fields kernel, split, mlp_ratio and depth (four values each), num_heads
            of stage 4 and embed_dim of stage 1.
        img_size: Side of the images that the position embedding is made for, divisible by 32. Without position
            embedding any other such side works too.
        num_classes: Number of classes, which is the number of the head's outputs.
        in_chans: Number of channels of the images.
        pos_embed: Whether to learn an absolute position embedding, as trained models do; scores are taken without.
        drop_path_rate: Probability in training that a branch of the last block is dropped; it grows linearly from 0.
        fused_attn: Whether to use torch's fused attention, which is faster but not differentiable in forward mode.
        device, dtype: Device and type of the parameters. On the meta device they get no values.

    Raises:
        ConfigError: img_size is not divisible by 32.
    """

    def __init__(
        self,
        architecture: Architecture,
        *,
        img_size: int = 224,
        num_classes: int = 1000,
        in_chans: int = 3,
        pos_embed: bool = True,
        drop_path_rate: float = 0.0,
        fused_attn: bool = False,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        if img_size < 32 or img_size % 32:
            raise ConfigError(f"as-vit: img_size is {img_size}; it must be a positive multiple of 32")
        fields: dict[str, Any] = dict(architecture)
        settings: dict[str, Any] = {
            **{name: fields[name] for name in _FIELDS},
            "img_size": img_size,
            "num_classes": num_classes,
            "in_chans": in_chans,
            "pos_embed": pos_embed,
            "fused_attn": fused_attn,
        }
        super().__init__(**settings, drop_path_rate=drop_path_rate, device=device, dtype=dtype)
        self._plain_settings = settings

    def init_table(self) -> dict[str, Init]:
        """The distribution from which each parameter is drawn, by name."""
        return init_table(self.initial_distributions())

    def retokenize(self, stride: int, dilation: int | None = None) -> None:
        """Make tokens of `stride` pixels a side from now on; no parameter changes.

        Args:
            stride: Step of the patch convolution in pixels, a multiple of 4 that divides the image side.
            dilation: Dilation of the patch convolution; None: the largest that keeps its pixels within the patch.

        Raises:
            ConfigError: The grid does not fit, or the dilation is below 1.
        """
        if dilation is None:
            dilation = default_dilation(self.patch_kernel(), stride)
        try:
            super().retokenize(stride, dilation)
        except ValueError as error:
            raise ConfigError(f"as-vit: {error}") from None

    def patch_kernel(self) -> int:
        """Side of the kernel of the patch convolution in pixels."""
        return int(self.patch_embed.proj.kernel_size[0])

    def roles(self) -> Roles:
        """The network's parts by role."""
        stages: Any = self.stages
        blocks = [block for stage in stages for block in stage.blocks]
        return transformer_roles(blocks, head=self.head, norm=self.norm)

    def pooled_features(self, images: torch.Tensor) -> torch.Tensor:
        """Mean over the tokens of stage 4, before the final norm: (B, 3, img_size, img_size) to (B, C)."""
        return self.tokens(images).mean((1, 2))

    def plain_code(self) -> PlainCode:
        """The files that the network is written in, with the numbers of this one, as it is tokenized now."""
        convolution = self.patch_embed.proj
        tokens = {"stride": convolution.stride[0], "dilation": convolution.dilation[0]}
        is_usual = tokens == {"stride": PATCH_SIZE, "dilation": 1}
        return PlainCode(
            source=source_of(as_vit_network),
            network=AsViTNetwork.__name__,
            settings=self._plain_settings if is_usual else {**self._plain_settings, **tokens},
            first_conv=self.FIRST_CONV,
            classifier=self.CLASSIFIER,
        )
