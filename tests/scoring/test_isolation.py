"""Code of the user's own that changes what others compute with: their scores are those of being alone, bit for bit."""

from __future__ import annotations

import builtins
import math
import os
import random
import sys
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from company import FIRST, GOOD, SHIPPED, Small, good, nasty, scores, task, values, values_alone
from torch import nn
from torch.overrides import TorchFunctionMode

import raynas.proxies  # registers them
from raynas import Architecture
from raynas.proxies.probe import Probe, Proxy
from raynas.proxies.registered import proxies
from raynas.scoring.evaluator import EvaluationTask, Evaluator
from raynas.scoring.pool import Job, SerialPool
from raynas.space.build import builder
from raynas.space.cost import cost
from raynas.space.registered import spaces
from raynas.training.teachers import read_teacher


def _change_dtype(probe: Probe) -> None:
    torch.set_default_dtype(torch.float64)


def _change_device(probe: Probe) -> None:
    torch.set_default_device("meta")


def _enter_device(probe: Probe) -> None:
    torch.device("meta").__enter__()


def _enter_mode(probe: Probe) -> None:
    class Doubled(TorchFunctionMode):
        def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            return func(*args, **(kwargs or {}))

    Doubled().__enter__()


def _change_precision(probe: Probe) -> None:
    torch.set_float32_matmul_precision("medium")
    torch.backends.mkldnn.enabled = False
    torch.backends.cudnn.benchmark = True


def _change_deterministic(probe: Probe) -> None:
    torch.use_deterministic_algorithms(True)
    torch.set_flush_denormal(True)
    torch.set_num_threads(3)


_CONTEXTS: list[Any] = []  # kept, as what nobody keeps is left at once


def _enter_contexts(probe: Probe) -> None:
    for context in (torch.no_grad(), torch.inference_mode(), torch.autocast("cpu")):
        context.__enter__()
        _CONTEXTS.append(context)


def _draw(probe: Probe) -> None:
    torch.randn(5), np.random.rand(3), random.random()  # noqa: NPY002
    torch.manual_seed(7), np.random.seed(7), random.seed(7)  # noqa: NPY002


def _change_images(probe: Probe) -> None:
    probe.images.sub_(probe.images.mean())


def _change_labels(probe: Probe) -> None:
    probe.labels.data.zero_()


def _change_images_by_numpy(probe: Probe) -> None:
    probe.images.numpy()[:] = 0
    probe.images.view(-1)[3] = math.nan


def _change_weights(probe: Probe) -> None:
    for parameter in probe.model.parameters():
        parameter.data.mul_(2)


def _change_weights_by_numpy(probe: Probe) -> None:
    next(probe.model.parameters()).detach().numpy()[...] = 1


def _replace_weights(probe: Probe) -> None:
    parameter = next(probe.model.parameters())
    parameter.data = torch.zeros_like(parameter)


def _change_mode(probe: Probe) -> None:
    probe.model.train()
    probe.model.requires_grad_()


def _hook(probe: Probe) -> None:
    next(probe.model.children()).register_forward_hook(lambda module, args, output: output + 1)


def _hook_all(probe: Probe) -> None:
    nn.modules.module.register_module_forward_hook(lambda module, args, output: output * 2)


def _replace_forward(probe: Probe) -> None:
    probe.model.forward = lambda images: images.flatten(1)[:, :5]


def _poison_passes(probe: Probe) -> None:
    probe.once(good)
    for key in list(probe._passes):
        probe._passes[key] = 1e9
    for gradient in probe.once(raynas.proxies.passes.labelled_gradients).gradients:
        gradient.zero_()


def _change_probe(probe: Probe) -> None:
    probe._images = torch.zeros(8, 3, 8, 8)
    probe.max_batch = 1
    probe.score_seed = 5


def _change_environment(probe: Probe) -> None:
    os.environ["RAYNAS_NASTY"] = "1"
    os.environ.pop("PATH", None)
    os.chdir("/")
    warnings.simplefilter("ignore")
    np.seterr(all="raise")
    sys.path.insert(0, "/nowhere")
    sys.setrecursionlimit(4321)


def _raise(probe: Probe) -> None:
    _change_weights(probe)
    raise ValueError("and it raises, too")


QUIET = [
    _change_dtype, _change_device, _enter_device, _enter_mode, _change_precision, _change_deterministic,
    _enter_contexts, _draw, _change_images, _change_labels, _change_images_by_numpy, _change_weights,
    _change_weights_by_numpy, _replace_weights, _change_mode, _hook, _hook_all, _replace_forward, _poison_passes,
    _change_probe, _change_environment,
]  # fmt: skip
"""What can be put right, so that the code that does it has a score."""

PATCHES: list[tuple[Any, str, str]] = [
    (torch, "randn", "torch.randn"),
    (F, "gelu", "torch.nn.functional.gelu"),
    (F, "conv2d", "torch.nn.functional.conv2d"),
    (nn.init, "kaiming_uniform_", "torch.nn.init.kaiming_uniform_"),
    (nn.Module, "__call__", "torch.nn.modules.module.Module.__call__"),
    (nn.Linear, "forward", "torch.nn.modules.linear.Linear.forward"),
    (torch.Tensor, "norm", "torch.Tensor.norm"),
    (torch.Tensor, "sum", "torch.Tensor.sum"),
    (np, "prod", "numpy.prod"),
    (np.random, "rand", "numpy.random.rand"),
    (random, "random", "random.random"),
    (math, "sin", "math.sin"),
    (builtins, "sum", "builtins.sum"),
    (Probe, "images", "raynas.proxies.probe.Probe.images"),
    (raynas.proxies.passes, "labelled_gradients", "raynas.proxies.passes.labelled_gradients"),
]
"""What code may replace: where, what, and its name in the error."""


def patching(where: Any, name: str) -> Proxy:
    def harm(probe: Probe) -> None:
        setattr(where, name, lambda *args, **kwargs: torch.zeros(()))

    return nasty(harm)


@pytest.fixture(autouse=True)
def same_process() -> Iterator[None]:
    """The process after a test is the one before it."""

    def environment() -> dict[str, str]:
        return {name: value for name, value in os.environ.items() if name != "PYTEST_CURRENT_TEST"}

    before = torch.get_num_threads(), Path.cwd(), environment(), list(sys.path)
    filters, limit = list(warnings.filters), sys.getrecursionlimit()
    yield
    assert torch.get_default_dtype() is torch.float32 and torch.empty(0).device.type == "cpu"
    assert torch.is_grad_enabled() and not torch.is_inference_mode_enabled() and not torch.is_autocast_enabled("cpu")
    assert (torch.get_float32_matmul_precision(), torch.backends.mkldnn.enabled) == ("highest", True)
    assert not torch.are_deterministic_algorithms_enabled() and not torch.backends.cudnn.benchmark
    assert torch.tensor(1e-310, dtype=torch.float64) * 1 > 0
    assert (torch.get_num_threads(), Path.cwd(), environment(), sys.path) == before
    assert (list(warnings.filters), sys.getrecursionlimit()) == (filters, limit)
    assert np.geterr()["divide"] == "warn"


@pytest.fixture(scope="module")
def alone() -> dict[str, list[float | None]]:
    return values_alone()


@pytest.mark.parametrize("harm", [*QUIET, _raise], ids=lambda harm: harm.__name__)
def test_neighbours_score_as_if_alone(harm: Callable[[Probe], None], alone: dict[str, Any]) -> None:
    for chosen in ([nasty(harm), GOOD, *SHIPPED], [*SHIPPED, GOOD, nasty(harm)]):
        found = scores(chosen)
        assert values(found, *alone) == alone
        status = "failed" if harm is _raise else "ok"
        assert [outcome.status for outcome in found["nasty"]] == [status] * 2, found["nasty"]


@pytest.mark.parametrize(("where", "name", "told"), PATCHES, ids=[told for _, _, told in PATCHES])
def test_what_replaces_functions_of_libraries_fails_and_nobody_else(
    where: Any, name: str, told: str, alone: dict[str, Any]
) -> None:
    before, has_it = getattr(where, name), name in vars(where)
    for chosen in ([patching(where, name), GOOD, *SHIPPED], [*SHIPPED, GOOD, patching(where, name)]):
        found = scores(chosen)
        assert values(found, *alone) == alone
        for outcome in found["nasty"]:
            assert outcome.status == "failed" and f"has changed {told}" in (outcome.error or ""), outcome
    assert (name in vars(where)) is has_it and getattr(where, name) == before


@pytest.mark.parametrize("harm", [_change_images, _change_weights, _hook, _replace_forward, _change_dtype])
def test_neighbours_on_a_space_of_raynas_score_as_if_alone(harm: Callable[[Probe], None]) -> None:
    space = spaces.get("resnet")
    architecture = space.sample(np.random.default_rng(0))
    chosen = [nasty(harm), GOOD, *SHIPPED]
    found = Evaluator(task(*chosen, build=builder(space)))(architecture, range(len(chosen)))
    again = Evaluator(task(*reversed(chosen), build=builder(space)))(architecture, range(len(chosen)))
    single = [
        Evaluator(task(proxy, build=builder(space)))(architecture, [0])[0].value  # type: ignore[union-attr]
        for proxy in chosen
    ]
    assert [outcome.value for outcome in found] == single  # type: ignore[union-attr]
    assert [outcome.value for outcome in reversed(again)] == single  # type: ignore[union-attr]


class Harmful(Small):
    """A network that changes what it is given, itself and the process in each pass."""

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        found = super().forward(images)
        torch.set_default_dtype(torch.float64)
        with torch.no_grad():
            images.mul_(0.5)
            self.head.weight.data.mul_(2)
        return found


def test_a_network_that_changes_itself_and_its_images_scores_the_same_in_any_company() -> None:
    def build(architecture: Architecture, *, img_size: int, num_classes: int) -> nn.Module:
        return Harmful(int(architecture["width"]), num_classes)  # type: ignore[arg-type]

    chosen = [GOOD, *(proxies.get(name) for name in ("snip", "grad_norm", "naswot"))]
    single = {proxy.name: scores([proxy], build=build)[proxy.name] for proxy in chosen}
    for order in (chosen, chosen[::-1]):
        assert values(scores(order, build=build), *single) == values(single, *single)


def test_a_teacher_s_features_are_kept_from_changes() -> None:
    def compared(probe: Probe) -> float:
        return float(probe.teacher_features([-1])[0].sum())

    def spoilt(probe: Probe) -> float:
        return float(probe.teacher_features([-1])[0].zero_().sum())

    first, second = Proxy("first", compared, needs_teacher=True), Proxy("second", spoilt, needs_teacher=True)
    teacher = read_teacher("random:resnet20", num_classes=5)
    single = scores([first], teacher=teacher)["first"]
    assert single[0].value
    for order in ([first, second], [second, first]):
        found = scores(order, teacher=teacher)
        assert values(found, "first", "second") == {"first": [one.value for one in single], "second": [0.0, 0.0]}


def test_a_builder_that_gives_out_one_model_twice_is_told_so() -> None:
    model = Small(4, 5)
    found = scores([GOOD], build=lambda architecture, **_: model)["good"]
    assert [outcome.status for outcome in found] == ["failed", "failed"]  # at its second draw of weights
    assert "gave out one model twice" in (found[0].error or "")


def test_scores_do_not_depend_on_settings_of_the_process_and_leave_them(alone: dict[str, Any]) -> None:
    torch.set_default_dtype(torch.float64)
    torch.set_float32_matmul_precision("medium")
    torch.backends.mkldnn.enabled = False
    try:
        with torch.no_grad(), torch.autocast("cpu"):
            pool = SerialPool(task(GOOD, *SHIPPED))
            pool.submit(Job(FIRST, (0, 1, 2, 3), 4))
            (result,) = pool.poll(0.0)
            pool.close()
            found = dict(zip(alone, result.outcomes, strict=True))
            assert {name: outcome and outcome.value for name, outcome in found.items()} == {
                name: first for name, (first, _) in alone.items()
            }
            assert not torch.is_grad_enabled() and torch.is_autocast_enabled("cpu")
        assert (torch.get_default_dtype(), torch.get_float32_matmul_precision()) == (torch.float64, "medium")
        assert not torch.backends.mkldnn.enabled
    finally:
        torch.set_default_dtype(torch.float32)
        torch.set_float32_matmul_precision("highest")
        torch.backends.mkldnn.enabled = True


def test_scores_of_raynas_change_nothing_that_is_watched() -> None:
    space = spaces.get("vit")
    made = builder(space)

    def build(architecture: Architecture, **settings: Any) -> nn.Module:
        return made(architecture, **settings)

    chosen = [proxies.get(name) for name in proxies]
    drawn = [space.sample(np.random.default_rng(seed)) for seed in range(50)]
    architecture = min(drawn, key=lambda one: cost(space, one, "num_params", img_size=32, num_classes=5))
    images = np.random.default_rng(0).standard_normal((8, 4, 3, 32, 32)).astype(np.float32)
    labels = np.zeros((8, 4), np.int64)
    size = {"img_size": 32, "num_classes": 5}
    evaluator = Evaluator(EvaluationTask(build, size, tuple(chosen), growth=space.growth, images=images, labels=labels))
    for outcome in evaluator(architecture, range(len(chosen))):
        assert outcome is not None and "has changed" not in (outcome.error or "")
