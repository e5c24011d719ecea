"""The AutoFormer networks against published counts and slow, obvious forms of their attention."""

from __future__ import annotations

import math
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

import raynas
from raynas.errors import ConfigError
from raynas.exporting.export import load_exported
from raynas.models.families.autoformer import AutoFormer, AutoFormerPlain
from raynas.models.families.autoformer_network import Attention, grid_of
from raynas.models.roles import roles_of
from raynas.models.weights import Constant, Normal, Uniform
from raynas.proxies.curve import circle
from raynas.proxies.probe import Probe
from raynas.proxies.registered import proxies
from raynas.space.registered import models, spaces
from searchspaces.autoformer import autoformer_small, autoformer_tiny, autoformer_tiny_plain

ROOT = Path(__file__).parents[2]
TINY = autoformer_tiny.read("w24-m2,1.5,3-h2,1,3")
BUILDS = [AutoFormer, AutoFormerPlain]


@pytest.fixture(autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)
    torch.manual_seed(0)


def drawn(build: Any = AutoFormer, architecture: Any = TINY, **settings: Any) -> Any:
    """A network whose weights are so large that its nonlinearities and positions matter."""
    model = build(architecture, **{"img_size": 48, "num_classes": 5, **settings})
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.normal_(0, 0.2 if parameter.ndim > 1 else 0.5)
    return model.eval()


def test_the_families_are_registered() -> None:
    assert models.get("autoformer") is AutoFormer
    assert models.get("autoformer-plain") is AutoFormerPlain


@pytest.mark.slow
@pytest.mark.parametrize("name", [f"autoformer-{one}" for one in ("tiny", "small", "base", "tiny-plain")])
def test_twenty_samples_cost_what_the_closed_forms_say(name: str) -> None:
    space: Any = spaces.get(name)
    rng = np.random.default_rng(0)
    for _ in range(20):
        architecture = space.sample(rng)
        img_size, num_classes = 16 * int(rng.integers(1, 20)), int(rng.integers(1, 1000))
        made = models.get(space.model)(architecture, img_size=img_size, num_classes=num_classes, device="meta")
        assert sum(p.numel() for p in made.parameters()) == space.num_params(architecture, img_size, num_classes)
        with FlopCounterMode(display=False) as counter, torch.no_grad():
            assert made(torch.empty(1, 3, img_size, img_size, device="meta")).shape == (1, num_classes)
        assert counter.get_total_flops() == 2 * space.macs(architecture, img_size, num_classes)


# -- attention ---------------------------------------------------------------------------------------------------------


def slow_attention(module: Any, x: torch.Tensor, side: int) -> torch.Tensor:
    """Pairs of tokens one by one, with the vectors of the pair looked up and added to key and value."""
    heads, dim = module.num_heads, module.head_dim
    batch, n, _ = x.shape
    q, k, v = F.linear(x, module.qkv.weight, module.qkv.bias).reshape(batch, n, 3, heads, dim).unbind(2)

    def vector(query: int, key: int, rows: torch.Tensor, columns: torch.Tensor) -> torch.Tensor:
        if query == 0 or key == 0:
            return rows[0] + columns[0]
        down = (key - 1) // side - (query - 1) // side
        right = (key - 1) % side - (query - 1) % side
        return rows[max(-14, min(14, down)) + 15] + columns[max(-14, min(14, right)) + 15]

    tables = module.rel_pos
    of_keys = torch.zeros(n, n, dim)
    of_values = torch.zeros(n, n, dim)
    if tables is not None:
        for i in range(n):
            for j in range(n):
                of_keys[i, j] = vector(i, j, tables.key_rows, tables.key_columns)
                of_values[i, j] = vector(i, j, tables.value_rows, tables.value_columns)
    out = torch.zeros(batch, n, heads, dim)
    for i in range(n):
        for head in range(heads):
            scores = ((k[:, :, head] + of_keys[i]) * q[:, i, None, head]).sum(-1) / math.sqrt(dim)
            attn = scores.exp() / scores.exp().sum(-1, keepdim=True)
            out[:, i, head] = (attn[..., None] * (v[:, :, head] + of_values[i])).sum(1)
    return F.linear(out.reshape(batch, n, -1), module.proj.weight, module.proj.bias)


@pytest.mark.parametrize("fused_attn", [False, True])
@pytest.mark.parametrize(
    ("side", "num_heads", "head_dim", "rel_pos"),
    [(1, 2, 4, True), (3, 3, 8, True), (16, 1, 3, True), (4, 3, 4, False)],
    ids=["one patch", "nine patches", "beyond the tables", "without positions"],
)
def test_attention_is_that_of_each_pair(
    side: int, num_heads: int, head_dim: int, rel_pos: bool, fused_attn: bool
) -> None:
    module = Attention(12, num_heads, head_dim, rel_pos=rel_pos, fused_attn=fused_attn)
    for parameter in module.parameters():
        nn.init.normal_(parameter, std=0.5)
    x = torch.randn(2, side**2 + 1, 12)
    with torch.no_grad():
        found = module(x, grid_of(side, x))
        assert found.shape == x.shape
        torch.testing.assert_close(found, slow_attention(module, x, side), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("build", BUILDS)
def test_only_relative_positions_tell_patches_apart_that_carry_their_embedding_along(build: Any) -> None:
    """Patches that trade places together with their position embeddings leave plain logits as they are."""
    model = drawn(build)
    images = torch.randn(2, 3, 48, 48)
    order = torch.randperm(9)
    pieces = images.reshape(2, 3, 3, 16, 3, 16).permute(0, 2, 4, 1, 3, 5).flatten(1, 2)
    moved = pieces[:, order].unflatten(1, (3, 3)).permute(0, 3, 1, 4, 2, 5).reshape(2, 3, 48, 48)
    with torch.no_grad():
        before = model(images)
        model.pos_embed[:, 1:] = model.pos_embed[:, 1:][:, order]
        is_same = torch.allclose(model(moved), before, atol=1e-4)
    assert is_same == (build is AutoFormerPlain)


@pytest.mark.parametrize("build", BUILDS)
def test_fused_attention_gives_the_same_outputs(build: Any) -> None:
    plain, fused = drawn(build), build(TINY, img_size=48, num_classes=5, fused_attn=True).eval()
    fused.load_state_dict(plain.state_dict())
    assert [block.attn.fused_attn for block in fused.blocks] == [True] * 3
    assert [block.attn.fused_attn for block in plain.blocks] == [False] * 3
    images = torch.randn(3, 3, 48, 48)
    with torch.no_grad():
        torch.testing.assert_close(plain(images), fused(images), rtol=1e-4, atol=1e-5)


# -- the network -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("build", BUILDS)
def test_logits_come_from_the_mean_over_patches(build: Any) -> None:
    model = drawn(build)
    entered: list[torch.Tensor] = []
    model.norm.register_forward_pre_hook(lambda module, args: entered.append(args[0]))
    images = torch.randn(2, 3, 48, 48)
    with torch.no_grad():
        logits = model(images)
        assert entered[0].shape == (2, 10, 24)
        torch.testing.assert_close(model.pooled_features(images), entered[0][:, 1:].mean(1))
        eps = 1e-5 if build is AutoFormer else 1e-6
        normed = F.layer_norm(entered[0], (24,), model.norm.weight, model.norm.bias, eps)
        torch.testing.assert_close(logits, model.head(normed[:, 1:].mean(1)))


def test_heads_have_the_width_of_the_build() -> None:
    official, plain = drawn(AutoFormer), drawn(AutoFormerPlain)
    assert [block.attn.qkv.out_features for block in official.blocks] == [3 * 64 * heads for heads in (2, 1, 3)]
    assert [block.attn.qkv.out_features for block in plain.blocks] == [3 * 24] * 3
    assert [block.attn.head_dim for block in plain.blocks] == [12, 24, 8]
    assert [block.mlp.fc1.out_features for block in plain.blocks] == [48, 36, 72]


@pytest.mark.parametrize("build", BUILDS)
def test_roles_are_those_of_each_part(build: Any) -> None:
    model = drawn(build)
    roles = roles_of(model)
    layers = [module for module in model.modules() if isinstance(module, nn.Linear)]
    assert set(roles.attention) | set(roles.mlp) | set(roles.head) == set(layers)
    assert (len(roles.attention), len(roles.mlp), roles.head) == (6, 6, (model.head,))
    assert roles.final_norms == (model.norm,)
    states: list[torch.Tensor] = []
    for block in roles.blocks:
        block.module.register_forward_pre_hook(lambda module, args: states.append(args[0]))
        block.middle.register_forward_pre_hook(lambda module, args: states.append(args[0]))
        block.module.register_forward_hook(lambda module, args, output: states.append(output))
    with torch.no_grad():
        model(torch.randn(2, 3, 48, 48))
        for i, block in enumerate(roles.blocks):
            before, middle, after = states[3 * i : 3 * i + 3]
            made = block.module
            attn = made.attn(made.norm1(before), grid_of(3, before))
            torch.testing.assert_close(middle, before + attn)
            torch.testing.assert_close(after, middle + made.mlp(made.norm2(middle)))
            assert block.feature_map(after).shape == (2, 24, 3, 3)
            assert torch.equal(block.feature_map(after)[:, :, 1, 2], after[:, 1 + 5])


def test_optimizers_shrink_no_positions() -> None:
    kept = drawn().no_weight_decay()
    assert kept == {"cls_token", "pos_embed"} | {
        f"blocks.{i}.attn.rel_pos.{of}_{along}"
        for i in range(3)
        for of in ("key", "value")
        for along in ("rows", "columns")
    }
    assert drawn(AutoFormerPlain).no_weight_decay() == {"cls_token", "pos_embed"}


def test_stochastic_depth_grows_from_0_and_rests_in_eval_mode() -> None:
    model = drawn(drop_path_rate=0.2)
    assert [getattr(block.drop_path, "drop_prob", 0.0) for block in model.blocks] == pytest.approx([0.0, 0.1, 0.2])
    plain = AutoFormer(TINY, img_size=48, num_classes=5).eval()
    plain.load_state_dict(model.state_dict())
    images = torch.randn(2, 3, 48, 48)
    with torch.no_grad():
        assert torch.equal(model(images), plain(images))


@pytest.mark.parametrize("img_size", [0, 8, 40, -16])
def test_images_that_patches_do_not_tile_are_refused(img_size: int) -> None:
    with pytest.raises(ConfigError, match=f"img_size is {img_size}.*multiple of 16"):
        AutoFormer(TINY, img_size=img_size, device="meta")


# -- derivatives -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("build", BUILDS)
def test_length_distortion_is_that_of_central_differences(build: Any) -> None:
    model = drawn(build).double().requires_grad_(False)
    probe = Probe(TINY, model, img_size=48)
    value = proxies.get("length_distortion").configured(norms=True, points=3)(probe)["length_distortion"]
    images, velocities = circle(probe, points=3, radius=1.0, endpoint=False)
    h = 1e-3

    def at(angle: float) -> torch.Tensor:
        return model.pooled_features(images * math.cos(angle) + velocities * math.sin(angle))

    slopes = (at(-2 * h) - 8 * at(-h) + 8 * at(h) - at(2 * h)) / (12 * h)
    assert value == pytest.approx(float(slopes.norm(dim=1).mean()), rel=1e-6)


def test_second_derivatives_by_the_weights_are_those_of_central_differences() -> None:
    model = drawn().double()
    images = torch.randn(2, 3, 48, 48, dtype=torch.float64)
    parameters = [p for name, p in model.named_parameters() if "rel_pos" in name or "qkv" in name]
    directions = [torch.randn_like(p) for p in parameters]

    def gradient(step: float, **how: Any) -> list[torch.Tensor]:
        with torch.no_grad():
            for p, d in zip(parameters, directions, strict=True):
                p.add_(d, alpha=step)
        found = torch.autograd.grad(model(images).square().sum(), parameters, **how)
        with torch.no_grad():
            for p, d in zip(parameters, directions, strict=True):
                p.sub_(d, alpha=step)
        return list(found)

    first = torch.autograd.grad(model(images).square().sum(), parameters, create_graph=True)
    product = sum((g * d).sum() for g, d in zip(first, directions, strict=True))
    second = torch.autograd.grad(product, parameters)
    h = 1e-4
    steps = [gradient(step) for step in (-2 * h, -h, h, 2 * h)]
    for found, a, b, c, d in zip(second, *steps, strict=True):
        torch.testing.assert_close(found, (a - 8 * b + 8 * c - d) / (12 * h), rtol=1e-5, atol=1e-5)


# -- initial weights ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("build", BUILDS)
def test_every_parameter_has_its_initial_distribution(build: Any) -> None:
    model = build(TINY, img_size=48)
    table = model.init_table()
    assert list(table) == [name for name, _ in model.named_parameters()]
    assert table["pos_embed"] == table["cls_token"] == Normal(0.02)
    assert table["patch_embed.weight"] == table["patch_embed.bias"] == Uniform(1 / math.sqrt(3 * 16 * 16))
    for name, module in model.named_modules():
        if isinstance(module, nn.Linear):
            assert (table[f"{name}.weight"], table[f"{name}.bias"]) == (Normal(0.02), Constant(0.0))
        if isinstance(module, nn.LayerNorm):
            assert (table[f"{name}.weight"], table[f"{name}.bias"]) == (Constant(1.0), Constant(0.0))
    if build is AutoFormer:
        assert table["blocks.0.attn.rel_pos.value_columns"] == Normal(0.02)


def test_a_new_network_is_drawn_from_its_distributions() -> None:
    model = AutoFormer(autoformer_tiny.read("w192-m4,4-h3,3")).requires_grad_(False)
    block: Any = model.blocks[1]
    for weight in (block.mlp.fc1.weight, block.attn.qkv.weight, model.pos_embed):
        assert float(weight.std()) == pytest.approx(0.02, rel=0.03)
    assert float(block.attn.rel_pos.key_rows.std()) == pytest.approx(0.02, rel=0.1)
    reference = nn.Conv2d(3, 192, 16, stride=16).requires_grad_(False)
    assert float(model.patch_embed.weight.std()) == pytest.approx(float(reference.weight.std()), rel=0.02)
    assert float(model.patch_embed.weight.abs().max()) <= 1 / math.sqrt(768)
    torch.manual_seed(5)
    first = AutoFormer(TINY, img_size=32).state_dict()
    torch.manual_seed(5)
    second = AutoFormer(TINY, img_size=32).state_dict()
    assert all(torch.equal(first[name], second[name]) for name in first)


@pytest.mark.parametrize("build", BUILDS)
def test_on_the_meta_device_nothing_is_allocated(build: Any) -> None:
    model = build(TINY, device="meta", dtype=torch.float64)
    assert all(parameter.is_meta and parameter.dtype == torch.float64 for parameter in model.parameters())
    assert not list(model.buffers())


# -- leaving -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("space", "build"), [(autoformer_small, AutoFormer), (autoformer_tiny_plain, AutoFormerPlain)])
def test_an_exported_network_gives_the_same_outputs(space: Any, build: Any, tmp_path: Any) -> None:
    """Its code gives those of large weights too."""
    folder = raynas.export(space.text(TINY), tmp_path / "out", space=space, untrained=True, img_size=48, num_classes=5)
    exported, model = load_exported(folder), drawn(build)
    assert type(exported).__module__ == "exported_model"
    exported.load_state_dict(model.state_dict())
    images = torch.randn(2, 3, 48, 48)
    with torch.no_grad():
        torch.testing.assert_close(exported(images), model(images))


@pytest.mark.slow
def test_exported_code_of_16_blocks_is_readable_and_goes_into_onnx(tmp_path: Any) -> None:
    text = "w64-m" + "-h".join(",".join([number] * 16) for number in ("3.5", "10"))
    folder = raynas.export(text, tmp_path / "deep", space=autoformer_tiny, untrained=True, img_size=16, num_classes=2)
    for tool in (["check"], ["format", "--check"]):
        command = [sys.executable, "-m", "ruff", *tool, "--config", str(ROOT / "pyproject.toml"), str(folder)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout
    # What was written is run by ONNX Runtime on another number of images, and compared, before `export` returns.
    folder = raynas.export(
        "w16-m1-h1", tmp_path / "onnx", space=autoformer_tiny, untrained=True, img_size=32, num_classes=2, onnx=True
    )
    assert (folder / "model.onnx").is_file()
