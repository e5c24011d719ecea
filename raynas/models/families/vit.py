"""The plain vision transformer (Dosovitskiy 2020, arXiv 2010.11929), as timm has it, for the space `vit`.

It comes in through an entry point and not through `raynas.models.families`, since timm takes seconds to import.
"""

from __future__ import annotations

from contextlib import nullcontext
from typing import Any, Literal

import torch
from timm.models.vision_transformer import VisionTransformer

from raynas.errors import ConfigError
from raynas.models.families import vit_two_heads_network
from raynas.models.families.vit_two_heads_network import TwoHeadedVisionTransformer
from raynas.models.layers import transformer_distributions
from raynas.models.plain_code import PlainCode, source_of
from raynas.models.roles import Roles, block_roles, linear_layers
from raynas.models.timm_network import timm_cfg
from raynas.models.weights import Init, init_table
from raynas.space.architecture import Architecture

_PLAIN = '''"""The plain vision transformer (Dosovitskiy 2020, arXiv 2010.11929), as timm has it."""

from timm.models.vision_transformer import VisionTransformer, checkpoint_filter_fn
'''


def plain_vit(
    architecture: Architecture,
    *,
    img_size: int = 224,
    num_classes: int = 1000,
    in_chans: int = 3,
    pool: Literal["token", "mean", "both"] = "token",
    drop_path_rate: float = 0.0,
    fused_attn: bool = False,
    device: torch.device | str | None = None,
) -> ViT | TwoHeadedViT:
    """The network of an architecture of the space `vit`.

    Args:
        architecture: The architecture, with the fields patch_size, embed_dim, depth, num_heads and mlp_ratio.
        img_size: Side of the images in pixels, divisible by the patch size.
        num_classes: Number of classes, which is the number of the head's outputs.
        in_chans: Number of channels of the images.
        pool: What the head is given: the class token after the final norm, or the mean over the tokens of patches,
            which is normalised then; or both, each with a norm and a head of its own, whose logits are averaged.
        drop_path_rate: Probability in training that a branch of the last block is dropped; it grows linearly from 0.
        fused_attn: Whether to use torch's fused attention, which is faster but not differentiable in forward mode.
        device: Device of the parameters. On the meta device they get no values.

    Raises:
        ConfigError: The patches do not tile the image.
    """
    fields: dict[str, Any] = dict(architecture)
    if img_size < 1 or img_size % fields["patch_size"]:
        raise ConfigError(f"vit: img_size is {img_size}; it must be a multiple of patch_size {fields['patch_size']}")
    settings = {**fields, "img_size": img_size, "num_classes": num_classes, "in_chans": in_chans}
    with nullcontext() if device is None else torch.device(device):
        if pool == "both":
            model: ViT | TwoHeadedViT = TwoHeadedViT(settings, drop_path_rate=drop_path_rate)
        else:
            pooling = {"global_pool": "avg"} if pool == "mean" else {}
            model = ViT({**settings, **pooling}, drop_path_rate=drop_path_rate)
    for block in model.blocks:
        block.attn.fused_attn = fused_attn
    model.pretrained_cfg = model.default_cfg = timm_cfg(
        num_classes=num_classes,
        input_size=(in_chans, img_size, img_size),
        fixed_input_size=True,
        pool_size=None,
        first_conv="patch_embed.proj",
        classifier=("head", "head_dist") if pool == "both" else "head",
    )
    return model


class ViT(VisionTransformer):  # type: ignore[misc]
    """timm's VisionTransformer, as `plain_vit` makes it.

    Args:
        settings: Keywords of timm's that say which network it is.
        training: Those that say how it is trained.
    """

    def __init__(self, settings: dict[str, Any], **training: Any) -> None:
        super().__init__(**settings, **training)
        self._plain_settings = settings

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


class TwoHeadedViT(TwoHeadedVisionTransformer):
    """The network with a head for the mean over patches and one for the class token, as `plain_vit` makes it.

    Args:
        settings: Keywords of timm's VisionTransformer that say which network it is.
        training: Those that say how it is trained.
    """

    def __init__(self, settings: dict[str, Any], **training: Any) -> None:
        super().__init__(**settings, **training)
        self._plain_settings = settings

    init_table = ViT.init_table
    pooled_features = ViT.pooled_features

    def roles(self) -> Roles:
        """The network's parts by role; both heads are heads."""
        return Roles(
            attention=linear_layers(block.attn for block in self.blocks),
            mlp=linear_layers(block.mlp for block in self.blocks),
            head=(self.head, self.head_dist),
            final_norms=(self.fc_norm, self.norm_dist),
            blocks=tuple(block_roles(block, prefix_tokens=1) for block in self.blocks),
        )

    def plain_code(self) -> PlainCode:
        """The file that the network is written in, with the numbers of this one."""
        return PlainCode(
            source=source_of(vit_two_heads_network),
            network=TwoHeadedVisionTransformer.__name__,
            settings=self._plain_settings,
            packages=("torch", "timm"),
            first_conv="patch_embed.proj",
            classifier=("head", "head_dist"),
        )
