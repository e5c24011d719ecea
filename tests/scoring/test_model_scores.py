"""Scores of models that are at hand: of torch, of timm, of one's own."""

from __future__ import annotations

import pytest
import timm
import torch
from torch import nn
from torch.nn.attention import SDPBackend, sdpa_kernel

import raynas
from raynas.errors import ConfigError
from raynas.models.roles import Block, Roles
from raynas.proxies.registered import proxies
from raynas.space.results import Outcome


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


class Heads(nn.Module):
    """A network that calls its parts by position, by name, or not at all, as it computes with their weights itself."""

    def __init__(self, how: str) -> None:
        super().__init__()
        self.how = how
        self.embed = nn.Conv2d(3, 8, 4, 4)
        self.bn, self.act = nn.BatchNorm2d(8), nn.GELU()
        self.block = nn.Conv2d(8, 8, 1)
        self.norm = nn.LayerNorm(8)
        self.classifier = nn.Linear(8, 10)

    def roles(self) -> Roles:
        blocks = (Block(self.block, channels_first=True),)
        return Roles(head=(self.classifier,), final_norms=(self.norm,), blocks=blocks)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        x = self.embed(images)
        if self.how == "not at all":
            block, head = self.block, self.classifier
            x = nn.functional.conv2d(self.act(self.bn(x)), block.weight, block.bias)
            return nn.functional.linear(self.norm(x.mean((2, 3))), head.weight, head.bias)
        if self.how == "by name":
            x = self.block(input=self.act(input=self.bn(input=x)))
            return self.classifier(input=self.norm(input=x.mean((2, 3))))
        return self.classifier(self.norm(self.block(self.act(self.bn(x))).mean((2, 3))))


def scores_of(how: str) -> dict[str, Outcome]:
    torch.manual_seed(0)
    return raynas.score_model(Heads(how), img_size=16, data="digits")


def test_parts_that_are_called_by_name_have_the_scores_of_those_called_by_position() -> None:
    expected, found = scores_of("by position"), scores_of("by name")
    assert {name: one.status for name, one in found.items()} == {name: one.status for name, one in expected.items()}
    for name, outcome in found.items():
        if outcome.value is not None:
            # The quotient of eigenvalues is what rounding makes of it, and gradients by name are taken image by image.
            rel = 0.1 if name == "ntk_condition" else 1e-4
            assert outcome.value == pytest.approx(expected[name].value, rel=rel), name
    assert {"naswot", "zen", "length_distortion", "entropy"} <= {n for n, one in found.items() if one.status == "ok"}


def test_a_part_that_is_never_called_is_named() -> None:
    expected, found = scores_of("by position"), scores_of("not at all")
    failed = {name: one for name, one in found.items() if one.status != expected[name].status}
    assert {one.status for one in failed.values()} == {"not_applicable"}, failed
    told = {name: str(one.error) for name, one in failed.items()}
    assert all("its classifier" in told[name] for name in ("zen", "length_distortion", "ntk_condition"))
    assert all("its block" in told[name] for name in ("entropy", "meco"))


def test_a_model_is_scored_the_same_under_a_default_device_of_the_caller() -> None:
    expected = raynas.score_model(own_model(), ["snip", "naswot"], img_size=16)
    model = own_model()
    with torch.device("meta"):
        found = raynas.score_model(model, ["snip", "naswot"], img_size=16)
    assert {name: one.value for name, one in found.items()} == {name: one.value for name, one in expected.items()}


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
