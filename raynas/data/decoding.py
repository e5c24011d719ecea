"""Encoded images to RGB, by rules that depend on the file alone or on what the user says, and never on other images.

- EXIF's orientation is applied; of several frames the first is taken.
- What is transparent lets white be seen through.
- 8 bits a channel stay what they are. Grey of more bits is scaled to 8 between black and white: those that the user
  says (values beyond are cut); or those that the file declares (a TIFF of 12 bits, a PGM's largest value, JPEG 2000's
  precision); or 0 and 65,535 where the values of 16 bits reach 32,768; or 0 and 1 for float numbers, none of which may
  lie outside. Everything else is refused: 12-bit data in 16-bit files would come out nearly black.
- Of colour in 16 bits Pillow keeps the upper 8, which is right for 0 to 65,535, and refused where these are half empty.
"""

from __future__ import annotations

import io
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from raynas.errors import DataError, error_words

if TYPE_CHECKING:
    from PIL import Image

IMAGE_EXTENSIONS = (
    ".avif", ".bmp", ".dib", ".gif", ".heic", ".heif", ".jfif", ".jp2", ".jpe", ".jpeg", ".jpg", ".pbm", ".pgm", ".png",
    ".pnm", ".ppm", ".tga", ".tif", ".tiff", ".webp",
)  # fmt: skip
"""Ends of the names of images, in small letters; not every Pillow can read all of them."""

GROUND = (255, 255, 255)
"""The colour that is seen through transparent parts."""

PixelRange = tuple[float, float]


class UndeclaredDepth(DataError):
    """An image has more than 8 bits a channel, and nothing says which values are black and white.

    Args:
        text: The message.
        least: The image's smallest value.
        most: The image's largest value.
    """

    def __init__(self, text: str, least: float, most: float) -> None:
        super().__init__(text)
        self.least, self.most = least, most

    def __reduce__(self) -> tuple[type[UndeclaredDepth], tuple[str, float, float]]:
        return type(self), (str(self), self.least, self.most)  # as it travels between processes


_RUNS_A_PROGRAM = ("EPS", "WMF")  # formats for which Pillow starts Ghostscript, or asks Windows
_PLAIN = ("RGB", "L", "1", "P", "CMYK", "YCbCr", "HSV", "RGBX")
_WITH_ALPHA = ("RGBA", "LA", "PA", "RGBa", "La")
_ORIENTATION = 274  # EXIF's and TIFF's tag
_PHOTOMETRIC, _WHITE_IS_ZERO = 262, 0  # TIFF's tag, and its value where 0 is white


class Header(NamedTuple):
    """What a file says of its image before that is decoded.

    Args:
        mode: Pillow's name for the kind of pixels, such as RGB or I;16.
        size: Width and height in pixels, as stored.
        is_turned: Whether EXIF says that the image is to be turned or mirrored.
        has_alpha: Whether parts of it may be transparent.
        has_frames: Whether it has more than one frame.
    """

    mode: str
    size: tuple[int, int]
    is_turned: bool
    has_alpha: bool
    has_frames: bool


def opened_image(file: io.BytesIO | Path) -> Image.Image:
    """An image whose header is read; whatever the decoder raises on broken files is raised."""
    from PIL import Image

    return Image.open(file, formats=_formats())


@cache
def _formats() -> tuple[str, ...]:
    from PIL import Image

    Image.init()
    return tuple(name for name in Image.ID if name not in _RUNS_A_PROGRAM)


@cache
def readable_extensions() -> tuple[str, ...]:
    """Those of IMAGE_EXTENSIONS that the installed Pillow can read."""
    from PIL import Image

    formats = _formats()
    known = Image.registered_extensions()
    return tuple(end for end in IMAGE_EXTENSIONS if known.get(end) in formats)


def header_of(image: Image.Image) -> Header:
    """What is known of an image that is opened and not yet decoded."""
    return Header(
        image.mode,
        image.size,
        _orientation(image) != 1,
        image.has_transparency_data,
        bool(getattr(image, "is_animated", False)),
    )


def decoded(file: io.BytesIO | Path, where: str, pixel_range: PixelRange | None = None) -> Image.Image:
    """The image of an encoded file as RGB.

    Args:
        file: The encoded bytes, or the path of a file.
        where: Begins the message of an error, such as "data 'folder:x': image of row 3".
        pixel_range: The values that are black and white in images of more than 8 bits; None: by the file.

    Raises:
        DataError: It cannot be decoded, or nothing says which values are black and white.
    """
    try:
        with opened_image(file) as image:
            return as_rgb(image, where, pixel_range)
    except DataError:
        raise
    except Exception as error:  # Pillow's decoders raise what they like on broken files
        raise DataError(f"{where} cannot be read: {why_unreadable(error)}") from error


def why_unreadable(error: Exception) -> str:
    """Why a file cannot be read, as one line."""
    from PIL import UnidentifiedImageError

    if isinstance(error, UnidentifiedImageError):
        return "it is in no known format"  # Pillow's text for this names an object in memory
    return (error_words(error)) or type(error).__name__


def as_rgb(image: Any, where: str, pixel_range: PixelRange | None = None) -> Image.Image:
    """Any image of Pillow as RGB, upright, on white.

    Args:
        image: The image.
        where: Begins the message of an error, such as "data 'folder:x': image of row 3".
        pixel_range: The values that are black and white in images of more than 8 bits; None: by the file.

    Raises:
        DataError: It is no image, has a mode without plain colours, or nothing says what is black and white.
    """
    from PIL import Image

    if not isinstance(image, Image.Image):
        raise DataError(f"{where} is no image but {type(image).__name__}")
    declared = _declared(image)  # once it is decoded, Pillow has forgotten
    image.load()
    image = _upright(image)
    if image.mode[0] in "IF":
        return _grey_to_rgb(image, declared, where, pixel_range)
    if image.mode not in (*_PLAIN, *_WITH_ALPHA):
        raise DataError(f"{where} has the mode {image.mode}, which has no plain colours; save it as RGB")
    found = _on_ground(image)
    if declared.keeps_upper_byte:
        _check_upper_byte(found, where, pixel_range)
    return found


class _Declared(NamedTuple):
    """What a file says of the values of its pixels.

    Args:
        range: The values that are black and white; None if it says nothing of them.
        is_white_zero: Whether 0 is white.
        keeps_upper_byte: Whether there are 16 bits a channel, of which Pillow keeps 8.
        is_16_bit: Whether it is grey of 16 bits without sign, which older versions of Pillow hold in 32.
    """

    range: PixelRange | None
    is_white_zero: bool
    keeps_upper_byte: bool
    is_16_bit: bool


def _declared(image: Image.Image) -> _Declared:
    raw = " ".join(str(tile[3]) for tile in getattr(image, "tile", ()))  # the pixels' form in the file
    found: PixelRange | None = None
    if image.format in ("PPM", "JPEG2000") and image.mode[0] == "I":
        found = (0, 65_535)  # to which Pillow has scaled the declared largest value, or the precision
    elif "I;12" in raw:
        found = (0, 4_095)
    is_white_zero = getattr(image, "tag_v2", {}).get(_PHOTOMETRIC) == _WHITE_IS_ZERO
    is_16_bit = image.mode.startswith("I;16") or (image.mode == "I" and "I;16" in raw and "S" not in raw)
    return _Declared(found, is_white_zero, image.mode[0] not in "IF" and ";16" in raw, is_16_bit)


def _orientation(image: Image.Image) -> int:
    try:
        return int(image.getexif().get(_ORIENTATION, 1))
    except Exception:  # of damaged metadata; the pixels may be sound
        return 1


def _upright(image: Image.Image) -> Image.Image:
    from PIL.Image import Transpose

    turns = {
        2: Transpose.FLIP_LEFT_RIGHT, 3: Transpose.ROTATE_180, 4: Transpose.FLIP_TOP_BOTTOM, 5: Transpose.TRANSPOSE,
        6: Transpose.ROTATE_270, 7: Transpose.TRANSVERSE, 8: Transpose.ROTATE_90,
    }  # fmt: skip
    turn = turns.get(_orientation(image))
    return image if turn is None else image.transpose(turn)


def _on_ground(image: Image.Image) -> Image.Image:
    """An image of 8 bits a channel, with the ground in its place behind what is transparent."""
    from PIL import Image

    if not image.has_transparency_data:
        converted: Image.Image = image.convert("RGB")
        return converted
    if image.mode == "La":
        image = image.convert("LA")
    coloured = image.convert("RGBA")
    return Image.alpha_composite(Image.new("RGBA", image.size, (*GROUND, 255)), coloured).convert("RGB")


def _grey_to_rgb(image: Image.Image, declared: _Declared, where: str, said: PixelRange | None) -> Image.Image:
    """Grey of more than 8 bits, scaled to 8."""
    from PIL import Image

    values = np.asarray(image).astype(np.float64)
    if not np.isfinite(values).all():
        raise DataError(f"{where} has pixels that are no finite numbers")
    low, high = said or declared.range or _assumed_range(image.mode, declared.is_16_bit, values, where)
    scaled = ((values - low) * 255 / (high - low)).round().clip(0, 255).astype(np.uint8)
    if declared.is_white_zero:
        scaled = 255 - scaled
    key = image.info.get("transparency")  # of PNG: the value that is transparent
    if isinstance(key, int | float):
        scaled = np.where(values == key, np.uint8(GROUND[0]), scaled)
    return Image.fromarray(scaled).convert("RGB")


def _assumed_range(mode: str, is_16_bit: bool, values: np.ndarray, where: str) -> PixelRange:
    """The range of values that speak for themselves.

    Raises:
        DataError: They do not; the message names the option that does.
    """
    least, most = float(values.min()), float(values.max())
    if mode == "F":
        if least >= 0 and most <= 1:
            return 0, 1
        kind = "float numbers, of which 0 to 1 are read,"
    elif is_16_bit:
        if most >= 32_768:
            return 0, 65_535
        kind = "16 bits, with no depth declared,"
    else:
        kind = "32 bits"
    text = f"{where} has pixels of {kind} from {least:.6g} to {most:.6g}; {range_hint(most)}"
    raise UndeclaredDepth(text, least, most)


def range_hint(most: float) -> str:
    """How the user says what is black and white, with a likely value.

    Args:
        most: The largest value of a pixel.
    """
    bits = next((bits for bits in (8, 10, 12, 14, 16) if 1 < most < 2**bits), None)
    example = f"0,{2**bits - 1}" if bits else f"0,{most:.6g}"
    return f"say black and white by --pixel-range LOW,HIGH, such as --pixel-range {example}"


def _check_upper_byte(image: Image.Image, where: str, said: PixelRange | None) -> None:
    if said == (0, 65_535):
        return
    if said is not None:
        raise DataError(f"{where} has colours of 16 bits, where --pixel-range can be 0,65535 only; save it in 8 bits")
    brightest = int(np.asarray(image).max())
    if brightest < 128:
        raise DataError(
            f"{where} has colours of 16 bits, of which none reaches half of 65,535: save it in 8 bits, or say that it "
            "is dark by --pixel-range 0,65535"
        )
