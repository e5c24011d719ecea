"""The network for an architecture of the space `resnet`; the network itself is in `resnet_network`."""

from __future__ import annotations

from typing import Any

import torch

from raynas.models.families import resnet_network
from raynas.models.families.resnet_network import ResNetNetwork
from raynas.models.plain_code import PlainCode, source_of
from raynas.models.roles import Block, Roles
from raynas.space.architecture import Architecture
from raynas.space.registered import models


@models.register("resnet")
class ResNet(ResNetNetwork):
    """The ResNet of an architecture of the space `resnet`.

    Args:
        architecture: The architecture, with the fields depth, 6 n + 2 layers, and width, the channels of stage 1.
        img_size: Side of the images in pixels, which changes nothing: images of any side can be classified.
        num_classes: Number of classes, which is the number of the head's outputs.
        in_chans: Number of channels of the images.
        device, dtype: Device and type of the parameters. On the meta device they get no values.
    """

    def __init__(
        self,
        architecture: Architecture,
        *,
        img_size: int = 32,
        num_classes: int = 10,
        in_chans: int = 3,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        fields: dict[str, Any] = {
            **architecture,
            "img_size": img_size,
            "num_classes": num_classes,
            "in_chans": in_chans,
        }
        super().__init__(**fields, device=device, dtype=dtype)
        self._plain_settings = fields

    def roles(self) -> Roles:
        """The network's head, and its three stages as blocks."""
        blocks = tuple(Block(stage, channels_first=True) for stage in self.stages)
        return Roles(head=(self.fc,), blocks=blocks)

    def pooled_features(self, images: torch.Tensor) -> torch.Tensor:
        """Mean over the pixels of stage 3: (B, 3, img_size, img_size) to (B, C)."""
        return self.forward_features(images).mean((2, 3))

    def plain_code(self) -> PlainCode:
        """The files that the network is written in, with the numbers of this one."""
        return PlainCode(
            source=source_of(resnet_network),
            network=ResNetNetwork.__name__,
            settings=self._plain_settings,
            first_conv=self.FIRST_CONV,
            classifier=self.CLASSIFIER,
        )
