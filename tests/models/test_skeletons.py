"""Networks of copied parts: equal to those whose parts were made one by one, and independent of each other."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from raynas import Architecture
from raynas.models.families.autoformer import AutoFormer
from raynas.models.families.autoformer_network import Block
from raynas.models.networks import Networks
from raynas.models.skeletons import copied_on_meta
from raynas.space.registered import spaces


class PartByPart(AutoFormer):
    make_block: Any = Block


def sampled(count: int) -> list[Architecture]:
    rng = np.random.default_rng(0)
    return [spaces.get("autoformer-tiny").sample(rng) for _ in range(count)]


def plain(state: dict[str, Any]) -> dict[str, Any]:
    """What a module holds beside parameters and modules, and the names of these."""
    return {name: [*value] if name in ("_parameters", "_modules") else value for name, value in state.items()}


def test_networks_equal_those_made_part_by_part() -> None:
    for architecture in sampled(5):
        copied = AutoFormer(architecture, img_size=32, num_classes=10, device=torch.device("meta"))
        made = PartByPart(architecture, img_size=32, num_classes=10, device=torch.device("meta"))
        pairs = list(zip(copied.named_modules(), made.named_modules(), strict=True))
        assert len(pairs) > 100
        for (name, one), (other_name, other) in pairs:
            assert name == other_name
            assert type(one) is type(other) or isinstance(other, PartByPart)
            assert plain(one.__dict__) == plain(other.__dict__)
        parameters = list(copied.parameters())
        assert [p.shape for p in parameters] == [p.shape for p in made.parameters()]
        assert all(type(p) is nn.Parameter and p.requires_grad and p.is_meta for p in parameters)


def test_scores_equal_those_of_networks_made_part_by_part() -> None:
    images = torch.randn(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    settings = {"img_size": 32, "num_classes": 10}
    copied, made = (Networks(builder, settings, score_seed=3) for builder in (AutoFormer, PartByPart))
    for architecture in sampled(5):
        with torch.no_grad():
            logits = [networks.network(architecture, 0)(images) for networks in (copied, made)]
        assert torch.equal(*logits)


def test_no_block_of_a_second_network_is_made(monkeypatch: pytest.MonkeyPatch) -> None:
    architecture = sampled(1)[0]
    settings: dict[str, Any] = {"img_size": 32, "num_classes": 10, "device": "meta"}
    AutoFormer(architecture, **settings)
    made: list[Any] = []
    monkeypatch.setattr(Block, "__init__", lambda *arguments, **_: made.append(arguments))
    AutoFormer(architecture, **settings)
    assert not made
    PartByPart(architecture, **settings)
    assert len(made) == architecture["depth"]


def test_nothing_done_to_a_network_shows_in_another() -> None:
    architecture = sampled(1)[0]

    def make() -> AutoFormer:
        return AutoFormer(architecture, img_size=32, num_classes=10, device=torch.device("meta"))

    spoilt = make()
    for name, module in spoilt.named_modules():
        module.register_forward_hook(lambda *_: None)
        module.mark = name
        module.requires_grad_(False).eval()
    first: Any = spoilt.blocks[0]
    first.attn.fused_attn = True
    first.attn.extra = nn.Linear(1, 1)
    first.norm1.weight = nn.Parameter(torch.ones(7))
    assert not any(hasattr(module, "extra") for block in spoilt.blocks[1:] for module in block.modules())

    fresh = make()
    assert not any(module._forward_hooks or hasattr(module, "mark") for module in fresh.modules())
    assert all(module.training for module in fresh.modules())
    assert all(parameter.requires_grad for parameter in fresh.parameters())
    assert not {id(parameter) for parameter in fresh.parameters()} & {
        id(parameter) for parameter in spoilt.parameters()
    }
    first = fresh.blocks[0]
    assert not first.attn.fused_attn
    assert not hasattr(first.attn, "extra")
    assert first.norm1.weight.shape == (architecture["embed_dim"],)


@pytest.mark.parametrize("device", ["meta", torch.device("meta")])
def test_parts_are_made_once_on_the_meta_device(device: Any) -> None:
    widths: list[int] = []

    def make(width: int, *, device: Any = None) -> nn.Module:
        widths.append(width)
        return nn.Linear(width, width, device=device)

    copying = copied_on_meta(make)
    parts = [copying(width, device=device) for width in (2, 3, 2, 2)]
    assert widths == [2, 3]
    assert len({id(part) for part in parts}) == 4
    assert repr(parts[3]) == repr(nn.Linear(2, 2))


def test_parts_with_values_are_all_made() -> None:
    copying = copied_on_meta(nn.Linear)
    one, other = copying(2, 2, device="cpu"), copying(2, 2)
    assert not torch.equal(one.weight, other.weight)


def test_parts_do_not_depend_on_the_mode_that_the_first_was_made_in() -> None:
    copying = copied_on_meta(nn.Linear)
    with torch.inference_mode():
        copying(2, 2, device="meta")
    part = copying(2, 2, device="meta")
    assert part.weight.requires_grad and not part.weight.is_inference()
    torch.set_default_dtype(torch.float64)
    try:
        assert copying(2, 2, device="meta").weight.dtype == torch.float64
    finally:
        torch.set_default_dtype(torch.float32)
