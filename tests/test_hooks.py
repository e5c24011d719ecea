"""What objects may offer beside what they must have, and what is said of a method that cannot be called."""

from __future__ import annotations

import math
from collections.abc import Mapping
from functools import partial
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

import raynas
from raynas import Architecture, Choice, SearchSpace
from raynas.errors import ConfigError
from raynas.hooks import is_offered_by, offered
from raynas.models import protocols as of_models
from raynas.models.families.as_vit import AsViT
from raynas.models.families.autoformer import AutoFormerPlain
from raynas.models.families.resnet import ResNet
from raynas.models.families.vit import plain_vit
from raynas.models.families.vit_elastic import ViTElastic
from raynas.models.families.vit_relative import ViTRelative
from raynas.models.families.vit_res import ViTResNano
from raynas.models.features import features_of
from raynas.models.networks import Networks
from raynas.models.roles import roles_of
from raynas.searchers import protocols as of_searchers
from raynas.searchers.given import GivenArchitectures
from raynas.searchers.protocols import is_complete, reason_of, start_of
from raynas.searchers.registered import searchers
from raynas.space.tokens import Phase, phase_macs
from searchspaces.as_vit import as_vit
from searchspaces.autoformer import autoformer_tiny_plain
from searchspaces.vit import vit
from searchspaces.vit_elastic import vit_elastic
from searchspaces.vit_relative import vit_relative
from searchspaces.vit_res import vit_res_nano

SIZE = {"img_size": 32, "num_classes": 3}


class Plain(nn.Sequential):
    """A model that says nothing of itself."""

    def __init__(self, architecture: Architecture, **_: Any) -> None:
        super().__init__(nn.Flatten(), nn.Linear(3 * 32 * 32, 3))


class WithArguments(Plain):
    """A model whose methods cannot be called as declared."""

    def roles(self, depth: int) -> None: ...

    def pooled_features(self) -> None: ...

    def init_table(self, scheme: str) -> None: ...

    def plain_code(self, *, style: str) -> None: ...

    def retokenize(self, stride: int) -> None: ...

    def patch_kernel(self) -> int: ...

    def no_weight_decay(self, optimizer: str) -> None: ...


class WithMore(Plain):
    """A model whose methods take more than is declared."""

    def roles(self, depth: int = 3) -> str:
        return f"roles {depth}"

    def pooled_features(self, images: Any, norm: bool = True) -> str:
        return f"features {images}"

    def init_table(self, *schemes: str) -> Mapping[str, Any]:
        return {}

    def plain_code(self, **_: Any) -> str:
        return "code"

    def retokenize(self, *phase: int | None) -> None: ...

    def patch_kernel(self) -> int: ...

    def no_weight_decay(self) -> list[str]:
        return ["0.weight"]


TwoHeaded = partial(plain_vit, pool="both")

MODEL_HOOKS = [
    of_models.HasRoles,
    of_models.HasPooledFeatures,
    of_models.InitialisedByTable,
    of_models.HasPlainCode,
    of_models.Retokenizable,
    of_models.ExemptsFromWeightDecay,
]
SUPERNET_HOOKS = {
    of_models.StacksParameters: ViTResNano,
    of_models.HasUnits: ViTResNano,
    of_models.HasStem: ViTResNano,
    of_models.HasChannelUnits: ViTElastic,
    of_models.HasPatchTokens: ViTResNano,
    of_models.HasTokenStages: AutoFormerPlain,
    of_models.AdaptsWeights: ViTRelative,
    of_models.HasDistilledHead: TwoHeaded,
}
"""What supernets and pre-training ask for, and a model that offers it."""
SPACES = {
    ViTResNano: vit_res_nano,
    ViTElastic: vit_elastic,
    AutoFormerPlain: autoformer_tiny_plain,
    ViTRelative: vit_relative,
    TwoHeaded: vit,
}
SEARCHER_HOOKS = [
    of_searchers.Recommends,
    of_searchers.Explains,
    of_searchers.GrowsFamily,
    of_searchers.ShowsProbabilities,
    of_searchers.ShowsProgress,
    of_searchers.Completes,
    of_searchers.BeginsAtRandom,
    of_searchers.GrowsFromStart,
]
OF_CLASSES = [of_searchers.LimitsWindow]
"""Hooks that a class of searchers offers, not its objects."""


@pytest.mark.parametrize("protocol", MODEL_HOOKS)
def test_a_model_offers_what_it_has(protocol: type[Any]) -> None:
    seed = as_vit.named["seed"]
    full, more, plain = AsViT(seed, **SIZE, device="meta"), WithMore(seed), Plain(seed)
    assert offered(full, protocol) is full
    assert offered(more, protocol) is more
    assert offered(plain, protocol) is None
    assert is_offered_by(AsViT, protocol)
    assert not is_offered_by(Plain, protocol)
    assert not is_offered_by(lambda architecture: full, protocol)


@pytest.mark.parametrize("protocol", list(SUPERNET_HOOKS))
def test_a_model_offers_what_supernets_and_labels_of_patches_ask_for(protocol: type[Any]) -> None:
    kind = SUPERNET_HOOKS[protocol]
    space = SPACES[kind]
    full = kind(space.largest(), img_size=32, num_classes=5, device="meta")
    assert offered(full, protocol) is full
    assert is_offered_by(type(full), protocol)
    plain = Plain(as_vit.named["seed"])
    assert offered(plain, protocol) is None
    method = next(name for name in vars(protocol) if not name.startswith("_"))
    setattr(plain, method, lambda one, two: None)
    for name in vars(protocol):
        if not name.startswith("_") and name != method:
            setattr(plain, name, lambda features, /: features)
    with pytest.raises(ConfigError, match=rf"Plain\.{method} is to be callable as {method}\("):
        offered(plain, protocol)


def test_all_hooks_are_tested() -> None:
    for module, known in ((of_models, [*MODEL_HOOKS, *SUPERNET_HOOKS]), (of_searchers, [*SEARCHER_HOOKS, *OF_CLASSES])):
        assert {one for one in vars(module).values() if getattr(one, "_is_runtime_protocol", False)} == {*known}


def test_the_searcher_that_learns_from_every_result_limits_its_window_and_others_do_not() -> None:
    limited = {name for name in searchers if offered(searchers.get(name), of_searchers.LimitsWindow) is not None}
    assert limited == {"reinforce"}


@pytest.mark.parametrize(
    ("protocol", "says"),
    [
        (of_models.HasRoles, r"WithArguments\.roles is to be callable as roles\(\) -> 'Roles'.*'depth'"),
        (of_models.HasPooledFeatures, r"pooled_features\(images: 'Tensor', /\).*too many positional arguments"),
        (of_models.InitialisedByTable, r"init_table\(\).*missing a required argument: 'scheme'"),
        (of_models.HasPlainCode, r"plain_code\(\).*missing a required .*'style'"),
        (of_models.Retokenizable, r"retokenize\(stride: 'int', dilation: .*too many positional arguments"),
        (of_models.ExemptsFromWeightDecay, r"no_weight_decay\(\).*missing a required argument: 'optimizer'"),
    ],
)
def test_a_method_of_another_signature_is_named(protocol: type[Any], says: str) -> None:
    with pytest.raises(ConfigError, match=says):
        offered(WithArguments(as_vit.named["seed"]), protocol)


def test_what_is_no_method_is_named() -> None:
    model = Plain(as_vit.named["seed"])
    model.roles = 5  # type: ignore[assignment]
    with pytest.raises(ConfigError, match=r"Plain\.roles is to be a method roles\(\) -> 'Roles', and is 5"):
        offered(model, of_models.HasRoles)


def test_those_who_use_a_model_say_what_is_wrong_with_it(tmp_path: Any) -> None:
    architecture = Architecture({"width": 4})
    space = SearchSpace("own", {"width": Choice(4)}, WithArguments)
    model = WithArguments(architecture)
    with pytest.raises(ConfigError, match=r"WithArguments\.roles"):
        roles_of(model)
    with pytest.raises(ConfigError, match=r"WithArguments\.pooled_features"):
        features_of(model)
    with pytest.raises(ConfigError, match=r"WithArguments\.init_table"):
        Networks(WithArguments, SIZE, score_seed=0).network(architecture, 0)
    with pytest.raises(ConfigError, match=r"WithArguments\.no_weight_decay"):
        of_models.not_decayed(model)
    with pytest.raises(ConfigError, match=r"WithArguments\.retokenize"):
        phase_macs(space, architecture, [Phase(0, 4, 1)], **SIZE)
    with pytest.raises(ConfigError, match=r"WithArguments\.plain_code"):
        raynas.export({"width": 4}, tmp_path / "out", space=space, untrained=True, **SIZE)


def test_a_model_that_says_nothing_still_works() -> None:
    architecture = Architecture({"width": 4})
    model = Networks(Plain, SIZE, score_seed=0).network(architecture, 0)
    assert model(torch.zeros(2, 3, 32, 32)).shape == (2, 3)
    assert of_models.not_decayed(model) == set()
    assert roles_of(model).blocks == ()
    assert of_models.not_decayed(ResNet(Architecture({"depth": 8, "width": 4}))) == set()
    assert of_models.not_decayed(WithMore(architecture)) == {"0.weight"}


class Telling(GivenArchitectures):
    """A searcher that offers all."""

    start = Architecture({"width": 4})
    reason = "the only one"
    is_complete = True
    num_random = 3

    def recommendation(self) -> Architecture:
        return self.start

    def family(self) -> list[Any]:
        return []

    def probabilities(self) -> dict[str, np.ndarray]:
        return {}

    def progress(self) -> tuple[str, float]:
        return "", math.nan


@pytest.mark.parametrize("protocol", SEARCHER_HOOKS)
def test_a_searcher_offers_what_it_has(protocol: type[Any]) -> None:
    telling = Telling([])
    assert offered(telling, protocol) is telling
    assert offered(GivenArchitectures([]), protocol) is None


def test_what_a_searcher_does_not_say_has_a_default() -> None:
    assert (start_of(Telling([])), reason_of(Telling([])), is_complete(Telling([]))) == (
        Architecture({"width": 4}), "the only one", True
    )  # fmt: skip
    silent = GivenArchitectures([])
    assert (start_of(silent), reason_of(silent), is_complete(silent)) == (None, "", False)


def test_what_registered_searchers_offer() -> None:
    offering = {
        protocol.__name__: [name for name in searchers if is_offered_by(searchers.get(name), protocol)]
        for protocol in (of_searchers.GrowsFamily, of_searchers.ShowsProbabilities, of_searchers.ShowsProgress)
    }
    assert offering == {"GrowsFamily": ["growth"], "ShowsProbabilities": ["reinforce"], "ShowsProgress": ["growth"]}


def test_a_searcher_with_a_method_of_another_signature_is_named() -> None:
    class Asking(GivenArchitectures):
        def recommendation(self, count: int) -> None: ...

    with pytest.raises(ConfigError, match=r"Asking\.recommendation is to be callable as recommendation\(\)"):
        offered(Asking([]), of_searchers.Recommends)
