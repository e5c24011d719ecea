"""Scores of attention and of a masked autoencoder's first steps: what they need, leave alone and see."""

from __future__ import annotations

import copy
import math

import pytest
import timm
import torch

from raynas.errors import ConfigError, NotApplicableError
from raynas.proxies.probe import Probe
from raynas.proxies.registered import proxies
from raynas.space.architecture import Architecture
from raynas.space.build import build
from raynas.space.registered import spaces


def vit(text: str = "p8-w48-d3-h4-m2", **settings: object) -> torch.nn.Module:
    space = spaces.get("vit")
    torch.manual_seed(0)
    return build(space, space.read(text), img_size=32, num_classes=10, **settings).eval().requires_grad_(False)


def probe(model: torch.nn.Module, **settings: object) -> Probe:
    images = torch.randn(6, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    return Probe(Architecture({}), model, img_size=32, images=images, **settings)  # type: ignore[arg-type]


def test_even_attention_has_known_values() -> None:
    model = vit()
    for block in model.blocks:  # type: ignore[union-attr]
        block.attn.qkv.weight.zero_()  # type: ignore[union-attr]
        block.attn.qkv.bias.zero_()  # type: ignore[union-attr]
    entropy = proxies.get("attention_entropy")(probe(model))
    assert entropy == pytest.approx(dict.fromkeys(entropy, math.log(16)), abs=1e-3)
    apart = [math.hypot(a // 4 - b // 4, a % 4 - b % 4) for a in range(16) for b in range(16)]
    distance = proxies.get("attention_distance")(probe(model))
    assert distance == pytest.approx(dict.fromkeys(distance, sum(apart) / 256), rel=1e-5)


def test_halves_are_of_the_first_and_the_last_blocks() -> None:
    model = vit()
    model.blocks[0].attn.qkv.weight.mul_(40)  # type: ignore[index, union-attr, operator]
    found = proxies.get("attention_entropy")(probe(model))
    assert found["attention_entropy_early"] < found["attention_entropy"] < found["attention_entropy_late"]


@pytest.mark.parametrize("name", ["attention_distance", "attention_entropy"])
def test_a_batch_in_parts_has_the_same_value(name: str) -> None:
    whole, parts = (proxies.get(name)(probe(vit(), max_batch=batch)) for batch in (None, 4))
    assert whole == pytest.approx(parts, rel=1e-6)


def test_a_network_that_learned_has_a_lower_loss_and_is_left_alone() -> None:
    model = vit()
    before = copy.deepcopy(model.state_dict())
    state = torch.random.get_rng_state()
    losses = [proxies.get("mae_loss").configured(steps=steps)(probe(model))["mae_loss"] for steps in (0, 10, 60)]
    assert losses == sorted(losses, reverse=True)
    assert losses[0] > 1  # an error of targets of variance 1
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert not any(parameter.requires_grad or parameter.grad is not None for parameter in model.parameters())
    assert torch.equal(state, torch.random.get_rng_state())
    assert proxies.get("mae_loss").configured(steps=10)(probe(model))["mae_loss"] == losses[1]


@pytest.mark.parametrize("name", ["attention_distance", "attention_entropy", "mae_loss"])
@pytest.mark.parametrize("model", ["resnet10t", "convnext_atto"])
def test_networks_without_tokens_are_not_applicable(name: str, model: str) -> None:
    with pytest.raises(NotApplicableError):
        proxies.get(name)(probe(timm.create_model(model, num_classes=10).eval().requires_grad_(False)))


def test_a_mask_that_leaves_no_patch_is_not_applicable() -> None:
    with pytest.raises(NotApplicableError, match="leaves no patch of 4"):
        proxies.get("mae_loss").configured(mask_ratio=0.9)(probe(vit("p16-w48-d1-h4-m2")))


@pytest.mark.parametrize("settings", [{"steps": -1}, {"mask_ratio": 1.0}, {"mask_ratio": 0.0}, {"lr": 0.0}])
def test_settings_out_of_range_are_refused(settings: dict[str, float]) -> None:
    with pytest.raises(ConfigError):
        proxies.get("mae_loss").configured(**settings)
