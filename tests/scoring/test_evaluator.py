"""One architecture to outcomes: failures, lack of memory, and devices that are lost."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar

import numpy as np
import pytest
import torch
from torch import nn

import raynas.proxies  # noqa: F401  (registers them)
from raynas import Architecture
from raynas.errors import NotApplicableError
from raynas.proxies.probe import Probe, Proxy
from raynas.proxies.registered import proxies
from raynas.scoring.evaluator import EvaluationTask, Evaluator
from raynas.scoring.failures import is_device_lost, is_out_of_memory
from raynas.scoring.task import DeviceLostError

ARCHITECTURE = Architecture({"width": 3})


def linear(architecture: Architecture, *, img_size: int, num_classes: int) -> nn.Module:
    return nn.Linear(int(architecture["width"]), num_classes)  # type: ignore[arg-type]


def evaluate(*proxies: Proxy, builder: Callable[..., nn.Module] = linear, batch: int = 16) -> list[Any]:
    images = np.arange(batch, dtype=np.float32).reshape(1, batch, 1, 1, 1) * np.ones((1, 1, 3, 2, 2), np.float32)
    task = EvaluationTask(
        builder, {"img_size": 2, "num_classes": 5}, proxies, images=images, labels=np.zeros((1, batch), np.int64)
    )
    return Evaluator(task)(ARCHITECTURE, range(len(proxies)))


def needs_small_batches(limit: int, error: Exception) -> tuple[Proxy, list[int]]:
    """A sum over images that lacks memory for more than `limit` of them at once."""
    passes: list[int] = []

    def total(probe: Probe) -> float:
        found = 0.0
        for part in probe.slices(len(probe.images)):
            rows = probe.images[part]
            passes.append(len(rows))
            if len(rows) > limit:
                raise error
            found += float(rows[:, 0, 0, 0].sum())
        return found

    return Proxy("total", total, needs_images=True), passes


OUT_OF_MEMORY = [
    torch.OutOfMemoryError("CUDA out of memory"),
    MemoryError(),
    RuntimeError("DefaultCPUAllocator: can't allocate memory"),
]


@pytest.mark.parametrize("error", OUT_OF_MEMORY, ids=repr)
def test_on_lack_of_memory_the_batch_is_halved_until_it_fits(error: Exception) -> None:
    proxy, passes = needs_small_batches(3, error)
    (outcome,) = evaluate(proxy)
    assert (outcome.status, outcome.value) == ("ok", float(sum(range(16))))
    assert passes == [16, 8, 4, *[2] * 8]


def test_what_does_not_fit_one_by_one_is_out_of_memory() -> None:
    proxy, passes = needs_small_batches(0, OUT_OF_MEMORY[0])
    (outcome,) = evaluate(proxy)
    assert (outcome.status, outcome.value) == ("out_of_memory", None)
    assert "CUDA out of memory" in outcome.error
    assert passes == [16, 8, 4, 2, 1]


def test_the_next_proxy_of_the_visit_still_gets_its_score() -> None:
    proxy, _ = needs_small_batches(0, OUT_OF_MEMORY[0])
    outcomes = evaluate(proxy, Proxy("width", lambda probe: probe.model.in_features))
    assert [outcome.status for outcome in outcomes] == ["out_of_memory", "ok"]
    assert outcomes[1].value == 3


@pytest.mark.parametrize(
    ("error", "lost"),
    [
        (RuntimeError("CUDA error: device-side assert triggered"), True),
        (torch.AcceleratorError("CUDA error: an illegal memory access was encountered"), True),
        (torch.OutOfMemoryError("CUDA out of memory"), False),
        (RuntimeError("mat1 and mat2 shapes cannot be multiplied"), False),
        (ValueError("CUDA is not a shape"), False),
    ],
    ids=repr,
)
def test_a_device_error_ends_the_evaluator(error: Exception, lost: bool) -> None:
    def failing(probe: Probe) -> float:
        raise error

    assert is_device_lost(error) is lost
    if lost:
        with pytest.raises(DeviceLostError):
            evaluate(Proxy("failing", failing))
    else:
        (outcome,) = evaluate(Proxy("failing", failing))
        assert outcome.status == ("out_of_memory" if is_out_of_memory(error) else "failed")


def test_an_error_is_told_with_its_place() -> None:
    def failing(probe: Probe) -> float:
        return 1 / 0

    (outcome,) = evaluate(Proxy("failing", failing))
    assert outcome.status == "failed"
    assert outcome.error.startswith("ZeroDivisionError: ")
    assert "test_evaluator.py:" in outcome.error


def test_a_model_that_cannot_be_built_fails_the_proxies_that_need_it() -> None:
    def broken(architecture: Architecture, **_: Any) -> nn.Module:
        raise ValueError("no such width")

    outcomes = evaluate(
        Proxy("needs", lambda probe: len(list(probe.model.parameters()))),
        Proxy("free", lambda probe: 1.0),
        builder=broken,
    )
    assert [outcome.status for outcome in outcomes] == ["failed", "ok"]
    assert "no such width" in outcomes[0].error


def test_what_a_model_lacks_is_named() -> None:
    def picky(probe: Probe) -> float:
        raise NotApplicableError("needs a token grid")

    (outcome,) = evaluate(Proxy("picky", picky))
    assert (outcome.status, outcome.value, outcome.error) == ("not_applicable", None, "needs a token grid")


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), -float("inf")])
def test_values_that_are_not_finite_have_a_status_and_no_value(bad: float) -> None:
    (outcome,) = evaluate(Proxy("bad", lambda probe: bad))
    assert (outcome.status, outcome.value) == ("non_finite", None)


def test_a_missing_output_is_a_failure() -> None:
    first, second = evaluate(Proxy("both", lambda probe: {"up": 1.0}, outputs=("up", "down")))
    assert (first.status, first.value) == ("ok", 1.0)
    assert second.status == "failed"
    assert "down" in second.error


class Counted(nn.Module):
    """A network that counts its passes."""

    passes: ClassVar[list[int]] = []

    def __init__(self, width: int, num_classes: int) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Conv2d(3, width, 2), nn.Flatten(), nn.Linear(width, num_classes))

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        self.passes.append(len(images))
        return self.body(images)


def test_one_visit_builds_one_network_for_all_proxies_and_those_of_raynas_run_a_shared_pass_once() -> None:
    built: list[int] = []

    def build(architecture: Architecture, **settings: Any) -> nn.Module:
        built.append(1)
        return Counted(int(architecture["width"]), settings["num_classes"])

    def own(probe: Probe) -> float:
        return float(probe.model(probe.images).std())

    Counted.passes.clear()
    evaluate(proxies.get("snip"), builder=build)
    alone = len(Counted.passes)
    built.clear(), Counted.passes.clear()
    outcomes = evaluate(*map(proxies.get, ("snip", "grad_norm", "fisher")), Proxy("own", own), builder=build)
    assert [outcome.status for outcome in outcomes] == ["ok"] * 4
    assert (len(built), len(Counted.passes)) == (1, alone + 1)


def test_proxies_of_one_s_own_share_the_network_and_no_passes() -> None:
    built: list[int] = []
    passes: list[int] = []

    def build(architecture: Architecture, **settings: Any) -> nn.Module:
        built.append(1)
        return linear(architecture, **settings)

    def shared(probe: Probe) -> float:
        passes.append(1)
        return float(probe.model.weight.sum())

    def twice(probe: Probe) -> float:
        return probe.once(shared) + probe.once(shared)

    outcomes = evaluate(*[Proxy(f"p{i}", twice) for i in range(4)], builder=build)
    assert len({outcome.value for outcome in outcomes}) == 1
    assert (len(built), len(passes)) == (1, 4)


def test_proxies_of_another_dtype_or_with_shared_draws_get_their_own_network() -> None:
    def weight(probe: Probe) -> float:
        return float(probe.model.weight.sum())

    single, double, shared, again = evaluate(
        Proxy("single", weight), Proxy("double", weight, dtype="float64"), Proxy("shared", weight, shared_draws=True),
        Proxy("again", weight),
    )  # fmt: skip
    assert double.value == pytest.approx(single.value, rel=1e-6)
    assert shared.value != single.value
    assert again.value == single.value
