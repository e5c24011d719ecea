"""What becomes of pixels: transparency, depth, orientation and modes; expected values are computed with NumPy alone."""

from __future__ import annotations

import io
import pickle
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from toy_images import encoded, noise

from raynas.data.decoding import UndeclaredDepth, as_rgb, decoded
from raynas.data.opening import open_dataset
from raynas.data.options import DataOptions
from raynas.errors import ConfigError, DataError

RNG = np.random.default_rng(0)


def shown(image: Image.Image, form: str = "PNG", pixel_range: tuple[float, float] | None = None, **settings):
    """The pixels (H, W, 3) of an image that was saved and read."""
    return np.asarray(decoded(io.BytesIO(encoded(image, form, **settings)), "image of row 0", pixel_range)).astype(int)


def on_white(colours: np.ndarray, alpha: np.ndarray) -> np.ndarray:
    share = alpha[..., None] / 255
    return colours * share + 255 * (1 - share)


# -- transparency ----------------------------------------------------------------------------------------------------


def test_what_is_transparent_shows_white() -> None:
    colours, alpha = noise(0), RNG.integers(0, 256, (9, 12), dtype=np.uint8)
    image = Image.fromarray(np.dstack([colours, alpha]))
    expected = on_white(colours, alpha)
    np.testing.assert_allclose(shown(image), expected, atol=1)
    np.testing.assert_allclose(shown(image, "WEBP", lossless=True, exact=True), expected, atol=1)
    np.testing.assert_allclose(shown(image, "TIFF"), expected, atol=1)
    grey = Image.merge("LA", [Image.fromarray(colours[..., 0]), Image.fromarray(alpha)])
    np.testing.assert_allclose(shown(grey), on_white(np.dstack([colours[..., 0]] * 3), alpha), atol=1)


def test_black_shapes_on_clear_ground_differ() -> None:
    shapes = []
    for rows in (slice(0, 4), slice(5, 9)):
        pixels = np.zeros((9, 12, 4), np.uint8)
        pixels[rows, :, 3] = 255
        shapes.append(shown(Image.fromarray(pixels)))
        assert set(np.unique(shapes[-1])) == {0, 255}
        assert (shapes[-1][rows] == 0).all()
    assert not np.array_equal(*shapes)


@pytest.mark.parametrize("in_bytes", [True, False])
def test_transparent_entries_of_a_palette_show_white(in_bytes: bool) -> None:
    numbers = RNG.integers(0, 4, (9, 12), dtype=np.uint8)
    palette = np.array([[10, 20, 30], [200, 0, 0], [0, 200, 0], [0, 0, 200]])
    image = Image.fromarray(numbers).convert("L")
    image.putpalette(palette.astype(np.uint8).tobytes())
    assert image.mode == "P"
    alpha = np.array([255, 0, 128, 255]) if in_bytes else np.array([255, 0, 255, 255])
    found = shown(image, transparency=bytes(alpha.tolist()) if in_bytes else 1)
    np.testing.assert_allclose(found, on_white(palette[numbers], alpha[numbers]), atol=1)


@pytest.mark.parametrize("mode", ["L", "RGB", "I;16"])
def test_a_transparent_colour_shows_white(mode: str) -> None:
    """A PNG may name one colour as transparent, beside the pixels."""
    if mode == "I;16":
        values = RNG.integers(30_000, 65_536, (9, 12)).astype(np.uint16)
        values[0] = 40_000
        found = shown(Image.fromarray(values), transparency=40_000)
        expected = np.where(values == 40_000, 255, np.round(values / 257))
        np.testing.assert_array_equal(found[..., 0], expected)
        return
    colours = noise(1)
    colours[0] = (1, 2, 3)
    image = Image.fromarray(colours) if mode == "RGB" else Image.fromarray(colours[..., 0])
    found = shown(image, transparency=(1, 2, 3) if mode == "RGB" else 1)
    assert (found[0] == 255).all()
    rest = colours[1:] if mode == "RGB" else np.dstack([colours[1:, :, 0]] * 3)
    np.testing.assert_array_equal(found[1:], np.where(rest == 1, 255, rest) if mode == "L" else rest)


@pytest.mark.parametrize("mode", ["PA", "La", "RGBa"])
def test_rarer_modes_with_alpha(mode: str) -> None:
    alpha = np.full((9, 12), 255, np.uint8)
    alpha[3:] = 0
    base = Image.fromarray(np.dstack([np.full((9, 12, 3), 90, np.uint8), alpha]))
    image = base.convert("LA").convert("La") if mode == "La" else base.convert(mode)
    found = np.asarray(as_rgb(image, "it")).astype(int)
    assert (found[3:] == 255).all()
    np.testing.assert_allclose(found[:3], 90, atol=3)


# -- depth -----------------------------------------------------------------------------------------------------------


def sixteen_bits(most: int) -> np.ndarray:
    values = RNG.integers(0, most, (9, 12)).astype(np.uint16)
    values[0, 0] = most
    return values


@pytest.mark.parametrize("form", ["PNG", "TIFF", "PPM"])
def test_sixteen_bits_that_are_used_to_the_full(form: str) -> None:
    values = sixteen_bits(65_535)
    found = shown(Image.fromarray(values), form)
    np.testing.assert_array_equal(found, np.dstack([np.round(values / 257)] * 3))


@pytest.mark.parametrize("bits", [8, 10, 12, 14, 15])
@pytest.mark.parametrize("form", ["PNG", "TIFF"])
def test_fewer_bits_in_files_of_sixteen_are_refused_until_the_range_is_said(bits: int, form: str) -> None:
    values = sixteen_bits(2**bits - 1)
    with pytest.raises(UndeclaredDepth, match=rf"16 bits.*to {2**bits - 1}; say .*--pixel-range 0,\d+") as refused:
        shown(Image.fromarray(values), form)
    assert refused.value.most == 2**bits - 1
    again = pickle.loads(pickle.dumps(refused.value))
    assert (str(again), again.most) == (str(refused.value), refused.value.most)
    found = shown(Image.fromarray(values), form, (0, 2**bits - 1))
    np.testing.assert_array_equal(found[..., 0], np.round(values.astype(float) * 255 / (2**bits - 1)))


def test_values_beyond_the_said_range_are_cut() -> None:
    values = np.array([[0, 100, 150, 200, 60_000]], np.uint16)
    found = shown(Image.fromarray(values), pixel_range=(100, 200))
    assert found[0, :, 0].tolist() == [0, 0, 128, 255, 255]


def test_a_declared_depth_is_taken(tmp_path: Path) -> None:
    """A PGM says its largest value, and a TIFF may have samples of 12 bits."""
    values = sixteen_bits(1023)
    pgm = b"P5 12 9 1023\n" + values.astype(">u2").tobytes()
    found = np.asarray(decoded(io.BytesIO(pgm), "it"))[..., 0]
    np.testing.assert_allclose(found, values.astype(float) * 255 / 1023, atol=1)


def test_a_tiff_in_which_zero_is_white_is_turned_round() -> None:
    values = sixteen_bits(65_535)
    content = bytearray(encoded(Image.fromarray(values), "TIFF"))
    entry = content.index(struct.pack("<HHII", 262, 3, 1, 1))
    content[entry : entry + 12] = struct.pack("<HHII", 262, 3, 1, 0)
    found = np.asarray(decoded(io.BytesIO(bytes(content)), "it"))[..., 0]
    np.testing.assert_array_equal(found, 255 - np.round(values / 257))


def test_float_numbers_from_0_to_1() -> None:
    values = RNG.random((9, 12)).astype(np.float32)
    np.testing.assert_allclose(shown(Image.fromarray(values), "TIFF")[..., 0], values * 255, atol=0.51)
    with pytest.raises(UndeclaredDepth, match=r"float numbers.*say black and white by --pixel-range"):
        shown(Image.fromarray(values * 3), "TIFF")
    with pytest.raises(UndeclaredDepth, match="float numbers"):
        shown(Image.fromarray(values - 0.5), "TIFF")
    found = shown(Image.fromarray(values * 1000 - 500), "TIFF", (-500, 500))
    np.testing.assert_allclose(found[..., 0], values * 255, atol=0.51)
    values[0, 0] = np.nan
    for said in (None, (0.0, 1.0)):
        with pytest.raises(DataError, match="no finite numbers"):
            shown(Image.fromarray(values), "TIFF", said)


def test_integers_of_32_bits_need_a_range() -> None:
    values = RNG.integers(0, 70_000, (9, 12)).astype(np.int32)
    with pytest.raises(UndeclaredDepth, match=r"32 bits.*--pixel-range"):
        shown(Image.fromarray(values), "TIFF")
    found = shown(Image.fromarray(values), "TIFF", (0, 70_000))
    np.testing.assert_allclose(found[..., 0], values * 255 / 70_000, atol=0.51)


def png_of_16_bit_colours(values: np.ndarray) -> bytes:
    """A PNG by its definition, of colours (H, W, 3) of 16 bits, which Pillow does not write."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    height, width, _ = values.shape
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in values)
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 16, 2, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


def test_colours_of_16_bits_are_right_or_refused() -> None:
    values = RNG.integers(0, 65_536, (9, 12, 3))
    found = np.asarray(decoded(io.BytesIO(png_of_16_bit_colours(values)), "it"))
    np.testing.assert_allclose(found, values / 257, atol=1)
    dark = png_of_16_bit_colours(values // 16)  # 12 bits
    with pytest.raises(DataError, match="colours of 16 bits, of which none reaches half of 65,535"):
        decoded(io.BytesIO(dark), "it")
    np.testing.assert_allclose(np.asarray(decoded(io.BytesIO(dark), "it", (0, 65_535))), values / 16 / 257, atol=1)
    with pytest.raises(DataError, match="--pixel-range can be 0,65535 only"):
        decoded(io.BytesIO(dark), "it", (0, 4095))


@pytest.mark.parametrize("said", ["0", "0,a", "5,5", "9,1", "0,1,2"])
def test_a_range_is_two_ascending_numbers(said: str) -> None:
    with pytest.raises(ConfigError, match="pixel_range"):
        DataOptions.make({"pixel_range": said})


def test_the_option_reaches_every_form(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    values = sixteen_bits(4095)
    Image.fromarray(values).save(tmp_path / "a" / "1.png")
    for spec in (f"folder:{tmp_path}", f"torchvision:ImageFolder:{tmp_path}"):
        with pytest.raises(UndeclaredDepth, match="--pixel-range 0,4095"):
            open_dataset(spec).read([0])
        (image,), _ = open_dataset(spec, DataOptions.make({"pixel_range": "0,4095"})).read([0])
        np.testing.assert_array_equal(np.asarray(image)[..., 0], np.round(values.astype(float) * 255 / 4095))


# -- orientation, modes ----------------------------------------------------------------------------------------------

UPRIGHT = {
    1: lambda stored: stored,
    2: np.fliplr,
    3: lambda stored: np.rot90(stored, 2),
    4: np.flipud,
    5: lambda stored: stored.transpose(1, 0, 2),
    6: lambda stored: np.rot90(stored, -1),
    7: lambda stored: np.rot90(stored, 2).transpose(1, 0, 2),
    8: lambda stored: np.rot90(stored),
}
"""By EXIF's numbers, what makes the stored pixels (H, W, 3) upright."""


@pytest.mark.parametrize("orientation", UPRIGHT)
@pytest.mark.parametrize("form", ["PNG", "TIFF", "WEBP"])
def test_orientation_is_applied(orientation: int, form: str) -> None:
    exif = Image.Exif()
    exif[274] = orientation
    settings = {"exif": exif} | ({"lossless": True, "quality": 100} if form == "WEBP" else {})
    found = shown(Image.fromarray(noise(2)), form, **settings)
    np.testing.assert_array_equal(found, UPRIGHT[orientation](noise(2)))


def test_damaged_exif_leaves_an_image_as_it_is() -> None:
    found = shown(Image.fromarray(noise(2)), exif=b"Exif\0\0 no TIFF at all")
    np.testing.assert_array_equal(found, noise(2))


@pytest.mark.parametrize("mode", ["1", "L", "P", "RGB", "RGBX", "RGBA", "CMYK", "YCbCr", "HSV", "LA", "PA", "RGBa"])
def test_modes_keep_what_is_seen(mode: str) -> None:
    grey = np.tile(np.linspace(0, 255, 16).astype(np.uint8), (16, 1))
    image = Image.fromarray(np.dstack([grey] * 3))
    if mode == "1":
        image = Image.fromarray(np.dstack([np.where(grey > 127, 255, 0).astype(np.uint8)] * 3))
    source = np.asarray(image).astype(int)
    made = image.quantize(16) if mode == "P" else image.convert("RGBA").convert(mode)
    np.testing.assert_allclose(np.asarray(as_rgb(made, "it")).astype(int), source, atol=3)


def test_a_mode_without_plain_colours_is_refused() -> None:
    with pytest.raises(DataError, match="image of row 3 has the mode LAB, which has no plain colours; save it as RGB"):
        as_rgb(Image.new("LAB", (4, 4)), "image of row 3")


@pytest.mark.parametrize("mode", ["I;16", "I;16L", "I;16B", "I;16N"])
def test_sixteen_bits_in_any_order_of_bytes(mode: str) -> None:
    image = Image.new(mode, (4, 3), 51_400)
    np.testing.assert_array_equal(np.asarray(as_rgb(image, "it")), 200)


def test_of_an_animation_the_first_frame_is_taken() -> None:
    frames = [Image.new("RGB", (8, 8), colour) for colour in ("red", "blue")]
    found = shown(frames[0], "GIF", save_all=True, append_images=frames[1:])
    np.testing.assert_array_equal(found, np.asarray(frames[0]))


def test_no_format_that_runs_a_program_is_opened() -> None:
    """Pillow hands EPS to Ghostscript; an image's name says nothing of what it is."""
    content = encoded(Image.fromarray(noise(0)), "EPS")
    with pytest.raises(DataError, match="it is in no known format"):
        decoded(io.BytesIO(content), "it")
