"""Weights that follow from seeds alone."""

from __future__ import annotations

import errno
import mmap
from typing import Any

import numpy as np
import pytest
import timm
import torch
from scipy import stats
from torch import nn

from raynas import Architecture
from raynas.models.families.as_vit import AsViT
from raynas.models.networks import Networks, RandomNumberPool, redraw
from raynas.models.weights import Constant, Init, Normal, Uniform
from raynas.scoring.evaluator import is_out_of_memory
from searchspaces.as_vit import as_vit

SMALL = as_vit.named["seed"]
OTHER = SMALL.replace(mlp_ratio=[2, 2, 2, 2])
SETTINGS = {"img_size": 32, "num_classes": 10, "pos_embed": False}


class TwoScales(nn.Module):
    """Normal parameters of two scales, taking turns."""

    def __init__(self, architecture: Architecture, *, device: str = "cpu", **_: Any) -> None:
        super().__init__()
        sizes = [int(architecture["width"]), 7, 300_000, 11]  # type: ignore[arg-type]
        self.parts = nn.ParameterList([nn.Parameter(torch.empty(n, device=device)) for n in sizes])

    def init_table(self) -> dict[str, Init]:
        return {f"parts.{i}": Normal(0.5 if i % 2 else 2.0) for i in range(4)}


def networks(builder: Any = AsViT, *, score_seed: int = 0, **settings: Any) -> Networks:
    return Networks(builder, settings or SETTINGS, score_seed=score_seed)


def state(model: nn.Module) -> dict[str, np.ndarray]:
    return {name: value.numpy().copy() for name, value in model.state_dict().items()}


def assert_equal(first: dict[str, np.ndarray], second: dict[str, np.ndarray]) -> None:
    assert first.keys() == second.keys()
    assert all(np.array_equal(first[name], second[name]) for name in first)


def test_each_parameter_has_its_distribution() -> None:
    model = networks().network(SMALL, 0)
    for name, value in state(model).items():
        init = AsViT(SMALL, **SETTINGS).init_table()[name]
        flat = value.ravel().astype(float)
        if isinstance(init, Constant):
            assert (flat == init.value).all(), name
        elif isinstance(init, Uniform):
            assert stats.kstest(flat / init.bound, stats.uniform(-1, 2).cdf).pvalue > 1e-4, name
        else:
            assert stats.kstest(flat / init.std, stats.norm.cdf).pvalue > 1e-4, name


def test_scores_agree_in_distribution_with_ordinary_initialisation() -> None:
    images = torch.randn(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    ours, ordinary = [], []
    made = networks()
    torch.manual_seed(0)
    with torch.no_grad():
        for repeat in range(60):
            ours.append(float(made.network(SMALL, repeat)(images).std()))  # type: ignore[operator]
            ordinary.append(float(AsViT(SMALL, **SETTINGS).eval()(images).std()))
    assert stats.ks_2samp(ours, ordinary).pvalue > 1e-3


def test_a_draw_depends_on_nothing_but_its_seeds() -> None:
    expected = state(networks().network(SMALL, 1))
    made = networks()
    made.network(as_vit.named["as-vit-small"], 0)  # a larger bank
    made.network(OTHER, 1)
    made.network(SMALL, 0)
    made.network(SMALL, 1, torch.float64)
    made.network(SMALL, 1, shared_draws=True)
    assert_equal(state(made.network(SMALL, 1)), expected)
    assert_equal(state(made.network(SMALL, 1)), expected)


@pytest.mark.parametrize("other", [{"repeat": 2}, {"score_seed": 1}, {"architecture": OTHER}])
def test_other_seeds_give_other_weights(other: dict[str, Any]) -> None:
    first = state(networks().network(SMALL, 1))
    made = networks(score_seed=other.get("score_seed", 0))
    second = state(made.network(other.get("architecture", SMALL), other.get("repeat", 1)))
    compared = 0
    for name in first:
        if name.endswith("weight") and first[name].ndim > 1 and first[name].shape == second[name].shape:
            assert abs(np.corrcoef(first[name].ravel(), second[name].ravel())[0, 1]) < 0.1, name
            compared += 1
    assert compared > 5


def test_shared_draws_are_those_of_every_architecture() -> None:
    made = networks()
    first = state(made.network(SMALL, 0, shared_draws=True))
    second = state(made.network(SMALL.replace(split=[4, 1, 1, 1]), 0, shared_draws=True))
    assert_equal(first, second)


def test_no_number_is_used_twice_in_a_network(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(RandomNumberPool, "_grown", lambda bank, length: torch.arange(length, dtype=torch.float64))
    for width in (1, 1000, 748_571, 748_258, 2_000_000):
        for repeat in range(5):
            model = networks(TwoScales, img_size=1).network(Architecture({"width": width}), repeat, torch.float64)
            parts = [value / (0.5 if i % 2 else 2.0) for i, value in enumerate(state(model).values())]
            numbers = np.concatenate(parts)
            assert len(np.unique(numbers)) == len(numbers)


def test_float64_weights_are_the_same_numbers() -> None:
    made = networks()
    single = {name: value.astype(float) for name, value in state(made.network(SMALL, 0)).items()}
    assert_equal(state(made.network(SMALL, 0, torch.float64)), single)


def test_a_model_without_a_table_is_built_under_the_seed() -> None:
    def build(architecture: Architecture, *, img_size: int, num_classes: int) -> nn.Module:
        return nn.Linear(int(architecture["width"]), num_classes)  # type: ignore[arg-type]

    before = torch.random.get_rng_state()
    made = networks(build, img_size=1, num_classes=3)
    architecture = Architecture({"width": 5})
    first, second, other = (state(made.network(architecture, repeat)) for repeat in (0, 0, 1))
    assert_equal(first, second)
    assert not np.array_equal(first["weight"], other["weight"])
    assert torch.equal(torch.random.get_rng_state(), before)
    model = made.network(architecture, 0)
    assert not model.training
    assert not any(parameter.requires_grad for parameter in model.parameters())


def test_a_table_that_misses_a_parameter_is_refused() -> None:
    class Incomplete(TwoScales):
        def init_table(self) -> dict[str, Init]:
            return {"parts.0": Normal(1.0)}

    with pytest.raises(RuntimeError, match=r"differ in \['parts.1', 'parts.2', 'parts.3'\]"):
        networks(Incomplete, img_size=1).network(Architecture({"width": 2}), 0)


def by_torch(architecture: Architecture, **settings: Any) -> nn.Module:
    """As AsViT, and without a table."""
    return AsViT(architecture, **settings)


@pytest.mark.parametrize("builder", [AsViT, by_torch])
@pytest.mark.parametrize("scheme", ["normal", "trunc02", "default"])
def test_schemes_draw_linear_layers_and_convolutions_and_leave_the_others(builder: Any, scheme: str) -> None:
    made = networks(builder)
    model = made.network(SMALL.replace(embed_dim=64), 0, init=scheme)
    drawn = 0
    for name, module in model.named_modules():
        if isinstance(module, nn.Linear | nn.Conv2d) and not (scheme == "trunc02" and isinstance(module, nn.Conv2d)):
            weight = module.weight.double().numpy().ravel()
            bound = 1 / np.sqrt(weight.size / module.weight.shape[0])
            expected = {
                "normal": stats.norm(0, 1),
                "trunc02": stats.norm(0, 0.02),
                "default": stats.uniform(-bound, 2 * bound),
            }
            assert stats.kstest(weight, expected[scheme].cdf).pvalue > 1e-5, name
            if module.bias is not None:
                bias = module.bias.numpy()
                assert (np.abs(bias).max() <= bound) if scheme == "default" else not bias.any(), name
            drawn += 1
        if isinstance(module, nn.LayerNorm):
            assert (module.weight == 1).all(), name
    assert drawn > 10
    first = state(model)
    assert_equal(state(made.network(SMALL.replace(embed_dim=64), 0, init=scheme)), first)
    own = state(made.network(SMALL.replace(embed_dim=64), 0))
    assert abs(np.corrcoef(own["head.weight"].ravel(), first["head.weight"].ravel())[0, 1]) < 0.1


def test_normal_weights_wake_branches_that_a_norm_keeps_still_and_leave_layer_norms() -> None:
    model = timm.create_model("resnet18", num_classes=3)
    assert not model.layer1[0].bn2.weight.any()  # a branch that gives out 0
    redraw(model, "normal")
    norms = [m for m in model.modules() if isinstance(m, nn.BatchNorm2d)]
    assert all((norm.weight == 1).all() and not norm.bias.any() for norm in norms)

    own = nn.Sequential(nn.GroupNorm(2, 4), nn.BatchNorm1d(4), nn.LayerNorm(4), nn.BatchNorm2d(4, affine=False))
    for name, parameter in own.named_parameters():
        nn.init.constant_(parameter, 0.5 if name.endswith("weight") else -2)
    redraw(own.requires_grad_(False), "normal")
    assert [float(own[i].weight[0]) for i in range(3)] == [1, 1, 0.5]
    assert [float(own[i].bias[0]) for i in range(3)] == [0, 0, -2]
    for scheme in ("trunc02", "default"):
        nn.init.zeros_(own[1].weight)
        redraw(own, scheme)
        assert not own[1].weight.any()


def test_uniform_numbers_are_independent_within_a_network() -> None:
    model = networks().network(SMALL.replace(embed_dim=64), 0, init="default")
    weights = [m.weight.numpy().ravel() for m in model.modules() if isinstance(m, nn.Linear)]
    scaled = np.concatenate([w / np.abs(w).max() for w in weights])
    assert abs(np.corrcoef(scaled[1:], scaled[:-1])[0, 1]) < 5 / np.sqrt(len(scaled))
    assert len(np.unique(np.concatenate([w[:50] / w.max() for w in weights]))) > 0.99 * 50 * len(weights)


class WithAnEmptyPart(TwoScales):
    """A parameter of no elements among others."""

    def __init__(self, architecture: Architecture, *, device: str = "cpu", **_: Any) -> None:
        super().__init__(architecture, device=device)
        self.parts[1] = nn.Parameter(torch.empty(0, 3, device=device))

    def init_table(self) -> dict[str, Init]:
        return {f"parts.{i}": Normal(2.0) for i in range(4)}


def test_parameters_without_elements_keep_their_shape() -> None:
    model = networks(WithAnEmptyPart, img_size=1).network(Architecture({"width": 5}), 0)
    assert [tuple(parameter.shape) for parameter in model.parameters()] == [(5,), (0, 3), (300_000,), (11,)]


def test_without_huge_pages_weights_are_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    expected = state(networks().network(SMALL, 0))

    class WithoutHugePages(mmap.mmap):
        def madvise(self, *_: Any) -> None:
            raise OSError(errno.EINVAL, "a kernel without them")

    monkeypatch.setattr(mmap, "mmap", WithoutHugePages)
    assert_equal(state(networks().network(SMALL, 0)), expected)


def test_too_large_a_network_is_out_of_memory() -> None:
    with pytest.raises(RuntimeError) as raised:
        networks(TwoScales, img_size=1).network(Architecture({"width": 1 << 48}), 0)
    assert is_out_of_memory(raised.value)


def test_numbers_in_use_stay_when_the_bank_grows() -> None:
    bank = RandomNumberPool(0, torch.device("cpu"))
    (before, _) = bank.parts(3, 1000, 1000)
    first = before.clone()
    (after, _) = bank.parts(3, 1000, 3_000_000)
    assert torch.equal(before, first)
    assert torch.equal(after, first)
    assert after.data_ptr() != before.data_ptr()
