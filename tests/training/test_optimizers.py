"""Fused optimizers against plain ones."""

from __future__ import annotations

import pytest
import torch
from timm.optim import create_optimizer_v2
from torch import nn

from raynas.training.optimizers import make_optimizer


def small() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(5, 7), nn.LayerNorm(7), nn.Linear(7, 3))


@pytest.mark.parametrize(
    ("name", "is_fused"),
    [("adamw", True), ("adam", True), ("sgd", True), ("momentum", True), ("lamb", False), ("AdamW", True)],
)
def test_steps_equal_those_of_the_plain_optimizer(name: str, is_fused: bool) -> None:
    settings = {"opt": name, "lr": 1e-2, "weight_decay": 0.1}
    models = small(), small()
    optimizers = make_optimizer(models[0], **settings), create_optimizer_v2(models[1], **settings)
    assert bool(optimizers[0].defaults.get("fused")) == is_fused
    generator = torch.Generator().manual_seed(1)
    start = [parameter.detach().clone() for parameter in models[0].parameters()]
    for _ in range(20):
        gradients = [torch.randn(parameter.shape, generator=generator) for parameter in models[0].parameters()]
        for model, optimizer in zip(models, optimizers, strict=True):
            for parameter, gradient in zip(model.parameters(), gradients, strict=True):
                parameter.grad = gradient.clone()
            optimizer.step()
    for first, second, before in zip(models[0].parameters(), models[1].parameters(), start, strict=True):
        assert torch.allclose(first, second, rtol=1e-5, atol=1e-6)
        assert (first - before).abs().max() > 1e-2
