"""The vision transformer with biases of relative positions: published counts, weights of the plain one, export."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from toy_trainings import trained

import raynas
from raynas.exporting.folder import load_export
from raynas.space.build import build
from raynas.space.cost import cost
from raynas.space.registered import spaces
from raynas.storage.sources import read_source
from raynas.training.folder import load_training
from raynas.training.run import TrainingListener
from raynas.training.starting_weights import fitted_weights

VIT, RELATIVE = spaces.get("vit"), spaces.get("vit-relative")


def test_vit_tiny_has_its_published_number_of_parameters() -> None:
    architecture = RELATIVE.read("mae-lite-tiny" if "mae-lite-tiny" in RELATIVE.named else "p16-w192-d12-h12-m4")
    model = build(RELATIVE, architecture, device="meta")
    assert sum(parameter.numel() for parameter in model.parameters()) == 5_820_520
    assert cost(RELATIVE, architecture, "num_params", img_size=224, num_classes=1000) == 5_820_520
    assert 5_820_520 + 12 * 192 == 5_822_824  # with biases of keys


@pytest.mark.parametrize("size", [32, 48])
def test_it_starts_as_the_plain_network_with_the_mean_over_patches(size: int) -> None:
    torch.manual_seed(0)
    settings: dict[str, Any] = {"img_size": size, "num_classes": 10}
    plain = build(VIT, VIT.read("p8-w48-d3-h4-m2"), pool="mean", **settings).eval()
    for name, value in plain.named_parameters():
        if name.endswith("qkv.bias"):
            value.data.normal_()  # those of keys change nothing
    model = build(RELATIVE, RELATIVE.read("p8-w48-d3-h4-m2"), **settings).eval()
    model.load_state_dict(fitted_weights(model, plain.state_dict(), "exact", "here"))
    images = torch.randn(3, 3, size, size)
    assert torch.allclose(model(images), plain(images), atol=1e-5)


def test_biases_are_by_distance() -> None:
    torch.manual_seed(0)
    model: Any = build(RELATIVE, RELATIVE.read("p8-w48-d1-h4-m2"), img_size=32, num_classes=10).eval()
    attention = model.blocks[0].attn
    torch.nn.init.normal_(attention.relative_position_bias_table)
    bias = attention._get_rel_pos_bias().squeeze(0)[:, 1:, 1:]
    for a, b, c, d in ((0, 5, 10, 15), (3, 1, 7, 5)):  # pairs of patches one row and one column, or two columns, apart
        assert torch.equal(bias[:, a, b], bias[:, c, d])
    assert not torch.equal(bias[:, 0, 1], bias[:, 1, 0])


def test_a_pre_trained_network_is_fine_tuned_and_exported(tmp_path: Path) -> None:
    vit = {"space": "vit", "architecture": "p8-w48-d2-h4-m2", "img_size": 32, "drop_path_rate": 0.0}
    trained(tmp_path / "mae", **vit, objective="mae", epochs=1, max_images=80)
    raynas.finetune(
        tmp_path / "mae", space="vit-relative", out=tmp_path / "run", data="digits", epochs=1, batch_size=32,
        max_images=120, threads=1, loader_processes=0, listener=TrainingListener(),
    )  # fmt: skip
    training = load_training(tmp_path / "run")
    assert training.description["model"]["space"] == "vit-relative"
    tables = [value for name, value in training.model().named_parameters() if name.endswith("bias_table")]
    assert all(table.abs().max() > 0 for table in tables)
    raynas.export(tmp_path / "run", tmp_path / "export")
    images = torch.randn(2, 3, 32, 32)
    assert torch.allclose(load_export(tmp_path / "export").model(images), training.model()(images), atol=1e-6)


def test_an_architecture_is_of_the_plain_space_unless_this_one_is_named() -> None:
    assert read_source("p8-w48-d3-h4-m2").space.name == "vit"
    assert read_source("p8-w48-d3-h4-m2", space="vit-relative").space.name == "vit-relative"
