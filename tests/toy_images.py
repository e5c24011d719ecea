"""Images for tests, made in them."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
from PIL import Image


def noise(seed: int, size: tuple[int, int] = (12, 9)) -> np.ndarray:
    """Colours (height, width, 3) of 8 bits."""
    return np.random.default_rng(seed).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)


def encoded(image: Image.Image, form: str = "PNG", **settings: Any) -> bytes:
    file = io.BytesIO()
    image.save(file, form, **settings)
    return file.getvalue()


def png(seed: int, size: tuple[int, int] = (12, 9)) -> bytes:
    """Noise as a file."""
    return encoded(Image.fromarray(noise(seed, size)))
