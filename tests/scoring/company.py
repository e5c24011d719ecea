"""What tests of scores in company share: a small network, scores that notice any change, and code that does harm."""

from __future__ import annotations

import math
import random
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

import raynas.proxies  # noqa: F401  (registers them)
from raynas import Architecture
from raynas.proxies.probe import Probe, Proxy
from raynas.proxies.registered import proxies
from raynas.scoring.evaluator import EvaluationTask, Evaluator
from raynas.space.results import Outcome

FIRST, SECOND = Architecture({"width": 4}), Architecture({"width": 6})


class Small(nn.Module):
    """A network with a convolution, an activation, dropout and BatchNorm: each looks at something process-wide."""

    def __init__(self, width: int, num_classes: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, width, 3, padding=1)
        self.norm = nn.BatchNorm2d(width)
        self.head = nn.Linear(width, num_classes)
        self.scale = nn.Parameter(torch.tensor(np.random.rand()).float())  # noqa: NPY002

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        x = F.dropout(F.gelu(self.norm(self.conv(images))), 0.1, self.training)
        return self.head(self.scale * x.mean((2, 3)))


def small(architecture: Architecture, *, img_size: int, num_classes: int, **_: Any) -> nn.Module:
    return Small(int(architecture["width"]), num_classes)  # type: ignore[arg-type]


def good(probe: Probe) -> float:
    """Depends on weights, images, labels, gradients, random generators and settings."""
    noise = torch.randn(()) + random.random() + np.random.rand()  # noqa: NPY002
    weight = next(probe.model.parameters()).requires_grad_()
    loss = F.cross_entropy(probe.model(probe.images), probe.labels)
    (gradient,) = torch.autograd.grad(loss, [weight])
    weight.requires_grad_(False)
    return float(gradient.norm() + torch.ones(3).sum() + noise + loss.detach()) + math.sin(0.5)


def task(*chosen: Proxy, build: Callable[..., nn.Module] = small, **settings: Any) -> EvaluationTask:
    rng = np.random.default_rng(0)
    images = rng.standard_normal((2, 8, 3, 8, 8)).astype(np.float32)
    labels = rng.integers(0, 5, (2, 8))
    size = {"img_size": 8, "num_classes": 5}
    return EvaluationTask(build, size, chosen, images=images, labels=labels, **settings)


GOOD = Proxy("good", good, repeats=2)
SHIPPED = [proxies.get(name) for name in ("snip", "fisher", "synflow")]


def nasty(harm: Callable[[Probe], None]) -> Proxy:
    def function(probe: Probe) -> float:
        harm(probe)
        return 1.0

    return Proxy("nasty", function, repeats=2)


def scores(chosen: list[Proxy], **settings: Any) -> dict[str, list[Outcome]]:
    """Outcomes on two architectures, one after the other in one evaluator."""
    evaluator = Evaluator(task(*chosen, **settings))
    visits = [evaluator(architecture, range(len(chosen))) for architecture in (FIRST, SECOND)]
    names = [name for proxy in chosen for name in proxy.outputs]
    return {name: [outcomes[i] for outcomes in visits] for i, name in enumerate(names)}  # type: ignore[misc]


def values(found: dict[str, list[Outcome]], *names: str) -> dict[str, list[float | None]]:
    return {name: [outcome.value for outcome in found[name]] for name in names}


def values_alone(**settings: Any) -> dict[str, list[float | None]]:
    """The values of `GOOD` and `SHIPPED`, each in an evaluator of its own."""
    found = {proxy.name: values(scores([proxy], **settings), proxy.name)[proxy.name] for proxy in (GOOD, *SHIPPED)}
    assert all(value is not None for both in found.values() for value in both)
    return found
