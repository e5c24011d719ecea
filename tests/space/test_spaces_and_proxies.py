"""What every registered space and every registered proxy must fulfil."""

from __future__ import annotations

import functools
import hashlib
import math
import pickle
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import numpy as np
import pytest
import torch
from ray import cloudpickle
from torch import nn

from raynas import Architecture, SearchSpace
from raynas.data.batch import load_batch
from raynas.data.opening import open_dataset
from raynas.errors import NotApplicableError
from raynas.models.networks import Networks
from raynas.models.teachers import FrozenTeacher
from raynas.proxies.probe import DTYPES, Probe
from raynas.proxies.registered import proxies, unmeasured
from raynas.scoring.evaluator import EvaluationTask, Evaluator
from raynas.space.build import build, builder, counted
from raynas.space.cost import COSTS, cost
from raynas.space.registered import spaces
from raynas.space.results import Outcome
from raynas.training.teachers import read_teacher

IMG_SIZE = 32
NUM_CLASSES = 10
TEACHER = read_teacher("random:resnet8")
# One space of each family; ViT-Res, whose images have 56 pixels at least, differs from its nano in nothing but that.
FAMILIES = list(
    {str(spaces.get(name).model): name for name in spaces if name not in ("vit-res-tiny", "vit-res-small")}.values()
)
OF_TRANSFORMERS = ("dss", "autoprox_a", "az_nas")
OF_HEADS = ("attention_distance", "attention_entropy")
WITHIN_WINDOWS = ("as-vit", "resnet")
"""Families whose heads do not attend over all patches, or that have none."""
OF_TOKENS = ("vit", "vit-elastic", "autoformer-tiny-plain")
"""Families that are computed on some of their patches."""
QUICK = ("as-vit", "vit")
PAIRS = [
    pytest.param(space, proxy, marks=() if space in QUICK else pytest.mark.slow)
    for space in FAMILIES
    for proxy in unmeasured()
]


def allowed(space: str, proxy: str) -> set[str]:
    """What a proxy may come to: any model of timm may lack what it needs, and a ConvNet has no attention."""
    if space == "timm":
        return {"ok", "not_applicable", "non_finite"}
    if space == "resnet" and proxy in OF_TRANSFORMERS:
        return {"not_applicable"}
    if (proxy in OF_HEADS and space in WITHIN_WINDOWS) or (proxy == "mae_loss" and space not in OF_TOKENS):
        return {"not_applicable"}
    return {"ok", "non_finite"} if proxy == "zico_layerwise" else {"ok"}  # a fresh transformer may have no value


@pytest.fixture(scope="module")
def batch() -> tuple[np.ndarray, np.ndarray]:
    made = load_batch(open_dataset("digits"), batch_size=8, img_size=IMG_SIZE, seed=0)
    return made.images[None], made.labels[None]


def sampled(space: SearchSpace, n: int, seed: int = 0) -> list[Architecture]:
    rng = np.random.default_rng(seed)
    return [space.sample(rng) for _ in range(n)]


@functools.cache
def small(space: SearchSpace, n: int) -> list[Architecture]:
    """The smallest of ten sampled, so that scores take the least time."""
    size = {"img_size": IMG_SIZE, "num_classes": NUM_CLASSES}
    by_size = sorted(sampled(space, 10), key=lambda one: cost(space, one, "num_params", **size))
    return by_size[:n]


def task(space: SearchSpace, names: list[str], batch: tuple[np.ndarray, np.ndarray], **settings: Any) -> EvaluationTask:
    own = {"repeats": settings.pop("repeats", 1), **({"dtype": settings.pop("dtype")} if "dtype" in settings else {})}
    chosen = tuple(proxies.get(name).configured(**own) for name in names)
    keywords = {"img_size": IMG_SIZE, "num_classes": NUM_CLASSES, **space.scoring}
    given = {"images": batch[0], "labels": batch[1], "teacher": TEACHER}
    return EvaluationTask(builder(space), keywords, chosen, **given, **settings)


def values(outcomes: list[Outcome]) -> list[tuple[float | None, str, str | None]]:
    return [outcome[:3] for outcome in outcomes]


# -- spaces ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", list(spaces))
class TestSpace:
    def test_samples_are_valid_equal_under_a_seed_and_come_back_from_text(self, name: str) -> None:
        space = spaces.get(name)
        first, second = sampled(space, 50), sampled(space, 50)
        assert [a.key for a in first] == [a.key for a in second]
        for architecture in first:
            space.validate(architecture)
            assert architecture in space
            assert space.read(space.text(architecture)) == architecture
            assert space.read(architecture.to_json()) == architecture
            assert pickle.loads(pickle.dumps(architecture)) == architecture

    def test_samples_build_and_classify(self, name: str) -> None:
        space = spaces.get(name)
        for architecture in sampled(space, 3):
            side = max(IMG_SIZE, space.img_size_multiple)
            model = build(space, architecture, img_size=side, num_classes=7).eval()
            with torch.no_grad():
                assert model(torch.randn(2, 3, side, side)).shape == (2, 7)

    @pytest.mark.parametrize("cost_name", list(COSTS))
    def test_closed_forms_agree_with_a_count_on_the_model(self, name: str, cost_name: str) -> None:
        space = spaces.get(name)
        first, *others = sampled(space, 3)
        sides = {max(64, 2 * space.img_size_multiple): [first, *others], 224: [first, *space.named.values()]}
        for img_size, architectures in sides.items():
            for architecture in architectures:
                size = {"img_size": img_size, "num_classes": 11}
                made = counted(lambda a=architecture, size=size: build(space, a, **size), cost_name, img_size)
                assert cost(space, architecture, cost_name, **size) == made

    def test_published_architectures_are_read_by_name(self, name: str) -> None:
        space = spaces.get(name)
        for known, architecture in space.named.items():
            assert space.read(known) == architecture

    def test_it_says_what_it_is(self, name: str) -> None:
        space = spaces.get(name)
        assert space.summary
        assert space.paper
        assert all(objective in proxies for objective in space.objectives)
        if space.stages is not None:
            stages = space.stages(sampled(space, 1)[0], space.search_img_size)
            assert all(stage.width > 0 and stage.tokens > 0 and stage.depth >= 0 for stage in stages)


# -- proxies -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", list(proxies))
def test_a_proxy_says_what_it_is(name: str) -> None:
    proxy = proxies.get(name)
    assert proxy.summary
    assert proxy.paper or proxy.is_measured or proxy.summary.endswith("A baseline.")
    assert proxy.departures is not None, "where it differs from its source, or that it does not: departures=()"
    assert all(text[0].isupper() or text[0] in "`0123456789" for text in proxy.departures)
    assert all(text.endswith(".") and len(text) > 20 for text in proxy.departures)
    assert proxy.outputs
    assert proxy.version >= 1


@pytest.fixture(scope="module")
def everything(
    batch: tuple[np.ndarray, np.ndarray],
) -> Callable[[str], list[list[tuple[float | None, str, str | None]]]]:
    """Of a space: the outcomes of all proxies on two architectures, scored in one visit each, proxy by proxy."""
    known: dict[str, list[list[Any]]] = {}

    def outcomes_of(space: str) -> list[list[Any]]:
        if space not in known:
            found = spaces.get(space)
            evaluate = Evaluator(task(found, unmeasured(), batch))
            known[space] = [values(evaluate(a, range(len(unmeasured())))) for a in small(found, 2)]
        return known[space]

    return outcomes_of


def outcomes_of_proxy(all_outcomes: list[Any], proxy: str) -> list[Any]:
    names = unmeasured()
    start = sum(len(proxies.get(name).outputs) for name in names[: names.index(proxy)])
    return all_outcomes[start : start + len(proxies.get(proxy).outputs)]


@pytest.mark.parametrize(("space", "proxy"), PAIRS)
class TestProxy:
    def test_values_are_finite_or_not_applicable_and_do_not_change_with_company(
        self, space: str, proxy: str, batch: tuple[np.ndarray, np.ndarray], everything: Any
    ) -> None:
        found = spaces.get(space)
        architectures = small(found, 2)
        together = [outcomes_of_proxy(outcomes, proxy) for outcomes in everything(space)]
        travelled = cloudpickle.loads(cloudpickle.dumps(task(found, [proxy], batch)))
        # The second, without the first before it and without other proxies beside it.
        assert values(Evaluator(travelled)(architectures[1], [0])) == together[1]
        for outcomes in together:
            for value, status, error in outcomes:
                assert status in allowed(space, proxy), error
                if status == "ok":
                    assert value is not None
                    assert math.isfinite(value)

    def test_the_network_is_left_as_it_was(self, space: str, proxy: str, batch: tuple[np.ndarray, np.ndarray]) -> None:
        chosen = proxies.get(proxy)
        dtype = DTYPES[chosen.dtype]
        architecture, model, before = UNCHANGED.pop((space, dtype), None) or fresh_network(space, dtype)
        images = torch.tensor(batch[0][0]).to(dtype)
        teacher = FrozenTeacher(TEACHER, torch.device("cpu"), dtype)
        probe = Probe(
            architecture, model, img_size=IMG_SIZE, images=images, labels=torch.tensor(batch[1][0]),
            teacher=lambda stages: teacher(images, stages)[1],
        )  # fmt: skip
        with suppress(NotApplicableError):
            chosen(probe)
        assert fingerprint(model) == before
        UNCHANGED[space, dtype] = architecture, model, before


UNCHANGED: dict[tuple[str, torch.dtype], tuple[Architecture, nn.Module, Any]] = {}
"""Networks that a proxy has left as they were, with their fingerprints: the next one takes them."""


def fresh_network(space: str, dtype: torch.dtype) -> tuple[Architecture, nn.Module, Any]:
    """The smallest architecture of a few, its network, and the network's fingerprint."""
    found = spaces.get(space)
    (architecture,) = small(found, 1)
    size = {"img_size": IMG_SIZE, "num_classes": NUM_CLASSES, **found.scoring}
    model = Networks(builder(found), size, score_seed=0).network(architecture, 0, dtype)
    return architecture, model, fingerprint(model)


def fingerprint(model: nn.Module) -> Any:
    digest = hashlib.sha256()
    for name, value in {**model.state_dict(), **dict(model.named_buffers())}.items():
        digest.update(name.encode() + value.numpy().tobytes())
    modules = [
        (name, type(module), module.training, len(module._forward_hooks), len(module._backward_hooks),
         len(module._forward_pre_hooks), len(module._backward_pre_hooks), tuple(vars(module)))
        for name, module in model.named_modules()
    ]  # fmt: skip
    parameters = [(name, p.requires_grad, p.grad is None) for name, p in model.named_parameters()]
    return digest.hexdigest(), modules, parameters


@pytest.mark.parametrize(
    ("space", "proxy"),
    [pytest.param(*pair.values, marks=pytest.mark.long if pair.marks else ()) for pair in PAIRS],
)
def test_a_split_batch_gives_the_same_value(
    space: str, proxy: str, batch: tuple[np.ndarray, np.ndarray], monkeypatch: pytest.MonkeyPatch
) -> None:
    # In float64, since what float32 rounds in a pass of another size, a condition number multiplies by itself.
    found = spaces.get(space)
    (architecture,) = small(found, 1)
    whole = Evaluator(task(found, [proxy], batch, dtype="float64"))(architecture, [0])
    original = Evaluator._probe
    monkeypatch.setattr(
        Evaluator, "_probe", lambda self, *args, max_batch=None: original(self, *args, max_batch=max_batch or 3)
    )
    split = Evaluator(task(found, [proxy], batch, dtype="float64"))(architecture, [0])
    for one, other in zip(whole, split, strict=True):
        assert other.status == one.status
        if one.value is not None:
            assert other.value == pytest.approx(one.value, rel=1e-6)
