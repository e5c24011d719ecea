"""Programs of torch.export and files of ONNX, run without raynas on several numbers and sizes of images.

Expected outputs are those of networks that are built by their spaces, whose positions raynas itself resizes.
"""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch
from test_export import training_folder

import raynas
from raynas.errors import ConfigError, RaynasError
from raynas.exporting.folder import load_export
from raynas.exporting.onnx_file import onnx_of
from raynas.exporting.program import Program, programs
from raynas.space.build import build
from raynas.space.registered import spaces

ALONE = """
import sys
for name in ("raynas", "searchspaces", "ray", "timm", "torchvision"):
    sys.modules[name] = None
from pathlib import Path
import numpy as np
import torch
torch.set_num_threads(1)
where = Path(sys.argv[1])
"""

RUN = (
    ALONE
    + """
import onnxruntime
for folder in where.iterdir():
    program = torch.export.load(folder / "out" / "model.pt2").module()
    session = onnxruntime.InferenceSession(folder / "out" / "model.onnx", providers=["CPUExecutionProvider"])
    for file in sorted(folder.glob("images-*.npy")):
        images = np.load(file)
        with torch.no_grad():
            np.save(folder / file.name.replace("images", "torch"), program(torch.from_numpy(images)).numpy())
        np.save(folder / file.name.replace("images", "onnx"), session.run(["logits"], {"images": images})[0])
"""
)


class Small(NamedTuple):
    """A small network: its space and text, the side of its images, and how others are described."""

    space: str
    text: str
    img_size: int
    sides: Any


FREE = [
    Small("vit", "p8-w24-d1-h3-m2", 32, {"multiple_of": 8, "least": 16}),
    # What is left of sides of 4 and 32 pixels before the head is one pixel, for which torch traces another graph.
    Small("resnet", "resnet20", 32, {"multiple_of": 1, "least": 8}),
    Small("timm", "resnet10t", 64, {"multiple_of": 1, "least": 64}),
]
FIXED = [
    Small("vit-relative", "p16-w48-d1-h3-m2", 32, 32),  # ONNX has no form of its fused attention
    Small("as-vit", "4,2,2|2,1,2|2,1,2|2,1,2|8,8", 32, 32),
    Small("pit-tiny", "b6-m2.5-d1,2,1-h2,2,4", 32, 32),
    Small("vit-res-nano", "16h4:2x24/24h6:1x30/40h8:2x48", 32, 32),
    Small("autoformer-tiny", "w24-m2-h2", 32, 32),
    Small("vit-elastic@p4-w48-d2-h3-m4", "p4-w42-h16:3x96,2x48", 32, 32),
]


@pytest.fixture(autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)


def exported(small: Small, where: Path) -> Path:
    """An export of a network whose weights are so large that all of it matters."""
    space, size = spaces.get(small.space), {"img_size": small.img_size, "num_classes": 5}
    architecture = space.read(small.text)
    torch.manual_seed(0)
    network = build(space, architecture, **size, **space.training).eval()
    with torch.no_grad():
        for parameter in network.parameters():
            if parameter.ndim > 1 and parameter.abs().max() < 0.1:
                parameter.normal_(0, 0.2)
    run = training_folder(where / "run", space, architecture, network, img_size=small.img_size)
    return raynas.export(run, where / "out", onnx=True, torch_export=True)


def written(small: Small, where: Path) -> tuple[Path, dict[str, np.ndarray]]:
    """An export beside images, and what the network makes of them."""
    folder = exported(small, where)
    config = json.loads((folder / "config.json").read_text())
    assert config["torch_export"]["image_size"] == config["onnx"]["image_size"] == small.sides
    side, expected = small.img_size, {}
    shapes = [(1, side), (4, side)] if small in FIXED else [(1, side), (4, side), (3, 3 * side), (2, side + 16)]
    for n, other in shapes:
        images = np.random.default_rng(n).standard_normal((n, 3, other, other)).astype(np.float32)
        np.save(where / f"images-{n}-{other}.npy", images)
        network = load_export(folder, img_size=other).model
        with torch.no_grad():
            expected[f"{n}-{other}"] = network(torch.from_numpy(images)).numpy()
    return folder, expected


def check(smalls: list[Small], tmp_path: Path) -> None:
    """All of them run in one process, which has only the files."""
    expected = {}
    for number, small in enumerate(smalls):
        where = tmp_path / str(number)
        where.mkdir()
        _, expected[where] = written(small, where)
    done = subprocess.run(
        [sys.executable, "-B", "-I", "-c", RUN, str(tmp_path)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    for where, outputs in expected.items():
        for name, output in outputs.items():
            assert output.std() > 1e-2, where
            for kind in ("torch", "onnx"):
                found = np.load(where / f"{kind}-{name}.npy")
                np.testing.assert_allclose(
                    found, output, rtol=0, atol=1e-5 * max(1, np.abs(output).max()), err_msg=f"{where} {kind} {name}"
                )


def test_a_vision_transformer_of_timms_takes_images_of_any_number_and_size(tmp_path: Path) -> None:
    check(FREE[:1], tmp_path)
    readme = " ".join((tmp_path / "0" / "out" / "README.md").read_text().split())
    assert "`model.onnx` (opset 20) takes `images` and gives `logits`, for any number of images in multiples" in readme


@pytest.mark.parametrize(
    "some", [pytest.param(FREE[1:2], marks=pytest.mark.slow), pytest.param(FREE[2:], marks=pytest.mark.long)]
)
def test_convnets_take_images_of_any_number_and_size(some: list[Small], tmp_path: Path) -> None:
    check(some, tmp_path)


@pytest.mark.parametrize(
    "some", [pytest.param(FIXED[:1], marks=pytest.mark.slow), pytest.param(FIXED[1:], marks=pytest.mark.long)]
)
def test_networks_of_one_size_take_any_number_of_images(some: list[Small], tmp_path: Path) -> None:
    check(some, tmp_path)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return exported(FREE[0], tmp_path_factory.mktemp("vit"))


def test_files_say_what_they_take_and_nothing_of_this_machine(folder: Path) -> None:
    import onnx

    model = onnx.load(folder / "model.onnx")
    (images,) = model.graph.input
    assert [one.dim_param or one.dim_value for one in images.type.tensor_type.shape.dim] == [
        "batch", 3, "height", "width"
    ]  # fmt: skip
    told = {entry.key: entry.value for entry in model.metadata_props}
    assert told["opset"] == str(next(one.version for one in model.opset_import if not one.domain))
    assert json.loads(told["mean"]) == [0.485, 0.456, 0.406]
    assert json.loads(told["img_size"]) == 32
    for name in ("model.onnx", "model.pt2"):
        content = (folder / name).read_bytes()
        assert str(Path(raynas.__file__).parent).encode() not in content
        assert str(Path(torch.__file__).parent).encode() not in content


def test_sides_that_the_network_does_not_take_are_refused_by_the_program(folder: Path) -> None:
    program: Any = torch.export.load(folder / "model.pt2").module()
    with pytest.raises((AssertionError, RuntimeError)):
        program(torch.zeros(1, 3, 36, 36))


class Tied(torch.nn.Module):
    """A network whose sum depends on the number of pixels in a way that torch.export ties to the traced one."""

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return images.mean((2, 3)) * float(np.sqrt(int(images.shape[2])))


def test_a_network_that_torch_export_ties_to_a_size_is_of_that_size() -> None:
    code = ModuleType("code")
    code.create_model = Tied  # type: ignore[attr-defined]
    first = next(programs(Tied().eval(), code, 16))
    assert first.facts() == {"batch": "any", "image_size": 16}


def test_a_file_of_onnx_with_other_outputs_is_an_error(folder: Path) -> None:
    exported = torch.export.load(folder / "model.pt2")
    other = load_export(folder).model
    with torch.no_grad():
        other.head.bias.add_(0.1)  # type: ignore[union-attr, operator]
    program = replace(Program(other, exported, 32, None, 32))
    with pytest.raises(RaynasError, match=r"outputs of the exported model\.onnx differ by 0\.1; .* is allowed"):
        onnx_of([program], {})


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"data": "digits"}, "data goes with int8"),
        ({"max_images": 3}, "max_images goes with int8"),
        ({"int8": True, "data": "digits"}, "data and untrained exclude each other"),
        ({"license": "MIT"}, "license goes with --to hub-folder"),
        ({"license": "my own licence", "to": "hub-folder"}, "license is 'my own licence'; it is an SPDX identifier"),
        ({"license": "apache2", "to": "hub-folder"}, "Did you mean 'Apache-2.0'?"),
        ({"to": "hub"}, "to: input should be 'folder' or 'hub-folder', got 'hub'"),
    ],
)
def test_settings_that_do_not_go_together_are_refused(tmp_path: Path, settings: dict[str, Any], says: str) -> None:
    with pytest.raises(ConfigError, match=says):
        raynas.export("p8-w24-d1-h3-m2", tmp_path / "out", space="vit", untrained=True, **settings)
    assert not list(tmp_path.iterdir())
