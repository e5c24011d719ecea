"""Images with what is attended to in them: bright where attention is, dark elsewhere."""

from __future__ import annotations

from math import isqrt

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from raynas.analysis.points import Attention, Seen
from raynas.models.normalisation import IMAGENET_MEAN, IMAGENET_STD

_DARKEST = 0.15


def attended(network: str, images: Tensor, seen: Seen, number: int) -> dict[str, np.ndarray]:
    """Pictures of the first images, as they are and by the attention of the first, the middle and the last block.

    Args:
        network: What the names of pictures begin with.
        images: (b, 3, S, S) normalised as those of ImageNet.
        seen: What the network makes of them, and perhaps of more.
        number: How many images are shown.

    Returns:
        RGB pixels (S, b * S, 3), uint8, by names such as model-00-images, model-12-attention; none without attention.
    """
    if not seen.attention:
        return {}
    last = len(seen.attention) - 1
    found = {f"{network}-00-images": _pixels(images)}
    for block in sorted({0, last // 2, last}):
        maps = attention_map(seen.attention[block])[:number]
        brightness = F.interpolate(maps[:, None], images.shape[-1], mode="bicubic", align_corners=False).clamp(0, 1)
        lit = _DARKEST + (1 - _DARKEST) * brightness.to(images.device)
        found[f"{network}-{block + 1:02d}-attention"] = _pixels(images, lit)
    return found


def attention_map(attention: Attention) -> Tensor:
    """Where heads attend on average, (B, G, G), 1 at the brightest patch of each image.

    It is the attention of the first prefix token, such as the class token; without one, the mean over patches.
    """
    from_token = attention.prefix[:, :, 0] if attention.prefix.shape[2] else attention.patches.mean(2)
    found = from_token.mean(1)
    side = isqrt(found.shape[1])
    return (found / found.amax(1, keepdim=True)).reshape(len(found), side, side)


def _pixels(images: Tensor, brightness: Tensor | None = None) -> np.ndarray:
    values = images.float() * torch.tensor(IMAGENET_STD)[:, None, None] + torch.tensor(IMAGENET_MEAN)[:, None, None]
    values = values if brightness is None else values * brightness
    stacked = values.permute(2, 0, 3, 1).flatten(1, 2)
    pixels: np.ndarray = (stacked.clamp(0, 1) * 255).round().to(torch.uint8).cpu().numpy()
    return pixels
