"""The two views of an image that MoCo v3 compares (Chen 2021, arXiv 2104.02057)."""

from __future__ import annotations

import random
from collections.abc import Mapping
from typing import Any

from PIL import Image, ImageFilter

from raynas.models.normalisation import IMAGENET_MEAN, IMAGENET_STD
from raynas.training.images import Transform


class Blur:
    """A Gaussian blur with a deviation between 0.1 and 2 pixels."""

    def __call__(self, image: Image.Image) -> Image.Image:
        """The image, blurred."""
        return image.filter(ImageFilter.GaussianBlur(random.uniform(0.1, 2.0)))


def contrast_views(img_size: int, augmentation: Mapping[str, Any]) -> tuple[Transform, Transform]:
    """How both views are made: crop, jitter of colours, grey, blur, solarisation, mirror.

    Args:
        img_size: Image side in pixels.
        augmentation: What `TrainConfig.augmentation` returns: `min_scale`, `color_jitter` and `hflip` count; saturation
            changes by half of the jitter, and hue by a quarter.
    """
    return (
        _view(img_size, augmentation, blur=1.0, solarise=0.0),
        _view(img_size, augmentation, blur=0.1, solarise=0.2),
    )


def _view(img_size: int, augmentation: Mapping[str, Any], *, blur: float, solarise: float) -> Transform:
    from torchvision import transforms as made

    jitter = augmentation["color_jitter"]
    transform: Transform = made.Compose(
        [
            made.RandomResizedCrop(img_size, (augmentation["min_scale"], 1.0)),
            made.RandomApply([made.ColorJitter(jitter, jitter, jitter / 2, min(0.5, jitter / 4))], 0.8),
            made.RandomGrayscale(0.2),
            made.RandomApply([Blur()], blur),
            made.RandomSolarize(128, solarise),
            made.RandomHorizontalFlip(augmentation["hflip"]),
            made.ToTensor(),
            made.Normalize(IMAGENET_MEAN, IMAGENET_STD),
        ]
    )
    return transform
