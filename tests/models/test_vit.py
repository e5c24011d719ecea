"""The ViT of the space `vit` against timm's own."""

from __future__ import annotations

import math

import pytest
import timm
import torch
from scipy import stats

from raynas.errors import ConfigError
from raynas.models.families.vit import plain_vit
from raynas.models.networks import Networks
from raynas.models.weights import Constant
from raynas.proxies.curve import circle
from raynas.proxies.probe import Probe
from raynas.proxies.registered import proxies
from raynas.space.registered import models
from searchspaces.vit import vit

TINY = vit.read("p8-w24-d3-h3-m2.5")


@pytest.fixture(autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)
    torch.manual_seed(0)


def test_the_family_is_registered() -> None:
    assert models.get("vit") is plain_vit


@pytest.mark.parametrize("name", ["deit-tiny", "deit-small"])
def test_published_models_are_those_of_timm(name: str) -> None:
    own = plain_vit(vit.named[name], img_size=224, num_classes=1000).eval()
    other = timm.create_model(f"{name.replace('-', '_')}_patch16_224").eval()
    other.load_state_dict(own.state_dict())
    images = torch.randn(1, 3, 224, 224)
    with torch.no_grad():
        torch.testing.assert_close(own(images), other(images), rtol=1e-4, atol=1e-5)


def test_fused_attention_gives_the_same_outputs() -> None:
    plain = plain_vit(TINY, img_size=32, num_classes=5).eval()
    fused = plain_vit(TINY, img_size=32, num_classes=5, fused_attn=True).eval()
    fused.load_state_dict(plain.state_dict())
    assert not any(block.attn.fused_attn for block in plain.blocks)
    assert all(block.attn.fused_attn for block in fused.blocks)
    images = torch.randn(3, 3, 32, 32)
    with torch.no_grad():
        torch.testing.assert_close(plain(images), fused(images), rtol=1e-4, atol=1e-5)


def test_pooled_features_are_the_mean_of_what_enters_the_last_norm() -> None:
    model = plain_vit(TINY, img_size=32, num_classes=5).eval()
    entered = []
    model.norm.register_forward_pre_hook(lambda module, args: entered.append(args[0]))
    images = torch.randn(2, 3, 32, 32)
    with torch.no_grad():
        model(images)
        assert entered[0].shape == (2, 17, 24)
        torch.testing.assert_close(model.pooled_features(images), entered[0].mean(1))


def test_the_table_of_initial_distributions_is_that_of_timm() -> None:
    architecture = vit.read("p8-w96-d1-h3-m4")
    drawn = plain_vit(architecture, img_size=32, num_classes=50).state_dict()
    banked = (
        Networks(plain_vit, {"img_size": 32, "num_classes": 50}, score_seed=0).network(architecture, 0).state_dict()
    )
    table = plain_vit(architecture, img_size=32, num_classes=50, device="meta").init_table()
    assert list(table) == list(drawn) == list(banked)
    for name, init in table.items():
        if isinstance(init, Constant):
            assert (drawn[name] == init.value).all(), name
            assert (banked[name] == init.value).all(), name
        else:
            assert stats.ks_2samp(drawn[name].ravel(), banked[name].ravel()).pvalue > 1e-4, name


def test_on_the_meta_device_nothing_is_allocated() -> None:
    model = plain_vit(vit.named["deit-base"], device="meta")
    assert all(parameter.is_meta for parameter in model.parameters())


def test_length_distortion_is_that_of_central_differences() -> None:
    model = plain_vit(TINY, img_size=16, num_classes=5).double().eval().requires_grad_(False)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim > 1:
                parameter.normal_(0, 0.3)
    probe = Probe(TINY, model, img_size=16)
    value = proxies.get("length_distortion").configured(norms=True, points=4)(probe)["length_distortion"]
    images, velocities = circle(probe, points=4, radius=1.0, endpoint=False)
    h = 1e-3

    def at(angle: float) -> torch.Tensor:
        return model.pooled_features(images * math.cos(angle) + velocities * math.sin(angle))

    slopes = (at(-2 * h) - 8 * at(-h) + 8 * at(h) - at(2 * h)) / (12 * h)
    assert value == pytest.approx(float(slopes.norm(dim=1).mean()), rel=1e-6)


@pytest.mark.parametrize("img_size", [0, 20, 12, -8])
def test_images_that_patches_do_not_tile_are_refused(img_size: int) -> None:
    with pytest.raises(ConfigError, match=f"img_size is {img_size}.*multiple of patch_size 8"):
        plain_vit(TINY, img_size=img_size, device="meta")
