"""Encoded images to RGB."""

from __future__ import annotations

import io
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from raynas.errors import DataError

if TYPE_CHECKING:
    from PIL import Image

IMAGE_EXTENSIONS = (".bmp", ".gif", ".jpeg", ".jpg", ".pgm", ".png", ".ppm", ".tif", ".tiff", ".webp")


def decoded(file: io.BytesIO | Path, where: str) -> Image.Image:
    """The image of an encoded file as RGB.

    Args:
        file: The encoded bytes, or the path of a file.
        where: Begins the message of an error, such as "data 'folder:x': image of row 3".

    Raises:
        DataError: It cannot be decoded.
    """
    from PIL import Image, UnidentifiedImageError

    try:
        with Image.open(file) as image:
            return as_rgb(image, where)
    except DataError:
        raise
    except Exception as error:  # Pillow's decoders raise what they like on broken files
        # Pillow's text for this names an object in memory.
        reason = "it is in no known format" if isinstance(error, UnidentifiedImageError) else error
        raise DataError(f"{where} cannot be read: {reason}") from error


def as_rgb(image: Any, where: str) -> Image.Image:
    """Any image of Pillow as RGB; transparency is dropped.

    Args:
        image: The image.
        where: Begins the message of an error, such as "data 'folder:x': image of row 3".
    """
    from PIL import Image

    if not isinstance(image, Image.Image):
        raise DataError(f"{where} is no image but {type(image).__name__}")
    if image.mode.startswith("I"):
        # 16-bit grey; Pillow would cut everything above 255 to white.
        image = Image.fromarray((np.asarray(image).astype(np.int64) >> 8).clip(0, 255).astype(np.uint8))
    elif image.mode == "P" and "transparency" in image.info:
        image = image.convert("RGBA")  # what Pillow asks for, with a warning, on the way to RGB
    converted: Image.Image = image.convert("RGB")
    return converted
