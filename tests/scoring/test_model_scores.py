"""Scores of models that are at hand: of torch, of timm, of one's own."""

from __future__ import annotations

import pytest
import timm
import torch
from torch import nn
from torch.nn.attention import SDPBackend, sdpa_kernel

import raynas
from raynas.errors import ConfigError
from raynas.proxies.registered import proxies


def own_model() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(3, 8, 4, 4), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 10))


def test_a_model_that_tells_nothing_has_the_scores_that_need_nothing() -> None:
    model = own_model()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    found = raynas.score_model(model, img_size=16, data="digits")
    assert {outcome.status for outcome in found.values()} == {"ok", "not_applicable"}
    assert {"snip", "synflow", "fisher", "jacob_cov", "naswot", "zico"} <= {n for n, o in found.items() if o.value}
    assert "attention" in str(found["dss"].error)
    assert "head that is known" in str(found["length_distortion"].error)
    layers = [m for m in model if isinstance(m, nn.Linear | nn.Conv2d)]
    norms = sum(float(layer.weight.detach().double().norm()) for layer in layers)
    assert found["l2_norm"].value == pytest.approx(norms)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


def test_a_model_of_timm_has_all_scores() -> None:
    torch.manual_seed(0)
    model = timm.create_model("vit_tiny_patch16_224", img_size=32, depth=2, embed_dim=24, num_classes=10)
    found = raynas.score_model(model, img_size=32, data="digits", batch_size=12)
    lacking = {name for name, outcome in found.items() if outcome.status != "ok"}
    assert lacking - {"zico_layerwise"} == {"tvt_teacher", "tvt_capability"}  # there is no teacher
    assert found["depth"].value == 2
    assert found["width"].value == 24


def test_scores_have_second_derivatives_where_fused_attention_has_none() -> None:
    class Fused(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.embed = nn.Conv2d(3, 8, 4, 4)
            self.head = nn.Linear(8, 10)

        def forward(self, images: torch.Tensor) -> torch.Tensor:
            x = self.embed(images).flatten(2).mT[:, None]
            return self.head(nn.functional.scaled_dot_product_attention(x, x, x).mean((1, 2)))

    torch.manual_seed(0)
    model = Fused()
    x = torch.randn(2, 3, 16, 16)
    (gradient,) = torch.autograd.grad(model(x).square().sum(), model.embed.weight, create_graph=True)
    with pytest.raises(RuntimeError), sdpa_kernel(SDPBackend.FLASH_ATTENTION):
        (gradient,) = torch.autograd.grad(model(x).square().sum(), model.embed.weight, create_graph=True)
        gradient.square().sum().backward()
    assert raynas.score_model(model, ["grasp"], img_size=16, data="digits")["grasp"].status == "ok"


def test_a_proxy_that_does_not_exist_is_named() -> None:
    with pytest.raises(raynas.RaynasError, match="snap"):
        raynas.score_model(own_model(), ["snap"], img_size=16)
    assert "snip" in proxies


def test_a_model_that_takes_other_images_is_refused() -> None:
    grey = nn.Sequential(nn.Conv2d(1, 4, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 10))
    with pytest.raises(ConfigError, match=r"does not take images \(1, 3, 16, 16\): .* to have 1 channels, but got 3"):
        raynas.score_model(grey, ["synflow"], img_size=16)
    fixed = nn.Sequential(nn.Flatten(), nn.Linear(3 * 8 * 8, 10)).double()
    with pytest.raises(ConfigError, match=r"does not take images \(1, 3, 16, 16\)"):
        raynas.score_model(fixed, ["synflow"], img_size=16)
    assert raynas.score_model(fixed, ["synflow"], img_size=8)["synflow"].status == "ok"


def classifier(num_classes: int) -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(3, 8, 4, 4), nn.ReLU(), nn.Flatten(), nn.Linear(8 * 16, num_classes))


OF_LABELS = [name for name in proxies if proxies.get(name).needs_labels]


def test_labels_are_of_the_models_classes() -> None:
    found = raynas.score_model(classifier(3), OF_LABELS, img_size=16)
    assert {outcome.status for outcome in found.values()} == {"ok"}
    found = raynas.score_model(classifier(3), OF_LABELS, img_size=16, data="digits")
    lacking = {name: str(outcome.error) for name, outcome in found.items() if outcome.status == "not_applicable"}
    assert lacking.keys() == set(OF_LABELS) - {"epe_nas"}  # which takes no loss
    assert all("needs labels below 3" in text for text in lacking.values())


def test_one_class_leaves_nothing_to_lose() -> None:
    found = raynas.score_model(classifier(1), [*OF_LABELS, "naswot"], img_size=16)
    told = {name: str(outcome.error) for name, outcome in found.items() if outcome.status == "not_applicable"}
    assert told.keys() == set(OF_LABELS) - {"epe_nas"}
    assert all("takes at least two classes, and the network has 1" in text for text in told.values())
    assert found["naswot"].status == "ok"
