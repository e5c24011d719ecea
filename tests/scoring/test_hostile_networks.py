"""Own code after which a network, or a tensor, cannot even be looked at: others score as if they were alone."""

from __future__ import annotations

import os
import sys
import warnings
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from company import FIRST, GOOD, SHIPPED, Small, nasty, scores, task, values, values_alone
from torch import nn

from raynas import Architecture
from raynas.proxies.probe import Probe, Proxy
from raynas.proxies.registered import proxies
from raynas.scoring.evaluator import Evaluator
from raynas.scoring.task import DeviceLostError


def raising(error: BaseException) -> Callable[..., Any]:
    def function(*args: Any, **kwargs: Any) -> Any:
        raise error

    return function


def parameter_that(error: BaseException) -> nn.Parameter:
    """A parameter of a class whose every use raises."""
    kind = type("Hostile", (nn.Parameter,), {"__torch_function__": classmethod(raising(error))})
    return torch.Tensor._make_subclass(kind, torch.zeros(3), False)  # type: ignore[return-value]


def hold(error: BaseException) -> Callable[[Small], None]:
    return lambda model: model._parameters.update(scale=parameter_that(error))


def to_meta(model: Small) -> None:
    model.to("meta")


def lose_parameters(model: Small) -> None:
    for module in model.modules():
        module._parameters.clear()


def lose_tables(model: Small) -> None:
    del model.__dict__["_parameters"], model.__dict__["_modules"]


def free_storage(model: Small) -> None:
    for parameter in model.head.parameters():
        parameter.untyped_storage().resize_(0)


def hold_sparse(model: Small) -> None:
    model.register_buffer("odd", torch.eye(3).to_sparse())


def replace_parameters(model: Small) -> None:
    model.parameters = raising(ValueError("no parameters"))  # type: ignore[method-assign]


def hold_what_shows_no_bits(model: Small) -> None:
    """As tensors of which torch gives no bits away."""
    model._buffers["odd"] = torch.zeros(1).as_subclass(
        type("Hidden", (torch.Tensor,), {"contiguous": raising(TypeError())})
    )


def replace_modules_by_none(model: Small) -> None:
    model.modules = lambda: iter(())  # type: ignore[method-assign]


def set_default_dtype_when_looked_at(model: Small) -> None:
    def modules() -> Any:
        torch.set_default_dtype(torch.float64)
        return iter(())

    model.modules = modules  # type: ignore[method-assign]


def become_another_class(model: Small) -> None:
    model.__class__ = type("Other", (Small,), {"training": property(raising(ValueError("no mode")))})


def hold_what_is_no_module(model: Small) -> None:
    model._modules["odd"] = object()  # type: ignore[assignment]


def hold_itself(model: Small) -> None:
    model._modules["odd"] = model


def lose_a_module(model: Small) -> None:
    model.norm = nn.Identity()  # type: ignore[assignment]


def share_weights(model: Small) -> None:
    model.norm.bias = model.norm.weight


def reinterpret_bits(model: Small) -> None:
    model.norm.num_batches_tracked = model.norm.num_batches_tracked.view(torch.float64)


def lay_out_otherwise(model: Small) -> None:
    model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]


def set_what_layers_compute_with(model: Small) -> None:
    model.norm.eps = 10.0
    model.conv.padding = (0, 0)


def leave_a_hook_on_gradients(model: Small) -> None:
    for parameter in model.parameters():
        parameter.requires_grad_().register_hook(lambda gradient: gradient * 2)  # type: ignore[no-untyped-call]
        parameter.requires_grad_(False)


def exchange_a_hook(model: Small) -> None:
    model.head._forward_hooks[0] = lambda module, args, output: output + 1


def leave_gradients(model: Small) -> None:
    model.head.weight.grad = torch.ones_like(model.head.weight)


HARMS: list[Callable[[Small], None]] = [
    to_meta, lose_parameters, lose_tables, free_storage, hold_sparse, replace_parameters,
    replace_modules_by_none, set_default_dtype_when_looked_at, become_another_class, hold_what_is_no_module,
    hold_itself, lose_a_module, share_weights, reinterpret_bits, lay_out_otherwise, set_what_layers_compute_with,
    leave_a_hook_on_gradients, exchange_a_hook, leave_gradients,
    hold(ValueError("hostile")), hold(SystemExit("hostile")), hold(MemoryError()),
]  # fmt: skip
NAMES = [harm.__name__ for harm in HARMS[:-3]] + ["hold_error", "hold_exit", "hold_no_memory"]


@pytest.fixture(scope="module")
def alone() -> dict[str, list[float | None]]:
    return values_alone()


@pytest.mark.parametrize("harm", HARMS, ids=NAMES)
def test_neighbours_of_code_that_spoils_the_network_score_as_if_alone(
    harm: Callable[[Small], None], alone: dict[str, Any]
) -> None:
    found = scores([nasty(lambda probe: harm(probe.model)), GOOD, *SHIPPED])  # type: ignore[arg-type]
    assert values(found, *alone) == alone
    assert [outcome.status for outcome in found["nasty"]] == ["ok", "ok"], found["nasty"]
    assert torch.get_default_dtype() is torch.float32


@pytest.mark.parametrize("harm", HARMS, ids=NAMES)
def test_networks_that_spoil_themselves_in_a_pass_score_as_if_alone(harm: Callable[[Small], None]) -> None:
    class Spoilt(Small):
        def forward(self, images: torch.Tensor) -> torch.Tensor:
            found = super().forward(images)
            harm(self)
            return found

    def build(architecture: Architecture, *, img_size: int, num_classes: int) -> nn.Module:
        return Spoilt(int(architecture["width"]), num_classes)  # type: ignore[arg-type]

    chosen = [Proxy("passes", lambda probe: float(probe.model(probe.images).sum())), GOOD, *SHIPPED]
    single = {proxy.name: scores([proxy], build=build)[proxy.name] for proxy in chosen}
    found = scores(chosen, build=build)
    assert values(found, *single) == values(single, *single)
    assert {name: [one.status for one in both] for name, both in found.items()} == {
        name: [one.status for one in both] for name, both in single.items()
    }


@pytest.mark.parametrize("spoil", [hold_sparse, hold_what_shows_no_bits], ids=lambda one: one.__name__)
def test_a_network_that_cannot_be_looked_at_from_the_start_has_its_scores_in_company(
    spoil: Callable[[Small], None],
) -> None:
    def build(architecture: Architecture, *, img_size: int, num_classes: int) -> nn.Module:
        model = Small(int(architecture["width"]), num_classes)  # type: ignore[arg-type]
        spoil(model)
        return model

    chosen = [GOOD, Proxy("weight", lambda probe: float(next(probe.model.parameters()).sum()))]
    single = {proxy.name: scores([proxy], build=build)[proxy.name] for proxy in chosen}
    assert {outcome.status for both in single.values() for outcome in both} == {"ok"}
    assert values(scores(chosen, build=build), *single) == values(single, *single)


@pytest.mark.parametrize(
    "error",
    [
        RuntimeError("CUDA error: device-side assert triggered"),
        torch.AcceleratorError("an illegal memory access was encountered"),
    ],
    ids=repr,
)
def test_a_device_error_that_shows_when_the_network_is_looked_at_ends_the_evaluator(error: Exception) -> None:
    def harm(probe: Probe) -> None:
        probe.model._parameters["scale"] = parameter_that(error)

    with pytest.raises(DeviceLostError):
        scores([nasty(harm), GOOD])

    def build(architecture: Architecture, *, img_size: int, num_classes: int) -> nn.Module:
        model = Small(int(architecture["width"]), num_classes)  # type: ignore[arg-type]
        model.register_buffer("odd", torch.zeros(1))
        kind = type("Hostile", (torch.Tensor,), {"contiguous": raising(error)})
        model._buffers["odd"] = torch.zeros(1).as_subclass(kind)
        return model

    with pytest.raises(DeviceLostError):
        scores([Proxy("a", lambda probe: len(list(probe.model.children()))), GOOD], build=build)


@pytest.mark.parametrize("error", [MemoryError(), RuntimeError("CUDA out of memory")], ids=repr)
def test_a_device_error_that_shows_when_memory_is_freed_ends_the_evaluator(
    error: Exception, monkeypatch: pytest.MonkeyPatch
) -> None:
    def lost() -> None:
        raise torch.AcceleratorError("CUDA error: an illegal memory access was encountered")

    monkeypatch.setattr(torch.cuda, "empty_cache", lost)
    proxy = Proxy("greedy", raising(torch.OutOfMemoryError(str(error))))
    evaluator = Evaluator(replace(task(proxy), images=None, labels=None))
    evaluator.task = replace(evaluator.task, device="cuda")
    with pytest.raises(DeviceLostError):
        evaluator(FIRST, [0])


def test_settings_that_cannot_be_compared_are_put_back_with_all_others(alone: dict[str, Any]) -> None:
    class Hostile:
        __eq__ = __ne__ = raising(ValueError("no comparison"))
        __hash__ = None  # type: ignore[assignment]

    def harm(probe: Probe) -> None:
        sys.stdout = Hostile()  # type: ignore[assignment]
        sys.path[0] = Hostile()  # type: ignore[call-overload]
        warnings.filters.insert(0, Hostile())  # type: ignore[attr-defined]
        nn.modules.module._global_forward_hooks[0] = Hostile()  # type: ignore[assignment]
        os.environ["RAYNAS_HOSTILE"] = "1"
        np.seterr(all="raise")

    before = sys.stdout, list(sys.path), list(warnings.filters), np.geterr()
    try:
        found = scores([nasty(harm), GOOD, *SHIPPED])
        left = sys.stdout, list(sys.path), list(warnings.filters), np.geterr()
        hooks, environment = dict(nn.modules.module._global_forward_hooks), dict(os.environ)
    finally:  # a test that fails is to fail alone
        sys.stdout, sys.path[:], warnings.filters[:] = before[:3]  # type: ignore[index]
        np.seterr(**before[3])
        nn.modules.module._global_forward_hooks.clear()
        os.environ.pop("RAYNAS_HOSTILE", None)
    assert left == before and not hooks and "RAYNAS_HOSTILE" not in environment
    assert values(found, *alone) == alone
    assert [outcome.status for outcome in found["nasty"]] == ["ok", "ok"], found["nasty"]


class Patching(Small):
    """A network that replaces a function of torch as it is built, or as it computes."""

    def __init__(self, width: int, num_classes: int, when: str) -> None:
        super().__init__(width, num_classes)
        self.when = when
        if when == "built":
            self._patch()

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        if self.when == "computes":
            self._patch()
        return super().forward(images)

    def _patch(self) -> None:
        real = torch.nn.functional.relu
        torch.nn.functional.relu = lambda x, *rest: real(x, *rest) * 2


@pytest.mark.parametrize("when", ["built", "computes"])
def test_a_network_that_changes_the_process_fails_each_score_as_it_does_alone(when: str) -> None:
    def build(architecture: Architecture, *, img_size: int, num_classes: int, **_: Any) -> nn.Module:
        return Patching(int(architecture["width"]), num_classes, when)  # type: ignore[call-overload]

    chosen = [*SHIPPED, GOOD, proxies.get("grad_norm")]
    alone = {one.name: [found.status for found in scores([one], build=build)[one.name]] for one in chosen}
    for order in (chosen, chosen[::-1], [*chosen[2:], *chosen[:2]]):
        found = scores(order, build=build)
        assert {name: [outcome.status for outcome in both] for name, both in found.items()} == alone
    assert all(status == "failed" for both in alone.values() for status in both)
