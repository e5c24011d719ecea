"""Feature maps of a network's blocks, taken from a pass through it.

Letters: B images, C channels, h and w sides of the grid.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn

from raynas.models.features import hooked, uncalled
from raynas.models.roles import Block, roles_of


def with_outputs(
    model: nn.Module, images: torch.Tensor, blocks: Sequence[Block]
) -> tuple[torch.Tensor, list[torch.Tensor]]:
    """The network's output, and those of some of its blocks, as they are, from the same pass.

    Args:
        model: The network that images pass through; it is left without hooks.
        images: (B, 3, S, S) images as the network takes them.
        blocks: Those blocks among the network's roles whose outputs are kept.

    Raises:
        NotApplicableError: The network does not call a block, but goes through its parts itself.
    """
    found: dict[int, torch.Tensor] = {}

    def keep(module: Any, inputs: Any, output: torch.Tensor) -> None:
        found[id(module)] = output

    with hooked([block.module for block in blocks], keep):
        result: torch.Tensor = model(images)
    for block in blocks:
        if id(block.module) not in found:
            raise uncalled(model, block.module, "block")
    return result, [found[id(block.module)] for block in blocks]


def with_feature_maps(
    model: nn.Module, images: torch.Tensor, blocks: Sequence[Block]
) -> tuple[torch.Tensor, list[torch.Tensor]]:
    """`with_outputs`, with the outputs of the blocks as feature maps (B, C, h, w).

    Args:
        model: The network that images pass through; it is left without hooks.
        images: (B, 3, S, S) images as the network takes them.
        blocks: Those blocks among the network's roles whose outputs are kept.

    Raises:
        NotApplicableError: The network does not call a block, but goes through its parts itself.
        ValueError: The tokens of a block form no square grid.
    """
    result, outputs = with_outputs(model, images, blocks)
    return result, [block.feature_map(output) for block, output in zip(blocks, outputs, strict=True)]


def feature_widths(model: nn.Module, img_size: int) -> list[int]:
    """Number of channels of the feature map of every block of a network.

    Args:
        model: The network, which may be on the meta device; it is left in its mode.
        img_size: Side in pixels of the images that the network takes.

    Raises:
        NotApplicableError: The network does not call a block, but goes through its parts itself.
        ValueError: The tokens of a block form no square grid.
    """
    device = next(model.parameters()).device
    is_training = model.training
    try:
        with torch.no_grad():
            images = torch.zeros(1, 3, img_size, img_size, device=device)
            _, maps = with_feature_maps(model.eval(), images, roles_of(model).blocks)
    finally:
        model.train(is_training)
    return [found.shape[1] for found in maps]


def resized_to_larger(first: torch.Tensor, second: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Two feature maps, each resized (bilinear) to the larger height and the larger width of both."""
    size = max(first.shape[2], second.shape[2]), max(first.shape[3], second.shape[3])
    return resized(first, size), resized(second, size)


def resized(maps: torch.Tensor, size: tuple[int, int]) -> torch.Tensor:
    """(B, C, h, w) to (B, C, *size), bilinear by the centres of pixels; the same tensor where it has that size."""
    if tuple(maps.shape[2:]) == size:
        return maps
    return F.interpolate(maps, size, mode="bilinear", align_corners=False)
