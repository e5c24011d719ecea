"""Pixels as PNG files, in memory, for pages."""

from __future__ import annotations

import io

import numpy as np
from PIL import Image


def png_of(pixels: np.ndarray) -> bytes:
    """RGB pixels (height, width, 3), uint8, as a PNG file."""
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG")
    return file.getvalue()
