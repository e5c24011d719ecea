"""The PiT of the PiT spaces against timm's own, and against the closed forms."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import timm
import torch
from scipy import stats
from timm.models.pit import PoolingVisionTransformer
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

import raynas
from raynas.errors import ConfigError
from raynas.exporting.export import load_exported
from raynas.models.families.pit import PiT
from raynas.models.roles import roles_of
from raynas.models.weights import Constant, Normal, Uniform
from raynas.proxies.curve import circle
from raynas.proxies.probe import Probe
from raynas.proxies.registered import proxies
from raynas.space.registered import models, spaces
from searchspaces.pit import pit_small, pit_tiny, pit_xs

TINY = pit_tiny.read("b6-m2.5-d1,2,1-h2,2,4")


@pytest.fixture(autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)
    torch.manual_seed(0)


def drawn(architecture: Any = TINY, **settings: Any) -> Any:
    """A network whose weights are so large that its nonlinearities and positions matter."""
    model = PiT(architecture, **{"img_size": 64, "num_classes": 5, **settings})
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.normal_(0, 0.2 if parameter.ndim > 1 else 0.5)
    return model.eval()


def test_the_family_is_registered() -> None:
    assert models.get("pit") is PiT


@pytest.mark.parametrize(("space", "name"), [(pit_tiny, "pit-ti"), (pit_xs, "pit-xs"), (pit_small, "pit-s")])
def test_published_models_are_those_of_timm(space: Any, name: str) -> None:
    with torch.device("meta"):
        other = timm.create_model(f"{name.replace('-', '_')}_224")
    own = PiT(space.named[name], device="meta")
    assert {n: p.shape for n, p in own.named_parameters()} == {n: p.shape for n, p in other.named_parameters()}
    heads = [[block.attn.num_heads for block in stage.blocks] for stage in own.transformers]
    assert heads == [[block.attn.num_heads for block in stage.blocks] for stage in other.transformers]


def test_outputs_are_those_of_timms_own() -> None:
    own = drawn(pit_tiny.named["pit-ti"])
    other = timm.create_model("pit_ti_224", img_size=64, num_classes=5).eval()
    other.load_state_dict(own.state_dict())
    images = torch.randn(2, 3, 64, 64)
    with torch.no_grad():
        torch.testing.assert_close(own(images), other(images), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    "name", ["pit-tiny", *(pytest.param(f"pit-{one}", marks=pytest.mark.slow) for one in ("xs", "small"))]
)
def test_twenty_samples_cost_what_the_closed_forms_say(name: str) -> None:
    space: Any = spaces.get(name)
    rng = np.random.default_rng(0)
    for _ in range(20):
        architecture = space.sample(rng)
        img_size, num_classes = 8 * int(rng.integers(2, 40)), int(rng.integers(1, 1000))
        made = PiT(architecture, img_size=img_size, num_classes=num_classes, device="meta").requires_grad_(False)
        assert sum(p.numel() for p in made.parameters()) == space.num_params(architecture, img_size, num_classes)
        with FlopCounterMode(display=False) as counter:
            assert made(torch.empty(1, 3, img_size, img_size, device="meta")).shape == (1, num_classes)
        assert counter.get_total_flops() == 2 * space.macs(architecture, img_size, num_classes)


@pytest.mark.parametrize(("img_size", "sides"), [(224, (27, 14, 7)), (64, (7, 4, 2)), (24, (2, 1, 1)), (16, (1, 1, 1))])
def test_grids_are_halved_and_rounded_up(img_size: int, sides: tuple[int, ...]) -> None:
    model = drawn(img_size=img_size)
    shapes: list[Any] = []
    for stage in model.transformers:
        stage.register_forward_hook(lambda module, args, output: shapes.append((output[0].shape, output[1].shape)))
    with torch.no_grad():
        assert model(torch.randn(2, 3, img_size, img_size)).shape == (2, 5)
    widths = (12, 12, 24)
    assert shapes == [((2, c, s, s), (2, 1, c)) for c, s in zip(widths, sides, strict=True)]
    assert [stage.tokens - 1 for stage in pit_tiny.stages(TINY, img_size)] == [side**2 for side in sides]


@pytest.mark.parametrize("img_size", [0, 8, 20, 63, -64])
def test_images_that_patches_do_not_cover_are_refused(img_size: int) -> None:
    with pytest.raises(ConfigError, match=f"img_size is {img_size}; it must be a multiple of 8, and at least 16"):
        PiT(TINY, img_size=img_size, device="meta")


def test_fused_attention_gives_the_same_outputs() -> None:
    plain, fused = drawn(), PiT(TINY, img_size=64, num_classes=5, fused_attn=True).eval()
    fused.load_state_dict(plain.state_dict())
    kinds = [[block.attn.fused_attn for s in m.transformers for block in s.blocks] for m in (plain, fused)]
    assert kinds == [[False] * 4, [True] * 4]
    images = torch.randn(3, 3, 64, 64)
    with torch.no_grad():
        torch.testing.assert_close(plain(images), fused(images), rtol=1e-4, atol=1e-5)


def test_pooled_features_are_the_mean_over_the_tokens_of_the_last_block() -> None:
    model = drawn()
    left: list[torch.Tensor] = []
    model.transformers[2].blocks[-1].register_forward_hook(lambda module, args, output: left.append(output))
    images = torch.randn(2, 3, 64, 64)
    with torch.no_grad():
        logits = model(images)
        assert left[0].shape == (2, 5, 24)
        torch.testing.assert_close(model.pooled_features(images), left[0].mean(1))
        torch.testing.assert_close(model.head(model.norm(left[0][:, 0])), logits)


def test_roles_are_those_of_each_part() -> None:
    model = drawn()
    roles = roles_of(model)
    layers = {module for module in model.modules() if isinstance(module, nn.Linear)}
    pools = {stage.pool.fc for stage in model.transformers[1:]}
    assert set(roles.attention) | set(roles.mlp) | set(roles.head) == layers - pools
    assert (len(roles.attention), len(roles.mlp), roles.head) == (8, 8, (model.head,))
    assert roles.final_norms == (model.norm,)
    maps: list[Any] = []
    for block in roles.blocks:
        block.module.register_forward_hook(
            lambda module, args, output, block=block: maps.append(block.feature_map(output).shape)
        )
        assert block.middle is block.module.norm2
    with torch.no_grad():
        model(torch.randn(2, 3, 64, 64))
    assert maps == [(2, 12, 7, 7), (2, 12, 4, 4), (2, 12, 4, 4), (2, 24, 2, 2)]


def test_length_distortion_is_that_of_central_differences() -> None:
    model = drawn().double().requires_grad_(False)
    probe = Probe(TINY, model, img_size=64)
    value = proxies.get("length_distortion").configured(norms=True, points=3)(probe)["length_distortion"]
    images, velocities = circle(probe, points=3, radius=1.0, endpoint=False)
    h = 1e-3

    def at(angle: float) -> torch.Tensor:
        return model.pooled_features(images * math.cos(angle) + velocities * math.sin(angle))

    slopes = (at(-2 * h) - 8 * at(-h) + 8 * at(h) - at(2 * h)) / (12 * h)
    assert value == pytest.approx(float(slopes.norm(dim=1).mean()), rel=1e-6)


# -- initial weights ---------------------------------------------------------------------------------------------------


def test_the_table_of_initial_distributions_is_that_of_timm() -> None:
    model = timm.create_model("pit_ti_224", img_size=64)
    table = PiT(pit_tiny.named["pit-ti"], img_size=64, device="meta").init_table()
    assert set(table) == {name for name, _ in model.named_parameters()}
    for name, parameter in model.named_parameters():
        init, values = table[name], parameter.detach().numpy().ravel()
        if isinstance(init, Constant):
            assert (values == init.value).all(), name
        elif isinstance(init, Uniform):
            assert stats.kstest(values, stats.uniform(-init.bound, 2 * init.bound).cdf).pvalue > 1e-5, name
        else:
            assert stats.kstest(values, stats.norm(scale=init.std).cdf).pvalue > 1e-5, name
    assert table["pos_embed"] == table["cls_token"] == Normal(0.02)
    assert table["transformers.1.pool.conv.bias"] == Uniform(1 / 3)  # one channel of 3 x 3 goes into each output


def test_on_the_meta_device_nothing_is_allocated() -> None:
    model = PiT(TINY, device="meta")
    assert all(parameter.is_meta for parameter in model.parameters())
    assert not list(model.buffers())


def test_an_exported_network_gives_the_same_outputs(tmp_path: Any) -> None:
    """Its code gives those of large weights too, and `export` compares what it wrote before it returns."""
    text = pit_xs.text(TINY)
    folder = raynas.export(text, tmp_path / "out", space=pit_xs, untrained=True, img_size=64, num_classes=5)
    exported, model = load_exported(folder), drawn()
    assert isinstance(exported, PoolingVisionTransformer)
    exported.load_state_dict(model.state_dict())
    images = torch.randn(2, 3, 64, 64)
    with torch.no_grad():
        torch.testing.assert_close(exported(images), model(images))
