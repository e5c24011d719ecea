"""Exports of every family are used as timm's own networks are; the checks are in `timm_checks`."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
import textwrap
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

import raynas
from raynas.exporting.folder import load_export
from raynas.exporting.weights import stored_weights, tied_parameters, values_hash
from raynas.models.plain_code import PlainCode
from raynas.space.architecture import Architecture
from raynas.space.build import build
from raynas.space.registered import spaces
from raynas.space.search_space import Choice, SearchSpace

CHECKS = Path(__file__).with_name("timm_checks.py")

VIT, PLAIN = spaces.get("vit"), "p8-w24-d3-h3-m2"


# Space, architecture, image side.
CITIZENS: dict[str, tuple[SearchSpace, str, int]] = {
    "as-vit": (spaces.get("as-vit"), "7,7,2|3,4,1,2|4,2,1|4,1,1,2|32,12", 64),
    "autoformer": (spaces.get("autoformer-tiny"), "w48-m4,3.5,4-h3,4,3", 32),
    "autoformer-plain": (spaces.get("autoformer-tiny-plain"), "w48-m4,3.5,4-h3,4,3", 32),
    "pit": (spaces.get("pit-tiny"), "b16-m2-d1,2,2-h2,2,2", 32),
    "resnet": (spaces.get("resnet"), "resnet14-w8", 32),
    "vit": (VIT, PLAIN, 32),
    "vit-elastic": (spaces.get("vit-elastic@p8-w48-d4-h3-m4"), "p8-w32-h16:2x64,0,3x48,1x32", 32),
    "vit-mean": (replace(VIT, training={"pool": "mean"}), PLAIN, 32),
    "vit-relative": (spaces.get("vit-relative"), "p8-w24-d3-h3-m2", 32),
    "vit-res": (spaces.get("vit-res-nano"), "16h4:2x24,3x16/24h6:1x30,0/40h8:2x48,3x40", 32),
    "vit-two-heads": (replace(VIT, training={"pool": "both"}), PLAIN, 32),
    "timm-resnet": (spaces.get("timm"), "test_resnet", 64),
    "timm-vit": (spaces.get("timm"), "test_vit", 32),
}
NAMES = [
    "pretrained_logits_are_those_of_the_network", "default_cfg", "heads", "gradients", "features", "intermediates",
    "pruning", "checkpointing", "channels", "another_side", "wrong_side", "odd_batches", "stochastic_depth",
    "groups", "pickles",
]  # fmt: skip


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An export of each, with images and what the network in raynas says of them."""
    torch.set_num_threads(1)
    where = tmp_path_factory.mktemp("exports") / "all"
    for name, (space, text, size) in CITIZENS.items():
        settings = {"untrained": True, "img_size": size, "num_classes": 5}
        made = raynas.export(dict(space.read(text)), where / name, space=space, **settings)
        images = torch.randn(3, 3, size, size, generator=torch.Generator().manual_seed(0))
        with torch.no_grad():
            torch.save((images, load_export(made, space=space).model(images)), made / "expected.pt")
    return where


@pytest.fixture(scope="module")
def outcomes(folder: Path) -> dict[tuple[str, str], str]:
    """What went wrong, by export and check, all in one process that cannot import raynas."""
    command = [sys.executable, "-B", "-I", str(CHECKS), str(folder)]
    done = subprocess.run(command, cwd="/", capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    return {(line["export"], line["check"]): line["wrong"] for line in lines}


@pytest.mark.parametrize("check", NAMES)
@pytest.mark.parametrize("name", CITIZENS)
def test_an_export_does_what_timms_networks_do(name: str, check: str, outcomes: dict[tuple[str, str], str]) -> None:
    assert not outcomes[name, check], outcomes[name, check]


def test_every_check_ran_on_every_export(outcomes: dict[tuple[str, str], str]) -> None:
    assert {*outcomes} == {(name, check) for name in CITIZENS for check in NAMES}


@pytest.mark.parametrize("name", [name for name, (space, *_) in CITIZENS.items() if space.name != "timm"])
def test_networks_in_raynas_do_so_too(name: str) -> None:
    space, text, size = CITIZENS[name]
    torch.manual_seed(0)
    architecture, settings = space.read(text), {"num_classes": 5, "in_chans": 4, **space.training}
    model: Any = build(space, architecture, img_size=size, **settings).eval()
    images = torch.randn(2, 4, size, size)
    assert model.default_cfg["input_size"] == (4, size, size)
    with torch.no_grad():
        features, logits = model.forward_features(images), model(images)
        assert torch.equal(model.forward_head(features), logits)
        final, found = model.forward_intermediates(images)
        assert torch.equal(final, features)
        assert [one.shape[1] for one in found] == [one["num_chs"] for one in model.feature_info]
        model.set_grad_checkpointing()
        model.reset_classifier(0)
        pooled = model(images)
        assert pooled.shape == (2, model.num_features)
        torch.testing.assert_close(pooled, model.forward_head(features, pre_logits=True))
        model.reset_classifier(3)
        assert model(images).shape == (2, 3)


# -- the README --------------------------------------------------------------------------------------------------------


def readme_programs(folder: Path) -> list[str]:
    """What the README shows of timm."""
    text = (folder / "README.md").read_text().partition("## With timm")[2]
    found = re.findall(r"(?:^    .*\n|^\n)+", text, re.MULTILINE)
    return [textwrap.dedent(one) for one in found if "import timm" in one]


def test_what_the_readme_shows_of_timm_runs_as_it_stands(folder: Path, tmp_path: Path) -> None:
    names = ["as-vit", "pit", "resnet", "timm-resnet", "vit"]
    shutil.copytree(folder / "vit-res", tmp_path / "other")
    for name in names:
        shutil.copytree(folder / name, tmp_path / name)
        for kind in ("cat", "dog"):
            (tmp_path / name / "photos" / kind).mkdir(parents=True)
            for i in range(2):
                pixels = np.random.default_rng(i).integers(0, 256, (70, 50, 3), dtype=np.uint8)
                Image.fromarray(pixels).save(tmp_path / name / "photos" / kind / f"{i}.png")
    programs = {name: readme_programs(tmp_path / name) for name in names}
    assert {len(found) for found in programs.values()} == {5}
    script = f"""
import os, sys
sys.modules.update(raynas=None, searchspaces=None)
for name, programs in {programs!r}.items():
    os.chdir(os.path.join({str(tmp_path)!r}, name))
    sys.path[0] = os.getcwd()
    sys.modules.pop("timm_model", None)
    for program in programs:
        exec(program, {{}})
"""
    done = subprocess.run([sys.executable, "-B", "-c", script], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("epoch 2: loss") == len(names)


# -- names -------------------------------------------------------------------------------------------------------------


def test_other_weights_have_another_name_and_equal_ones_the_same(tmp_path: Path) -> None:
    size = {"untrained": True, "img_size": 32, "num_classes": 3}
    made = [raynas.export(PLAIN, tmp_path / str(i), seed=seed, **size) for i, seed in enumerate((0, 0, 1))]
    first, again, other = (json.loads((one / "config.json").read_text())["name"] for one in made)
    assert first == again != other
    assert first.rpartition("_")[0] == other.rpartition("_")[0] == f"raynas_vit_{VIT.read(PLAIN).key[:8]}"


def test_a_name_that_timm_has_is_not_taken(folder: Path, tmp_path: Path) -> None:
    name = json.loads((folder / "vit" / "config.json").read_text())["name"]
    script = f"""
import runpy, timm
from timm.models import register_model
def taken(pretrained=False, **kwargs): return "theirs"
taken.__name__ = {name!r}
register_model(taken)
try:
    runpy.run_path({str(folder / "vit" / "timm_model.py")!r})
except ImportError as error:
    print(error)
print(timm.models.model_entrypoint({name!r})())
"""
    done = subprocess.run([sys.executable, "-B", "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines() == [f"timm has another model of the name {name}", "theirs"]


def test_a_hash_of_weights_knows_names_shapes_types_and_values() -> None:
    one = {"a": torch.arange(6.0), "b": torch.tensor(3)}
    others = [
        {"a": torch.arange(6.0), "c": torch.tensor(3)},
        {"a": torch.arange(6.0).reshape(2, 3), "b": torch.tensor(3)},
        {"a": torch.arange(6.0), "b": torch.tensor(3, dtype=torch.int32)},
        {"a": torch.arange(6.0).bfloat16(), "b": torch.tensor(3)},
        {"a": torch.arange(6.0).flip(0), "b": torch.tensor(3)},
    ]
    hashes = {values_hash(weights) for weights in (one, *others)}
    assert len(hashes) == 6
    assert values_hash(dict(reversed(one.items()))) == values_hash(one)
    assert values_hash({"a": torch.arange(12.0)[::2] / 2, "b": torch.tensor(3)}) == values_hash(one)


# -- tied weights ------------------------------------------------------------------------------------------------------

TIED = '''"""Two layers, of which nothing here says that they are one."""

import torch
from torch import nn


class TwoLayers(nn.Module):
    def __init__(self, width: int, num_classes: int, img_size: int) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(3, width, bias=False), nn.Linear(3, width, bias=False)
        self.head = nn.Linear(width, num_classes)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = x.mean((2, 3))
        return self.head(self.first(x) + self.second(x).tanh())
'''


def tied(architecture: Architecture, *, img_size: int, num_classes: int) -> nn.Module:
    made: dict[str, Any] = {}
    exec(TIED, made)
    settings = {"width": architecture["width"], "num_classes": num_classes, "img_size": img_size}
    model: nn.Module = made["TwoLayers"](**settings)
    model.second.weight = model.first.weight  # type: ignore[assignment, union-attr]
    code = PlainCode(TIED, "TwoLayers", settings, classifier="head")
    model.plain_code = lambda: code  # type: ignore[assignment]
    return model


def test_tied_weights_are_stored_and_loaded_tied(tmp_path: Path) -> None:
    space = SearchSpace("tied", {"width": Choice(4)}, tied)
    size = {"img_size": 8, "num_classes": 3}
    made = raynas.export({"width": 4}, tmp_path / "out", space=space, untrained=True, seed=2, **size)
    torch.manual_seed(2)
    expected = build(space, space.read({"width": 4}), **size).eval()
    script = f"""
import sys
sys.path.insert(0, {str(made)!r})
import model, timm, timm_model, torch
for found in (model.load(), timm.create_model(timm_model.NAME, pretrained=True)):
    assert found.first.weight is found.second.weight
    assert sum(one.numel() for one in found.parameters()) == 12 + 15
torch.save(found(torch.ones(1, 3, 8, 8)), {str(tmp_path / "logits.pt")!r})
"""
    done = subprocess.run([sys.executable, "-B", "-c", script], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    torch.testing.assert_close(torch.load(tmp_path / "logits.pt"), expected(torch.ones(1, 3, 8, 8)))


def test_weights_are_stored_whole_and_apart() -> None:
    model = tied(Architecture({"width": 4}), img_size=8, num_classes=3)
    whole = torch.arange(40.0)
    model.register_buffer("part", whole[10:20])
    model.register_buffer("across", whole.reshape(8, 5).T)
    found = stored_weights(model)
    assert tied_parameters(model) == {"second.weight": "first.weight"}
    assert len({value.untyped_storage().data_ptr() for value in found.values()}) == len(found)
    assert all(value.untyped_storage().nbytes() == value.nbytes for value in found.values())
    assert all(torch.equal(value, model.state_dict()[name]) for name, value in found.items())


# -- exports of before -------------------------------------------------------------------------------------------------


def test_an_export_with_the_fields_under_their_old_name_is_read(folder: Path, tmp_path: Path) -> None:
    old = tmp_path / "old"
    shutil.copytree(folder / "vit", old)
    config = json.loads((old / "config.json").read_text())
    config["architecture"] = config.pop("fields")
    for name in ("pretrained_cfg", "features"):
        del config[name]
    (old / "config.json").write_text(json.dumps(config))
    images, expected = torch.load(old / "expected.pt")
    with torch.no_grad():
        torch.testing.assert_close(load_export(old).model(images), expected)
