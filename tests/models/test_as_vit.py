"""The As-ViT network against the published counts and against slow, obvious forms of its layers."""

import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch.utils.flop_counter import FlopCounterMode

from raynas.errors import ConfigError
from raynas.models.families.as_vit import AsViT
from raynas.models.families.as_vit_network import Attention, PatchEmbed, TokenMerge
from raynas.models.weights import Constant, Normal, Uniform
from raynas.space.registered import models
from searchspaces.as_vit import as_vit

SEED = as_vit.named["seed"]
TINY = SEED.replace(embed_dim=8, num_heads=16, mlp_ratio=(2, 1, 2, 1))

# parameters without and with position embedding
PUBLISHED = {
    "seed": (2_319_624, 2_419_976),
    "as-vit-small": (28_775_328, 29_051_296),
    "as-vit-base": (52_258_652, 52_622_428),
    "as-vit-large": (87_580_820, 88_145_300),
}


@pytest.fixture(autouse=True)
def one_thread():
    torch.set_num_threads(1)
    torch.manual_seed(0)


def num_params(model):
    return sum(parameter.numel() for parameter in model.parameters())


def counted_macs(model, img_size):
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        model(torch.empty(1, 3, img_size, img_size, device="meta"))
    return counter.get_total_flops() / 2


def test_the_family_is_registered():
    assert models.get("as-vit") is AsViT


@pytest.mark.parametrize("name", PUBLISHED)
def test_published_models_have_the_published_parameters(name):
    without, with_pos_embed = PUBLISHED[name]
    assert num_params(AsViT(as_vit.named[name], pos_embed=False, device="meta")) == without
    assert num_params(AsViT(as_vit.named[name], device="meta")) == with_pos_embed


@pytest.mark.parametrize("name", PUBLISHED)
def test_counted_macs_are_those_of_the_closed_form(name):
    assert counted_macs(AsViT(as_vit.named[name], device="meta"), 224) == as_vit.macs(as_vit.named[name], 224, 1000)


@pytest.mark.parametrize("seed", range(12))
def test_sampled_architectures_cost_what_the_closed_forms_say(seed):
    architecture = as_vit.sample(np.random.default_rng(seed))
    model = AsViT(architecture, img_size=64, num_classes=10, device="meta")
    assert num_params(model) == as_vit.num_params(architecture, 64, 10)
    assert counted_macs(model, 64) == as_vit.macs(architecture, 64, 10)


@pytest.mark.parametrize(
    ("changes", "img_size"),
    [
        ({"split": (7, 7, 1, 4)}, 256),  # grids that the windows cannot tile
        ({"embed_dim": 9, "num_heads": 64}, 64),  # heads that do not divide the width
        ({"kernel": (16, 7, 5, 3), "num_heads": 24, "embed_dim": 12}, 96),
        ({"depth": (1, 2, 1, 3), "embed_dim": 300, "num_heads": 1024}, 32),  # widths at the cap
    ],
)
def test_unusual_architectures_cost_what_the_closed_forms_say(changes, img_size):
    architecture = SEED.replace(**changes)
    as_vit.validate(architecture)
    model = AsViT(architecture, img_size=img_size, num_classes=7, device="meta")
    assert num_params(model) == as_vit.num_params(architecture, img_size, 7)
    assert counted_macs(model, img_size) == as_vit.macs(architecture, img_size, 7)
    assert model(torch.empty(2, 3, img_size, img_size, device="meta")).shape == (2, 7)


@pytest.mark.parametrize("seed", range(20))
def test_sampled_architectures_build_and_run(seed):
    architecture = as_vit.sample(np.random.default_rng(100 + seed))
    model = AsViT(architecture, img_size=64, num_classes=10, pos_embed=False).eval()
    with torch.no_grad():
        assert model(torch.randn(1, 3, 64, 64)).isfinite().all()
        assert model.pooled_features(torch.randn(2, 3, 64, 64)).shape == (2, 256)


def test_the_network_runs_at_224_pixels():
    with torch.no_grad():
        assert AsViT(SEED)(torch.randn(1, 3, 224, 224)).shape == (1, 1000)


def test_logits_follow_from_the_pooled_parts():
    model = AsViT(SEED, img_size=64, num_classes=10).eval()
    kept = []
    model.norm.register_forward_hook(lambda module, args, output: kept.append(args[0]))
    images = torch.randn(3, 3, 64, 64)
    with torch.no_grad():
        tokens = model.forward_features(images)
        assert tokens.shape == (3, 2, 2, 256)
        torch.testing.assert_close(model.pooled_features(images), kept[0].flatten(1, 2).mean(1))
        torch.testing.assert_close(tokens, F.layer_norm(kept[0], (256,)))  # scale 1 and shift 0 when new
        logits = model.head(torch.tanh(model.pre_logits(tokens.flatten(1, 2).mean(1))))
        torch.testing.assert_close(model(images), logits)


# -- layers ------------------------------------------------------------------------------------------------------------


def slow_attention(module, x, side):
    """Windows one by one, heads one by one, of the tokens that exist."""
    batch, grid, _, _ = x.shape
    heads, head_dim = module.num_heads, module.head_dim
    out = torch.zeros(batch, grid, grid, heads * head_dim)
    q, k, v = F.linear(x, module.qkv.weight, module.qkv.bias).chunk(3, dim=-1)
    for top in range(0, grid, side):
        for left in range(0, grid, side):
            rows, columns = slice(top, min(top + side, grid)), slice(left, min(left + side, grid))
            for head in range(heads):
                own = slice(head * head_dim, (head + 1) * head_dim)
                qs, ks, vs = (t[:, rows, columns, own].flatten(1, 2) for t in (q, k, v))
                scores = torch.einsum("bid,bjd->bij", qs, ks) / math.sqrt(head_dim)
                result = torch.einsum("bij,bjd->bid", torch.softmax(scores, dim=-1), vs)
                out[:, rows, columns, own] = result.unflatten(1, (rows.stop - top, columns.stop - left))
    return F.linear(out, module.proj.weight, module.proj.bias)


@pytest.mark.parametrize("fused_attn", [False, True])
@pytest.mark.parametrize(
    ("grid", "split", "side"),
    [(4, 1, 4), (4, 2, 2), (8, 4, 2), (4, 4, 1), (7, 2, 3), (5, 2, 2), (1, 2, 1)],
    ids=["full", "quadrants", "sixteen", "single tokens", "padded 7", "padded 5", "smaller than split"],
)
@pytest.mark.parametrize("num_heads", [2, 5])  # 5 does not divide 12: the attention is 10 wide
def test_attention_is_that_of_each_window(grid, split, side, num_heads, fused_attn):
    module = Attention(12, num_heads, split, fused_attn=fused_attn)
    for parameter in module.parameters():
        torch.nn.init.normal_(parameter)
    x = torch.randn(2, grid, grid, 12)
    with torch.no_grad():
        torch.testing.assert_close(module(x), slow_attention(module, x, side), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("kernel", [2, 3, 4, 5])
@pytest.mark.parametrize("grid", [8, 7])
def test_token_merge_without_its_norm_is_a_convolution(kernel, grid):
    merge = TokenMerge(kernel, 6, 10)
    torch.nn.init.normal_(merge.reduction.weight)
    merge.norm = torch.nn.Identity()
    x = torch.randn(2, grid, grid, 6)
    before, after = (kernel - 2) // 2, (kernel - 1) // 2 + grid % 2
    padded = F.pad(x.permute(0, 3, 1, 2), (before, after, before, after))
    expected = F.conv2d(padded, merge.reduction.weight.view(10, 6, kernel, kernel), stride=2).permute(0, 2, 3, 1)
    with torch.no_grad():
        assert merge(x).shape == (2, math.ceil(grid / 2), math.ceil(grid / 2), 10)
        torch.testing.assert_close(merge(x), expected, rtol=1e-5, atol=1e-5)


def test_token_merge_normalises_whole_patches():
    merge = TokenMerge(2, 3, 5)
    torch.nn.init.normal_(merge.reduction.weight)
    torch.nn.init.ones_(merge.norm.weight)
    torch.nn.init.zeros_(merge.norm.bias)
    x = torch.randn(1, 4, 4, 3)
    patch = x[0, 2:4, 0:2].permute(2, 0, 1).flatten()  # second row, first column
    normed = (patch - patch.mean()) / torch.sqrt(patch.var(correction=0) + 1e-5)
    with torch.no_grad():
        torch.testing.assert_close(merge(x)[0, 1, 0], merge.reduction.weight @ normed)


@pytest.mark.parametrize("kernel", [4, 5, 6, 7, 8])
def test_patch_embedding_sees_the_patch_and_its_surroundings(kernel):
    embed = PatchEmbed(3, kernel, 4)
    embed.norm = torch.nn.Identity()
    torch.nn.init.ones_(embed.proj.weight)
    torch.nn.init.zeros_(embed.proj.bias)
    images = torch.zeros(1, 3, 32, 32)
    images[0, 0, 16, 16] = 1  # the first pixel of patch (4, 4)
    with torch.no_grad():
        seen = embed(images)[0, :, :, 0].nonzero().tolist()
    touched = {4} | ({3} if (kernel - 4 + 1) // 2 > 0 else set())
    assert {tuple(index) for index in seen} == {(i, j) for i in touched for j in touched}
    assert embed(images).shape == (1, 8, 8, 4)


# -- initial weights ---------------------------------------------------------------------------------------------------


def test_every_parameter_has_its_initial_distribution():
    model = AsViT(SEED, img_size=64)
    table = model.init_table()
    assert list(table) == [name for name, _ in model.named_parameters()]
    assert table["pos_embed"] == Normal(0.02)
    assert table["patch_embed.proj.weight"] == table["patch_embed.proj.bias"] == Uniform(1 / math.sqrt(3 * 8 * 8))
    for name, module in model.named_modules():
        if isinstance(module, torch.nn.Linear):
            assert table[f"{name}.weight"] == Normal(0.02)
            assert module.bias is None or table[f"{name}.bias"] == Constant(0.0)
        if isinstance(module, torch.nn.LayerNorm):
            assert (table[f"{name}.weight"], table[f"{name}.bias"]) == (Constant(1.0), Constant(0.0))


def test_a_new_network_is_drawn_from_its_distributions():
    model = AsViT(SEED).requires_grad_(False)
    weight = model.stages[3].blocks[0].mlp.fc1.weight
    assert float(weight.std()) == pytest.approx(0.02, rel=0.01)
    assert abs(float(weight.mean())) < 1e-4
    assert float(model.pos_embed.std()) == pytest.approx(0.02, rel=0.02)
    convolution = model.patch_embed.proj
    reference = torch.nn.Conv2d(3, 32, 8, stride=4).requires_grad_(False)
    for own, default in ((convolution.weight, reference.weight), (convolution.bias, reference.bias)):
        assert float(own.std()) == pytest.approx(float(default.std()), rel=0.4)
        assert float(own.abs().max()) <= 1 / math.sqrt(3 * 64)
    assert float(convolution.weight.std()) == pytest.approx(float(reference.weight.std()), rel=0.03)
    torch.manual_seed(5)
    first = AsViT(TINY, img_size=32).state_dict()
    torch.manual_seed(5)
    second = AsViT(TINY, img_size=32).state_dict()
    assert all(torch.equal(first[name], second[name]) for name in first)


def test_on_the_meta_device_nothing_is_allocated():
    model = AsViT(SEED, device="meta", dtype=torch.float64)
    assert all(parameter.is_meta and parameter.dtype == torch.float64 for parameter in model.parameters())
    assert not list(model.buffers())


def test_weights_of_one_network_fit_a_skeleton_of_another():
    model = AsViT(TINY, img_size=64, num_classes=10).eval()
    skeleton = AsViT(TINY, img_size=64, num_classes=10, device="meta").eval()
    images = torch.randn(2, 3, 64, 64)
    with torch.no_grad():
        outputs = torch.func.functional_call(skeleton, model.state_dict(), (images,))
        assert torch.equal(outputs, model(images))


def test_stochastic_depth_grows_from_0_and_rests_in_eval_mode():
    architecture = TINY.replace(depth=(1, 2, 1, 1))
    model = AsViT(architecture, img_size=32, num_classes=10, drop_path_rate=0.2)
    rates = [getattr(block.drop_path, "drop_prob", 0.0) for stage in model.stages for block in stage.blocks]
    assert rates == pytest.approx([0.0, 0.05, 0.1, 0.15, 0.2])
    plain = AsViT(architecture, img_size=32, num_classes=10).eval()
    plain.load_state_dict(model.state_dict())
    images = torch.randn(4, 3, 32, 32)
    with torch.no_grad():
        torch.testing.assert_close(model.eval()(images), plain(images))


@pytest.mark.parametrize("img_size", [0, 16, 48, 100, -32])
def test_image_sizes_that_four_stages_cannot_halve_are_refused(img_size):
    with pytest.raises(ConfigError, match=f"img_size is {img_size}.*multiple of 32"):
        AsViT(SEED, img_size=img_size, device="meta")
