"""The ViT-Res networks against published counts and slow, obvious forms of their layers."""

from __future__ import annotations

import json
import math
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import load_file
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

import raynas
from raynas.errors import ConfigError
from raynas.models.families.vit_res import ViTRes, ViTResNano
from raynas.models.families.vit_res_network import Reduction, Stem
from raynas.models.networks import Networks
from raynas.models.pre_norm import Attention
from raynas.models.roles import roles_of
from raynas.space.registered import models, spaces
from raynas.training.objectives.token_labels import PatchHead
from searchspaces.vit_res import num_params, vit_res_nano, vit_res_tiny

SMALL = vit_res_nano.read("16h4:2x24,3x16/24h6:1x30,0/40h8:2x48,3x40")


@pytest.fixture(autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)
    torch.manual_seed(0)


def drawn(module: nn.Module) -> nn.Module:
    """The module with weights so large that its nonlinearities and positions matter."""
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.normal_(0, 0.3)
        for name, buffer in module.named_buffers():
            if buffer.is_floating_point():
                buffer.uniform_(0.5, 1.5) if name.endswith("var") else buffer.normal_()
    return module.eval()


def test_the_families_are_registered() -> None:
    assert models.get("vit-res") is ViTRes
    assert models.get("vit-res-nano") is ViTResNano


@pytest.mark.parametrize("name", ["vit-res-tiny", "vit-res-small", "vit-res-nano"])
def test_samples_cost_what_the_closed_forms_say(name: str) -> None:
    space: Any = spaces.get(name)
    rng = np.random.default_rng(0)
    for _ in range(5):
        architecture = space.sample(rng)
        img_size, num_classes = space.img_size_multiple * int(rng.integers(1, 5)), int(rng.integers(1, 1000))
        size = {"img_size": img_size, "num_classes": num_classes, "device": "meta"}
        made = models.get(space.model)(architecture, **size)
        assert sum(p.numel() for p in made.parameters()) == space.num_params(architecture, img_size, num_classes)
        with FlopCounterMode(display=False) as counter, torch.no_grad():
            assert made(torch.empty(1, 3, img_size, img_size, device="meta")).shape == (1, num_classes)
        assert counter.get_total_flops() == 2 * space.macs(architecture, img_size, num_classes)


def test_the_head_of_patches_that_trainings_have_counts_as_published() -> None:
    architecture: Any = vit_res_tiny.read("vit-resnas-tiny")
    model, head = ViTRes(architecture, device="meta"), PatchHead(architecture["width"][-1], 1000, torch.device("meta"))
    count = sum(p.numel() for module in (model, head) for p in module.parameters())
    assert count == num_params(architecture, 224, 1000, patch_head=True) == 41_498_552


def test_tokens_of_the_stages_are_257_65_and_17() -> None:
    model = ViTRes(vit_res_tiny.read("vit-res-tiny"), device="meta")
    found = []
    for stage in model.stages:
        stage[0].register_forward_hook(lambda module, args, output: found.append(output.shape[1]))
    model(torch.empty(1, 3, 224, 224, device="meta"))
    assert found == [257, 65, 17]


# -- layers ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("fused_attn", [False, True])
def test_attention_is_that_of_each_pair(fused_attn: bool) -> None:
    module: Any = drawn(Attention(12, 3, 5, fused_attn=fused_attn))
    x = torch.randn(2, 5, 12)
    q, k, v = F.linear(x, module.qkv.weight, module.qkv.bias).reshape(2, 5, 3, 3, 5).unbind(2)
    out = torch.zeros(2, 5, 3, 5)
    for image in range(2):
        for head in range(3):
            for i in range(5):
                scores = torch.stack([(q[image, i, head] * k[image, j, head]).sum() for j in range(5)]) / math.sqrt(5)
                for j, share in enumerate(scores.exp() / scores.exp().sum()):
                    out[image, i, head] += share * v[image, j, head]
    expected = F.linear(out.reshape(2, 5, 15), module.proj.weight, module.proj.bias)
    torch.testing.assert_close(module(x), expected, rtol=1e-4, atol=1e-5)


def test_a_reduction_without_weights_is_the_mean_of_four_with_zeros_for_new_channels() -> None:
    module = Reduction(4, 6, 4)
    with torch.no_grad():
        for name, parameter in module.named_parameters():
            parameter.fill_(1.0 if name == "norm.weight" else 0.0)
    x = torch.randn(2, 17, 4)
    found = module(x)
    assert found.shape == (2, 5, 6)
    expected = torch.zeros(2, 5, 6)
    expected[:, 0, :4] = x[:, 0]
    for row in range(2):
        for column in range(2):
            four = [1 + 4 * (2 * row + i) + 2 * column + j for i in range(2) for j in range(2)]
            expected[:, 1 + 2 * row + column, :4] = x[:, four].mean(1)
    torch.testing.assert_close(found, expected)


def test_a_reduction_normalises_what_it_convolves_and_nothing_else() -> None:
    module: Any = drawn(Reduction(4, 6, 4))
    x = torch.randn(2, 17, 4)
    y = F.layer_norm(x, (4,), module.norm.weight, module.norm.bias, 1e-6)
    expected = torch.zeros(2, 5, 6)
    expected[:, 0] = y[:, 0] @ module.linear.weight.T + module.linear.bias
    padded = torch.zeros(2, 6, 6, 4)
    padded[:, 1:5, 1:5] = y[:, 1:].reshape(2, 4, 4, 4)
    for row in range(2):
        for column in range(2):
            window = padded[:, 2 * row : 2 * row + 3, 2 * column : 2 * column + 3]
            value = torch.einsum("bijc,ocij->bo", window, module.conv.weight) + module.conv.bias
            expected[:, 1 + 2 * row + column] = value + module.pos_embed[0, 2 * row + column]
    expected[:, 0, :4] += x[:, 0]
    expected[:, 1:, :4] += x[:, 1:].reshape(2, 2, 2, 2, 2, 4).mean((2, 4)).reshape(2, 4, 4)
    torch.testing.assert_close(module(x), expected, rtol=1e-4, atol=1e-5)


def test_the_stem_adds_two_convolutions_to_the_first() -> None:
    module: Any = drawn(Stem(3, 5, 2))

    def convolved(x: torch.Tensor, conv: nn.Conv2d, norm: nn.BatchNorm2d, stride: int) -> torch.Tensor:
        y = F.conv2d(x, conv.weight, None, stride, 1)
        mean, var = (one[:, None, None] for one in (norm.running_mean, norm.running_var))
        scaled = (y - mean) / (var + 1e-5).sqrt() * norm.weight[:, None, None] + norm.bias[:, None, None]
        return scaled.clamp(min=0)

    images = torch.randn(2, 3, 16, 16)
    u = convolved(images, module.conv1, module.norm1, 2)
    v = convolved(convolved(u, module.conv2, module.norm2, 1), module.conv3, module.norm3, 1)
    expected = F.conv2d(u + v, module.proj.weight, module.proj.bias, 2)
    assert expected.shape == (2, 5, 4, 4)
    torch.testing.assert_close(module(images), expected, rtol=1e-4, atol=1e-4)


# -- the network -------------------------------------------------------------------------------------------------------


def test_an_absent_block_is_none_and_the_names_of_others_stay() -> None:
    whole = vit_res_nano.read("16h4:2x24,3x16/24h6:1x30,2x20/40h8:2x48,3x40")
    size = {"img_size": 32, "num_classes": 5}
    full, small = (ViTResNano(one, **size) for one in (whole, SMALL))
    names = set(full.state_dict()) - set(small.state_dict())
    assert names and all(name.startswith("stages.1.1.") for name in names)
    small.load_state_dict({name: value for name, value in full.state_dict().items() if name not in names})
    with torch.no_grad():
        for name, parameter in full.named_parameters():
            if name.startswith("stages.1.1.") and ("proj" in name or "fc2" in name):
                parameter.zero_()
    images = torch.randn(2, 3, 32, 32)
    torch.testing.assert_close(full.eval()(images), small.eval()(images))


def test_logits_come_from_the_class_token_and_features_from_all() -> None:
    model: Any = drawn(ViTResNano(SMALL, img_size=32, num_classes=5))
    images = torch.randn(2, 3, 32, 32)
    tokens = model.tokens_from_stem(model.stem_features(images))
    assert tokens.shape == (2, 5, 40)
    normed = F.layer_norm(tokens[:, 0], (40,), model.norm.weight, model.norm.bias, 1e-6)
    torch.testing.assert_close(model(images), F.linear(normed, model.head.weight, model.head.bias))
    torch.testing.assert_close(model.pooled_features(images), tokens.mean(1))


def test_networks_for_scores_have_the_distributions_and_averages_of_a_fresh_one() -> None:
    size = {"img_size": 64, "num_classes": 100}
    networks = Networks(ViTResNano, size, score_seed=3)
    architecture = vit_res_nano.sample(np.random.default_rng(0))
    fresh: Any = ViTResNano(architecture, **size).state_dict()
    for dtype in (torch.float32, torch.float64):
        found = networks.network(architecture, 0, dtype)
        for name, value in found.state_dict().items():
            if not value.is_floating_point() or fresh[name].std() == 0:
                assert value.double().equal(fresh[name].double()), name
            elif value.numel() > 2000:
                assert float(value.std() / fresh[name].std()) == pytest.approx(1, abs=0.1), name
        assert found(torch.zeros(2, 3, 64, 64, dtype=dtype)).dtype == dtype


def test_roles_name_all_layers_of_all_blocks() -> None:
    model = ViTResNano(SMALL, img_size=32, num_classes=5)
    roles = roles_of(model)
    assert len(roles.blocks) == 5
    assert len(roles.attention) == len(roles.mlp) == 2 * 5
    assert roles.head == (model.head,)
    assert {block.prefix_tokens for block in roles.blocks} == {1}


def test_branches_are_dropped_more_often_from_place_to_place_empty_ones_counted() -> None:
    model: Any = ViTResNano(SMALL, img_size=32, num_classes=5, drop_path_rate=0.5)
    rates = [getattr(block.drop_path, "drop_prob", 0.0) for block in model.blocks()]
    assert rates == pytest.approx([0, 0.1, 0.2, 0.4, 0.5])


@pytest.mark.parametrize(("build", "img_size"), [(ViTRes, 64), (ViTRes, 28), (ViTResNano, 40), (ViTResNano, 8)])
def test_images_whose_grid_cannot_be_halved_twice_are_refused(build: Any, img_size: int) -> None:
    with pytest.raises(ConfigError, match=rf"img_size is {img_size}; it must be a positive multiple of (?:56|16)"):
        build(SMALL, img_size=img_size)


def test_exported_code_gives_the_same_logits_without_raynas(tmp_path: Path) -> None:
    out = raynas.export(
        vit_res_nano.text(SMALL), tmp_path / "found", space=vit_res_nano, untrained=True, img_size=32, num_classes=5
    )
    images = torch.randn(2, 3, 32, 32)
    torch.save(images, tmp_path / "images.pt")
    code = (
        "import sys, torch; sys.path.insert(0, sys.argv[1]); import model; "
        "print(model.load()(torch.load(sys.argv[2])).tolist()); assert 'raynas' not in sys.modules"
    )
    done = subprocess.run(
        [sys.executable, "-I", "-c", code, str(out), str(tmp_path / "images.pt")],
        capture_output=True,
        text=True,
        check=True,
    )
    built = raynas.build("vit-res-nano", SMALL, img_size=32, num_classes=5)
    built.load_state_dict(load_file(out / "model.safetensors"))
    assert torch.allclose(torch.tensor(json.loads(done.stdout)), built.eval()(images), atol=1e-6)
