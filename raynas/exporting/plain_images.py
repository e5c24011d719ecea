"""Images as the exported model was evaluated on them: upright, on the ground, brought to its side, normalised.

The rules are those of raynas: they depend on the file alone, and on what `config.json`, beside this file, says under
`preprocessing`. Whatever raynas refuses is refused here. S is the image side in pixels.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import torch
from PIL import Image

_RUNS_A_PROGRAM = ("EPS", "WMF")  # formats for which Pillow starts Ghostscript, or asks Windows
_PLAIN = ("RGB", "L", "1", "P", "CMYK", "YCbCr", "HSV", "RGBX")
_WITH_ALPHA = ("RGBA", "LA", "PA", "RGBa", "La")
_ORIENTATION = 274  # EXIF's and TIFF's tag
_PHOTOMETRIC, _WHITE_IS_ZERO = 262, 0  # TIFF's tag, and its value where 0 is white
_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


def load_image(file: str | Path | BinaryIO, folder: str | Path | None = None) -> torch.Tensor:
    """The tensor (3, S, S), float32, that the model takes for an image; `torch.stack` makes a batch of several.

    Args:
        file: The path of an image, or an open file of one.
        folder: Where `config.json` is; default: beside this file.

    Raises:
        ValueError: The image has no plain colours, or nothing says which of its values are black and white.
        OSError: It is missing, or in no format that Pillow reads.
    """
    config = json.loads((Path(folder or Path(__file__).parent) / "config.json").read_text())
    rules, side = config["preprocessing"], config["img_size"]
    Image.init()
    with Image.open(file, formats=[name for name in Image.ID if name not in _RUNS_A_PROGRAM]) as image:
        rgb = as_rgb(image, tuple(rules["ground"]), rules["pixel_range"])
    pixels = np.asarray(fitted(rgb, side, rules["shorter_side"]), dtype=np.float32) / 255
    normalised = (pixels - np.array(config["mean"], np.float32)) / np.array(config["std"], np.float32)
    return torch.from_numpy(np.ascontiguousarray(normalised.transpose(2, 0, 1)))


def fitted(image: Image.Image, side: int, shorter_side: int | None) -> Image.Image:
    """An image of side x side pixels (bicubic).

    Args:
        image: The image, RGB.
        side: Image side in pixels.
        shorter_side: What its shorter side is resized to before the centre is cut out; None: it is squeezed.
    """
    if shorter_side is None:
        return image.resize((side, side), Image.Resampling.BICUBIC)
    shorter = min(image.size)
    scaled = [shorter_side if length == shorter else int(shorter_side * length / shorter) for length in image.size]
    left, top = (round((length - side) / 2) for length in scaled)
    resized = image.resize((scaled[0], scaled[1]), Image.Resampling.BICUBIC)
    return resized.crop((left, top, left + side, top + side))


def as_rgb(image: Image.Image, ground: tuple[int, int, int], pixel_range: list[float] | None) -> Image.Image:
    """An image that is opened and not yet decoded, as RGB of 8 bits: its first frame, upright, on the ground.

    Args:
        image: The image.
        ground: The colour that is seen through what is transparent.
        pixel_range: The values that are black and white in images of more than 8 bits; None: by the file.

    Raises:
        ValueError: It has a mode without plain colours, or nothing says what is black and white.
    """
    # Once it is decoded, Pillow has forgotten what the file says of the values of its pixels.
    raw = " ".join(str(tile[3]) for tile in getattr(image, "tile", ()))
    declared: list[float] | None = None
    if image.format in ("PPM", "JPEG2000") and image.mode[0] == "I":
        declared = [0, 65_535]  # to which Pillow has scaled the declared largest value, or the precision
    elif "I;12" in raw:
        declared = [0, 4_095]
    is_white_zero = getattr(image, "tag_v2", {}).get(_PHOTOMETRIC) == _WHITE_IS_ZERO
    is_16_bit = image.mode.startswith("I;16") or (image.mode == "I" and "I;16" in raw and "S" not in raw)
    keeps_upper_byte = image.mode[0] not in "IF" and ";16" in raw
    image.load()
    image = _upright(image)
    if image.mode[0] in "IF":
        values = np.asarray(image).astype(np.float64)
        if not np.isfinite(values).all():
            raise ValueError("the image has pixels that are no finite numbers")
        low, high = pixel_range or declared or _assumed_range(image.mode, is_16_bit, values)
        scaled = ((values - low) * 255 / (high - low)).round().clip(0, 255).astype(np.uint8)
        if is_white_zero:
            scaled = 255 - scaled
        key = image.info.get("transparency")  # of PNG: the value that is transparent
        if isinstance(key, int | float):
            scaled = np.where(values == key, np.uint8(ground[0]), scaled)
        return Image.fromarray(scaled).convert("RGB")
    if image.mode not in (*_PLAIN, *_WITH_ALPHA):
        raise ValueError(f"the image has the mode {image.mode}, which has no plain colours")
    found = _on_ground(image, ground)
    if keeps_upper_byte and pixel_range != [0, 65_535]:  # of colour in 16 bits Pillow keeps the upper 8
        if pixel_range is not None:
            raise ValueError(f"the image has colours of 16 bits, and the model was trained on values of {pixel_range}")
        if int(np.asarray(found).max()) < 128:
            raise ValueError("the image has colours of 16 bits, of which none reaches half of 65,535")
    return found


def _upright(image: Image.Image) -> Image.Image:
    try:
        turn = _TURNS.get(int(image.getexif().get(_ORIENTATION, 1)))
    except Exception:  # of damaged metadata; the pixels may be sound
        turn = None
    return image if turn is None else image.transpose(turn)


def _on_ground(image: Image.Image, ground: tuple[int, int, int]) -> Image.Image:
    if not image.has_transparency_data:
        return image.convert("RGB")
    if image.mode == "La":
        image = image.convert("LA")
    behind = Image.new("RGBA", image.size, (*ground, 255))
    return Image.alpha_composite(behind, image.convert("RGBA")).convert("RGB")


def _assumed_range(mode: str, is_16_bit: bool, values: np.ndarray[Any, Any]) -> tuple[float, float]:
    """The range of values that speak for themselves: of 16 bits used to the full, or of float numbers from 0 to 1."""
    least, most = float(values.min()), float(values.max())
    if mode == "F" and least >= 0 and most <= 1:
        return 0, 1
    if mode != "F" and is_16_bit and most >= 32_768:
        return 0, 65_535
    raise ValueError(
        f"the image has more than 8 bits a channel, values from {least:.6g} to {most:.6g}, and nothing says which are "
        "black and white: pixel_range in config.json does"
    )
