"""Images of every mode, prepared in a process without raynas by what an export holds, as raynas prepares them."""

from __future__ import annotations

import io
import json
import re
import struct
import subprocess
import sys
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from toy_images import encoded, noise, png
from toy_trainings import trained

import raynas
from raynas.data.decoding import decoded
from raynas.errors import DataError
from raynas.exporting.plain_images import fitted
from raynas.models.normalisation import IMAGENET_MEAN, IMAGENET_STD
from raynas.training.folder import load_training
from raynas.training.images import eval_transform, shorter_side

SIZE = (40, 29)
RNG = np.random.default_rng(0)
GREY = RNG.integers(0, 2**16, SIZE[::-1]).astype(np.uint16)
COLOURS = noise(0, SIZE)
CLEAR = np.dstack([COLOURS, RNG.integers(0, 256, SIZE[::-1], dtype=np.uint8)])


def turned(form: str, orientation: int) -> bytes:
    exif = Image.Exif()
    exif[274] = orientation
    return encoded(Image.fromarray(COLOURS), form, exif=exif)


def white_is_zero() -> bytes:
    content = bytearray(encoded(Image.fromarray(GREY), "TIFF"))
    entry = content.index(struct.pack("<HHII", 262, 3, 1, 1))
    content[entry : entry + 12] = struct.pack("<HHII", 262, 3, 1, 0)
    return bytes(content)


def png_of_16_bit_colours(values: np.ndarray) -> bytes:
    """A PNG of colours (H, W, 3) of 16 bits, which Pillow does not write."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    header = chunk(b"IHDR", struct.pack(">IIBBBBB", *SIZE, 16, 2, 0, 0, 0))
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in values)
    return b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


def files() -> dict[str, bytes]:
    """Encoded images by name: modes, transparency, orientations, depths, frames, and what is refused."""
    rgb, rgba = Image.fromarray(COLOURS), Image.fromarray(CLEAR)
    floats = RNG.random(SIZE[::-1]).astype(np.float32)
    palette = rgb.quantize(16)
    found = {
        f"{mode}.{form.lower()}": encoded(rgba.convert("LA" if mode == "LA" else mode), form)
        for form, modes in (
            ("PNG", ("1", "L", "P", "RGB", "RGBA", "LA")),
            ("TIFF", ("1", "L", "P", "RGB", "RGBA", "CMYK")),
            ("JPEG", ("L", "RGB", "CMYK")),
            ("WEBP", ("RGB", "RGBA")),
        )
        for mode in modes
    }
    found |= {f"turned-{i}.{form.lower()}": turned(form, i) for i in range(1, 9) for form in ("PNG", "JPEG", "TIFF")}
    return found | {
        "damaged-exif.png": encoded(rgb, exif=b"Exif\0\0 no TIFF at all"),
        "palette-bytes.png": encoded(palette, transparency=bytes(range(0, 256, 16))),
        "palette-entry.png": encoded(palette, transparency=1),
        "key-grey.png": encoded(Image.fromarray(COLOURS[..., 0]), transparency=int(COLOURS[0, 0, 0])),
        "key-colour.png": encoded(rgb, transparency=tuple(COLOURS[0, 0].tolist())),
        "key-16.png": encoded(Image.fromarray(GREY), transparency=int(GREY[0, 0])),
        "frames.gif": encoded(rgb, "GIF", save_all=True, append_images=[Image.fromarray(noise(1, SIZE))]),
        "16.png": encoded(Image.fromarray(GREY)),
        "16.tiff": encoded(Image.fromarray(GREY), "TIFF"),
        "16.pgm": b"P5 40 29 1023\n" + (GREY // 64).astype(">u2").tobytes(),
        "white-is-zero.tiff": white_is_zero(),
        "12.png": encoded(Image.fromarray(GREY // 16)),
        "12.tiff": encoded(Image.fromarray(GREY // 16), "TIFF"),
        "32.tiff": encoded(Image.fromarray(GREY.astype(np.int32)), "TIFF"),
        "floats.tiff": encoded(Image.fromarray(floats), "TIFF"),
        "wide-floats.tiff": encoded(Image.fromarray(floats * 3000), "TIFF"),
        "not-finite.tiff": encoded(Image.fromarray(np.where(floats < 0.1, np.float32(np.nan), floats)), "TIFF"),
        "colour-16.png": png_of_16_bit_colours(np.dstack([GREY] * 3)),
        "dark-colour-16.png": png_of_16_bit_colours(np.dstack([GREY // 16] * 3)),
        "colour-16.ppm": b"P6 40 29 65535\n" + np.repeat(GREY, 3).astype(">u2").tobytes(),
        "lab.tiff": encoded(Image.new("LAB", SIZE), "TIFF"),
    }


def alone(folder: Path, script: str, *given: str) -> str:
    """Run a script in an exported folder, in a process in which there is neither raynas nor timm."""
    absent = (
        "import sys\n"
        "for name in ('raynas', 'searchspaces', 'timm', 'ray', 'torchvision'): sys.modules[name] = None\n"
        f"sys.path.insert(0, {str(folder)!r})\n"
    )
    done = subprocess.run(
        [sys.executable, "-B", "-I", "-c", absent + script, *given],
        cwd=folder, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str | None], tuple[Path, Path]]:
    """A training with what was said of black and white, and its export."""
    found: dict[str | None, tuple[Path, Path]] = {}

    def make(said: str | None) -> tuple[Path, Path]:
        if said not in found:
            where = tmp_path_factory.mktemp("run")
            for name in ("cat", "dog"):
                (where / "data" / name).mkdir(parents=True)
                for number in range(4):
                    (where / "data" / name / f"{number}.png").write_bytes(png(number))
            settings = {"data": f"folder:{where / 'data'}", "epochs": 1, "batch_size": 2, "max_images": None}
            trained(where / "run", **settings, pixel_range=said)
            found[said] = where / "run", raynas.export(where / "run", where / "export")
        return found[said]

    return make


@pytest.mark.parametrize("said", [None, "0,4095", "0,65535", "-1000,400"])
def test_images_are_prepared_as_raynas_does(
    said: str | None, made: Callable[[str | None], tuple[Path, Path]], tmp_path: Path
) -> None:
    run, folder = made(said)
    images, expected = files(), {}
    bounds = None if said is None else tuple(map(float, said.split(",")))
    for name, content in images.items():
        (tmp_path / name).write_bytes(content)
        try:
            expected[name] = eval_transform(32)(decoded(io.BytesIO(content), name, bounds))
        except DataError:
            expected[name] = None
    refused = sorted(name for name, tensor in expected.items() if tensor is None)
    assert {"lab.tiff", "not-finite.tiff"} <= set(refused)
    assert len(refused) < len(images) / 2
    script = """
import torch, model, images
from pathlib import Path
here, (_, *names) = Path(sys.argv[1]), sys.argv[1:]
network, found = model.load(), {}
for name in names:
    try:
        found[name] = images.load_image(here / name)
    except ValueError as error:
        found[name] = None
read = [tensor for tensor in found.values() if tensor is not None]
with torch.no_grad():
    torch.save((found, network(torch.stack(read))), here / "found.pt")
"""
    alone(folder, script, str(tmp_path), *images)
    found, logits = torch.load(tmp_path / "found.pt")
    for name, tensor in expected.items():
        assert (found[name] is None) == (tensor is None), name
        if tensor is not None:
            assert found[name].shape == tensor.shape == (3, 32, 32)
            torch.testing.assert_close(found[name], tensor, rtol=0, atol=1e-6, msg=name)
    with torch.no_grad():
        batch = torch.stack([tensor for tensor in expected.values() if tensor is not None])
        torch.testing.assert_close(logits, load_training(run).model()(batch), rtol=0, atol=1e-5)


def test_the_configuration_says_how_images_are_prepared(made: Callable[[str | None], tuple[Path, Path]]) -> None:
    for said, bounds in ((None, None), ("0,4095", [0, 4095])):
        assert json.loads((made(said)[1] / "config.json").read_text())["preprocessing"] == {
            "frame": 0,
            "exif_orientation": "applied",
            "ground": [255, 255, 255],
            "pixel_range": bounds,
            "undeclared_depth": "refused",
            "resize": "squash",
            "shorter_side": None,
            "interpolation": "bicubic",
            "divided_by": 255,
        }
    readme = " ".join((made("0,4095")[1] / "README.md").read_text().split())
    for words in ("EXIF", "transparent", "(255, 255, 255)", "0 is black and 4095 is white", "squeezed to 32 x 32"):
        assert words in readme


@pytest.mark.parametrize("eval_crop", [1.0, 0.875, 0.9, 0.3])
@pytest.mark.parametrize("size", [(40, 29), (29, 40), (33, 33), (101, 7), (1, 5)])
def test_an_export_cuts_out_what_the_training_did(size: tuple[int, int], eval_crop: float) -> None:
    image = Image.fromarray(noise(1, size))
    pixels = np.asarray(fitted(image, 32, shorter_side(32, eval_crop)), np.float32) / 255
    expected = eval_transform(32, eval_crop)(image).numpy()
    normalised = (pixels - np.array(IMAGENET_MEAN)) / np.array(IMAGENET_STD)
    np.testing.assert_allclose(normalised.transpose(2, 0, 1), expected, rtol=0, atol=1e-6)


@pytest.mark.slow
def test_images_of_a_training_with_a_crop_are_prepared_as_it_did(tmp_path: Path) -> None:
    trained(tmp_path / "run", epochs=1, max_images=64, eval_crop=0.875)
    folder = raynas.export(tmp_path / "run", tmp_path / "export")
    image = Image.fromarray(COLOURS)
    image.save(tmp_path / "photo.png")
    script = """
import torch, images
torch.save(images.load_image("../photo.png"), "../found.pt")
"""
    alone(folder, script)
    with_timm = """
import timm, timm_model, torch
from PIL import Image
data = timm.data.resolve_data_config({}, model=timm.create_model(timm_model.NAME))
torch.save(timm.data.create_transform(**data)(Image.open("../photo.png")), "../timm.pt")
"""
    subprocess.run([sys.executable, "-B", "-c", with_timm], cwd=folder, check=True, capture_output=True)
    for name in ("found.pt", "timm.pt"):
        found = torch.load(tmp_path / name)
        torch.testing.assert_close(found, eval_transform(32, 0.875)(image), rtol=0, atol=1e-6)
    rules = json.loads((folder / "config.json").read_text())["preprocessing"]
    assert (rules["resize"], rules["shorter_side"]) == ("shorter_side", 37)  # 32 / 0.875 = 36.6
    assert "resized to a shorter side of 37 pixels" in " ".join((folder / "README.md").read_text().split())


@pytest.mark.parametrize("has_names", [True, False])
def test_the_example_of_the_readme_runs_as_it_stands(
    has_names: bool, made: Callable[[str | None], tuple[Path, Path]], tmp_path: Path
) -> None:
    if has_names:
        folder, known = made(None)[1], ("cat", "dog")
    else:
        size = {"img_size": 32, "num_classes": 2}
        folder, known = raynas.export("as-vit-small", tmp_path / "fresh", untrained=True, **size), ("0", "1")
    example = re.findall(r"(?:^    .*\n|^\n)+", (folder / "README.md").read_text(), re.MULTILINE)
    (code,) = (text for text in example if "load_image" in text)
    (tmp_path / "photo.png").write_bytes(png(0))
    script = "import os\n" + f"os.symlink({str(tmp_path / 'photo.png')!r}, 'photo.png')\n"
    name, share = alone(folder, script + "".join(line[4:] + "\n" for line in code.splitlines())).split()
    (folder / "photo.png").unlink()
    assert name in known
    assert 0.5 <= float(share) <= 1
