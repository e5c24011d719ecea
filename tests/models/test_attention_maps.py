"""Attention as it is seen in networks, against products of their own queries and keys."""

from __future__ import annotations

from typing import Any

import pytest
import timm
import torch
from torch import nn

from raynas.errors import ConfigError
from raynas.models.attention_maps import attention_logits, looked_at, through_noting
from raynas.models.token_stages import TokenStages
from raynas.space.build import build
from raynas.space.registered import spaces

NETWORKS = {
    "vit": ("p8-w48-d3-h4-m2", 32),
    "autoformer-tiny-plain": ({"embed_dim": 192, "depth": 12, "mlp_ratio": [4] * 12, "num_heads": [4, 3] * 6}, 64),
}


def network(space: str, **settings: Any) -> tuple[nn.Module, int]:
    found = spaces.get(space)
    architecture, size = NETWORKS[space]
    torch.manual_seed(0)
    return build(found, found.read(architecture), img_size=size, num_classes=5, **settings).eval(), size


@pytest.mark.parametrize("is_fused", [True, False])
@pytest.mark.parametrize("space", NETWORKS)
def test_logits_are_products_of_queries_and_keys(space: str, is_fused: bool) -> None:
    model, size = network(space, fused_attn=is_fused)
    stages = TokenStages(model)
    tokens = stages.embedded(torch.randn(2, 3, size, size))
    block: Any = model.blocks[1]  # type: ignore[index, union-attr]
    before = stages.through(tokens, 0, 1)
    output, (found,) = through_noting(stages, tokens, [1])
    assert torch.equal(output, stages.through(before, 1, 2))
    heads = block.attn.num_heads
    q, k, _ = block.attn.qkv(block.norm1(before)).reshape(2, -1, 3, heads, 192 // heads if size == 64 else 12).unbind(2)
    by_hand = torch.einsum("bnhd,bmhd->bhnm", q, k) / q.shape[-1] ** 0.5
    assert torch.allclose(found, by_hand, atol=1e-5)
    assert found.requires_grad


@pytest.mark.parametrize("space", NETWORKS)
def test_stages_are_the_network(space: str) -> None:
    model, size = network(space)
    stages, images = TokenStages(model), torch.randn(2, 3, size, size)
    tokens = stages.through(stages.embedded(images))
    forward_head: Any = model.forward_head
    assert torch.allclose(forward_head(stages.normalised(tokens)), model(images), atol=1e-6)
    found = looked_at(model, size)
    assert (found.side, found.prefix, found.depth) == (4, 1, len(model.blocks))  # type: ignore[arg-type]
    assert found.heads == tuple(block.attn.num_heads for block in model.blocks)  # type: ignore[union-attr]


@pytest.mark.parametrize("space", NETWORKS)
def test_some_patches_alone_do_not_see_the_others(space: str) -> None:
    model, size = network(space)
    stages = TokenStages(model)
    tokens = stages.embedded(torch.randn(1, 3, size, size))
    some = tokens[:, [0, 3, 7]]
    assert torch.equal(stages.through(some), stages.through(some.clone()))
    assert stages.through(some).shape == some.shape


def test_networks_on_the_meta_device_are_looked_at_too() -> None:
    with torch.device("meta"):
        model, size = network("vit")
    assert looked_at(model, size).heads == (4, 4, 4)


def test_any_plain_vision_transformer_of_timm_has_stages() -> None:
    model = timm.create_model("vit_tiny_patch16_224", img_size=64, num_classes=0).eval()
    assert looked_at(model, 64).heads == (3,) * 12


@pytest.mark.parametrize("name", ["resnet10t", "swin_tiny_patch4_window7_224"])
def test_others_are_refused(name: str) -> None:
    with pytest.raises(ConfigError, match="cannot be computed on some of its patches"):
        TokenStages(timm.create_model(name))


def test_attention_that_knows_relative_positions_is_refused() -> None:
    space = spaces.get("autoformer-tiny")
    with pytest.raises(ConfigError, match="cannot be computed on some of its patches"):
        TokenStages(build(space, space.read(NETWORKS["autoformer-tiny-plain"][0]), img_size=64, num_classes=5))


def test_masks_and_scales_of_the_fused_function_count() -> None:
    q, k, v = torch.randn(3, 2, 4, 5, 8).unbind(0)
    allowed = torch.rand(5, 5) > 0.3
    allowed.fill_diagonal_(True)
    with attention_logits() as found:
        seen = torch.nn.functional.scaled_dot_product_attention(q, k, v, attn_mask=allowed, scale=0.7)
        torch.nn.functional.scaled_dot_product_attention(q, k, v, attn_mask=torch.ones(5, 5))
    assert torch.allclose(found[0].softmax(-1) @ v, seen, atol=1e-5)
    assert torch.allclose(found[1], q @ k.mT / 8**0.5 + 1, atol=1e-5)


def test_softmaxes_of_logits_are_no_attention() -> None:
    with attention_logits() as found:
        torch.randn(4, 10).softmax(-1)
        torch.randn(2, 3, 4, 4).softmax(1)
    assert not found
