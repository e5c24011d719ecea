"""The parts of a plain vision transformer against timm's class, and supernets that start from trained weights."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import load_file
from timm.models.vision_transformer import VisionTransformer
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

import raynas
from raynas.errors import ConfigError, SpaceError
from raynas.models.elastic.starting import ordered_weights, supernet_from
from raynas.models.elastic.supernet import Supernet
from raynas.models.elastic.units import importance
from raynas.models.families.vit_elastic import ViTElastic
from raynas.models.networks import Networks
from raynas.models.protocols import not_decayed
from raynas.models.roles import roles_of
from raynas.space.build import build
from raynas.space.registered import models, spaces
from searchspaces.vit import vit

SMALL: Any = spaces.get("vit-elastic@p4-w48-d4-h3-m4")
MEMBER = SMALL.read("p4-w42-h16:3x96,0,2x192,2x144")
SIZE = {"img_size": 16, "num_classes": 5}
NETWORKS = [("p4-w48-d4-h3-m4", 16), ("p8-w60-d3-h5-m2.5", 24), ("p16-w192-d12-h3-m4", 64), ("p2-w32-d1-h1-m1", 6)]


@pytest.fixture(autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)
    torch.manual_seed(0)


def drawn(module: Any) -> Any:
    """The module with weights so large that nonlinearities and positions matter, and no norm is as another."""
    with torch.no_grad():
        for name, parameter in module.named_parameters():
            parameter.normal_(0, 0.1 if parameter.ndim > 1 else 0.5)
            if parameter.ndim == 1 and name.endswith("weight"):
                parameter.add_(1)
    return module.eval()


def timms(text: str, img_size: int, num_classes: int = 5) -> VisionTransformer:
    a: Any = vit.read(text)
    return VisionTransformer(
        img_size=img_size, patch_size=a["patch_size"], embed_dim=a["embed_dim"], depth=a["depth"],
        num_heads=a["num_heads"], mlp_ratio=a["mlp_ratio"], num_classes=num_classes,
    )  # fmt: skip


def images(count: int, side: int = 16, dtype: torch.dtype = torch.float32) -> torch.Tensor:
    return torch.randn(count, 3, side, side, generator=torch.Generator().manual_seed(3), dtype=dtype)


# -- the network -------------------------------------------------------------------------------------------------------


def test_the_family_is_registered() -> None:
    assert models.get("vit-elastic") is ViTElastic


@pytest.mark.parametrize(("text", "img_size"), NETWORKS)
@pytest.mark.parametrize("fused_attn", [False, True])
def test_the_largest_network_is_timms_on_equal_weights(text: str, img_size: int, fused_attn: bool) -> None:
    space = spaces.get(f"vit-elastic@{text}")
    theirs = drawn(timms(text, img_size))
    ours = build(space, space.largest(), img_size=img_size, num_classes=5, fused_attn=fused_attn).eval()
    ours.load_state_dict(theirs.state_dict())
    x = images(3, img_size)
    torch.testing.assert_close(ours(x), theirs(x), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("space", [SMALL, spaces.get("vit-elastic@p8-w60-d3-h5-m2.5")])
def test_samples_cost_what_the_closed_forms_say(space: Any) -> None:
    rng = np.random.default_rng(0)
    for _ in range(5):
        architecture = space.sample(rng)
        img_size, num_classes = space.img_size_multiple * int(rng.integers(1, 5)), int(rng.integers(1, 1000))
        size = {"img_size": img_size, "num_classes": num_classes, "device": "meta"}
        made = ViTElastic(architecture, **size)
        assert sum(p.numel() for p in made.parameters()) == space.num_params(architecture, img_size, num_classes)
        with FlopCounterMode(display=False) as counter, torch.no_grad():
            assert made(torch.empty(1, 3, img_size, img_size, device="meta")).shape == (1, num_classes)
        assert counter.get_total_flops() == 2 * space.macs(architecture, img_size, num_classes)


def test_an_absent_block_is_none_and_the_names_of_others_stay() -> None:
    model = ViTElastic(MEMBER, **SIZE)
    names = {name.split(".")[1] for name in model.state_dict() if name.startswith("blocks.")}
    assert names == {"0", "2", "3"}
    full: Any = drawn(ViTElastic(SMALL.read("p4-w42-h16:3x96,2x48,2x192,2x144"), **SIZE))
    with torch.no_grad():
        for layer in (full.blocks[1].attn.proj, full.blocks[1].mlp.fc2):
            layer.weight.zero_()
            layer.bias.zero_()
    model.load_state_dict(
        {name: value for name, value in full.state_dict().items() if not name.startswith("blocks.1.")}
    )
    torch.testing.assert_close(full(images(2)), model.eval()(images(2)))


def test_logits_come_from_the_class_token_and_features_from_all() -> None:
    model: Any = drawn(ViTElastic(MEMBER, **SIZE))
    tokens = model.tokens(images(2))
    assert tokens.shape == (2, 17, 42)
    normed = F.layer_norm(tokens[:, 0], (42,), model.norm.weight, model.norm.bias, 1e-6)
    torch.testing.assert_close(model(images(2)), F.linear(normed, model.head.weight, model.head.bias))
    torch.testing.assert_close(model.pooled_features(images(2)), tokens.mean(1))


def test_networks_for_scores_have_the_distributions_of_timms_fresh_ones() -> None:
    space, text = spaces.get("vit-elastic"), "p16-w192-d12-h3-m4"
    found = Networks(ViTElastic, {"img_size": 64, "num_classes": 100}, score_seed=3).network(space.largest(), 0)
    for name, value in timms(text, 64, 100).state_dict().items():
        if value.std() == 0:
            assert found.state_dict()[name].equal(value), name
        elif value.numel() > 2000:
            assert float(found.state_dict()[name].std() / value.std()) == pytest.approx(1, abs=0.1), name
    assert float(found.cls_token.detach().std()) == pytest.approx(1e-6, rel=0.5)  # type: ignore[union-attr, operator]


def test_roles_name_all_layers_of_all_blocks() -> None:
    model = ViTElastic(MEMBER, **SIZE)
    roles = roles_of(model)
    assert [block.module for block in roles.blocks] == [model.blocks[i] for i in (0, 2, 3)]
    assert len(roles.attention) == len(roles.mlp) == 2 * 3
    assert roles.head == (model.head,)
    assert roles.final_norms == (model.norm,)
    assert {block.prefix_tokens for block in roles.blocks} == {1}


def test_what_is_not_decayed_is_as_in_timm() -> None:
    exempt = timms("p4-w48-d4-h3-m4", 16).no_weight_decay()
    model = ViTElastic(MEMBER, **SIZE)
    assert not_decayed(model) == {name for name in exempt if hasattr(model, name)} == {"cls_token", "pos_embed"}


def test_branches_are_dropped_more_often_from_place_to_place_empty_ones_counted() -> None:
    model: Any = ViTElastic(MEMBER, **SIZE, drop_path_rate=0.3)
    rates = [getattr(block.drop_path, "drop_prob", 0.0) for block in model.present_blocks()]
    assert rates == pytest.approx([0, 0.2, 0.3])


@pytest.mark.parametrize("img_size", [0, 2, 18])
def test_images_that_patches_do_not_tile_are_refused(img_size: int) -> None:
    with pytest.raises(
        ConfigError, match=rf"vit-elastic: img_size is {img_size}; it must be a multiple of patch_size 4"
    ):
        ViTElastic(MEMBER, img_size=img_size)


def test_exported_code_gives_the_same_logits_without_raynas(tmp_path: Path) -> None:
    out = raynas.export(SMALL.text(MEMBER), tmp_path / "found", space=SMALL.name, untrained=True, **SIZE)
    torch.save(images(2), tmp_path / "images.pt")
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
    built = raynas.build(SMALL.name, MEMBER, **SIZE)
    built.load_state_dict(load_file(out / "model.safetensors"))
    assert torch.allclose(torch.tensor(json.loads(done.stdout)), built.eval()(images(2)), atol=1e-6)


# -- members of a supernet ---------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def supernet() -> Supernet:
    torch.manual_seed(0)
    made = Supernet.fresh(SMALL, **SIZE)
    drawn(made.whole)
    return made


def test_thirty_members_equal_the_extracted_ones_with_gradients(supernet: Supernet) -> None:
    rng = np.random.default_rng(0)
    for _ in range(30):
        architecture = SMALL.sample(rng)
        extracted = supernet.extract(architecture)
        supernet.whole.zero_grad()
        found, expected = supernet(images(3), [architecture]), extracted(images(3))
        torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)
        found.square().mean().backward()
        expected.square().mean().backward()
        whole = dict(supernet.whole.named_parameters())
        for name, parameter in extracted.named_parameters():
            grad, own = whole[name].grad, parameter.grad
            assert grad is not None
            assert own is not None
            total = grad.abs().sum()
            if ".qkv." in name:
                grad, own = grad.unflatten(0, (3, -1)), own.unflatten(0, (3, -1))
            torch.testing.assert_close(grad[tuple(map(slice, own.shape))], own, rtol=1e-4, atol=1e-5)
            torch.testing.assert_close(own.abs().sum(), total, rtol=1e-4, atol=1e-5)  # elsewhere there is none


def test_members_share_a_batch(supernet: Supernet) -> None:
    rng = np.random.default_rng(1)
    chosen = [SMALL.largest(), *(SMALL.sample(rng) for _ in range(3)), SMALL.smallest()]
    with torch.no_grad():
        found = supernet(images(10), chosen)
        for i, architecture in enumerate(chosen):
            alone = supernet.extract(architecture)(images(10)[i::5])
            torch.testing.assert_close(found[i::5], alone, rtol=1e-5, atol=1e-5)


# -- starting from trained weights -------------------------------------------------------------------------------------


def places_of(name: str) -> list[int]:
    """The dimensions of a parameter along which channels stand, by hand."""
    if name in ("cls_token", "pos_embed"):
        return [2]
    if any(name.endswith(f"{layer}.weight") for layer in ("qkv", "fc1", "head")):
        return [1]
    return [] if any(name.endswith(f"{layer}.bias") for layer in ("qkv", "fc1", "head")) else [0]


def test_channels_stand_in_all_these_places() -> None:
    model = drawn(ViTElastic(MEMBER, **SIZE))
    (channels,) = model.channel_units()
    found = {(place.name, place.dimension) for place in channels.places}
    assert channels.number == 42
    assert all(place.stacked == 1 for place in channels.places)
    assert found == {(n, d) for n, p in model.named_parameters() for d in places_of(n)}
    parts = [(p.detach().double().abs(), d) for n, p in model.named_parameters() for d in places_of(n)]
    slow = [sum(float(part.select(d, channel).sum()) for part, d in parts) for channel in range(42)]
    assert importance(channels, dict(model.named_parameters())).tolist() == pytest.approx(slow, rel=1e-9)


@pytest.mark.parametrize("architecture", [SMALL.largest(), MEMBER])
def test_ordering_keeps_what_is_computed_and_puts_the_important_first(architecture: Any) -> None:
    model = drawn(ViTElastic(architecture, **SIZE, dtype=torch.float64))
    before, x = {name: value.clone() for name, value in model.state_dict().items()}, images(3, dtype=torch.float64)
    logits = model(x)
    ordered = ordered_weights(model, model.state_dict())
    assert all(value.equal(model.state_dict()[name]) for name, value in before.items())
    assert not ordered["head.weight"].equal(before["head.weight"])
    model.load_state_dict(ordered)
    torch.testing.assert_close(model(x), logits, rtol=0, atol=1e-6)
    for units in [*model.units(), *model.channel_units()]:
        found = importance(units, ordered)
        assert bool((found.diff() <= 0).all()), units.kind
    assert {units.kind for units in model.units()} == {"heads", "MLP units"}


def test_a_supernet_starts_as_the_network_that_was_trained() -> None:
    trained: Any = drawn(build(vit, vit.read("p4-w48-d4-h3-m4"), **SIZE))
    x = images(6)
    supernet = supernet_from(SMALL, trained.state_dict(), **SIZE)
    supernet.whole.eval()
    with torch.no_grad():
        torch.testing.assert_close(supernet(x, [supernet.largest]), trained(x), rtol=1e-5, atol=1e-5)
        found = supernet(x, [MEMBER, SMALL.smallest()])
        for i, architecture in enumerate((MEMBER, SMALL.smallest())):
            extracted = supernet.extract(architecture)
            torch.testing.assert_close(found[i::2], extracted(x[i::2]), rtol=1e-5, atol=1e-5)


def test_weights_of_another_network_are_refused() -> None:
    weights = timms("p4-w48-d4-h3-m4", 16).state_dict()
    for change, message in (
        ({"head.bias": torch.zeros(6)}, "head.bias is 6 among them and 5 in it"),
        ({"extra": torch.zeros(2, 3)}, "extra is 2x3 among them and missing in it"),
    ):
        with pytest.raises(SpaceError, match=message):
            supernet_from(SMALL, {**weights, **change}, **SIZE)
    with pytest.raises(SpaceError, match="cls_token is missing among them and 1x1x48 in it"):
        supernet_from(SMALL, {name: value for name, value in weights.items() if name != "cls_token"}, **SIZE)


def test_a_network_that_says_nothing_of_its_parts_keeps_them_in_their_places() -> None:
    weights = {"weight": torch.randn(2, 3), "bias": torch.randn(2)}
    assert ordered_weights(nn.Linear(3, 2), weights) == weights
