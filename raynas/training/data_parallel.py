"""What a worker optimises as one module, and what workers share of it."""

from __future__ import annotations

from typing import Any

import torch
import torch.distributed as dist
from torch import nn

from raynas.models.protocols import not_decayed
from raynas.training.objectives.recipe import Loss, Recipe


class Objective(nn.Module):
    """The loss as a module: whatever is trained is in it, and gradients of several workers meet in its pass."""

    def __init__(self, model: nn.Module, auxiliary: nn.Module | None, recipe: Recipe) -> None:
        super().__init__()
        self.model = model
        self.auxiliary = auxiliary
        self.recipe = recipe

    def forward(self, images: torch.Tensor, labels: torch.Tensor) -> Loss:
        """The recipe's loss of a piece of a batch."""
        return self.recipe.loss(self.model, images, labels)

    def no_weight_decay(self) -> set[str]:
        """As the model says, for timm."""
        return {f"model.{name}" for name in not_decayed(self.model)}


def data_parallel(objective: nn.Module, world: int, device: torch.device) -> nn.Module:
    """The objective with an exchange of gradients after each pass, where there are several workers."""
    if world == 1:
        return objective
    devices = [device] if device.type == "cuda" else None
    # Buffers are averaged after each step, where torch would take those of the first worker.
    return nn.parallel.DistributedDataParallel(objective, device_ids=devices, broadcast_buffers=False)


def running_statistics(model: nn.Module) -> list[torch.Tensor]:
    """Means and variances that BatchNorms keep of all batches."""
    ends = ("running_mean", "running_var")
    return [buffer for name, buffer in model.named_buffers() if name.rpartition(".")[2] in ends]


def average_over_workers(buffers: list[torch.Tensor], world: int) -> None:
    """So that all workers evaluate, average and store the same network, made from the images of all of them."""
    joined = torch.cat([buffer.flatten() for buffer in buffers]) / world
    dist.all_reduce(joined)
    for buffer, values in zip(buffers, torch.split(joined, [one.numel() for one in buffers]), strict=True):
        buffer.copy_(values.view_as(buffer))


def mean_over_workers(value: Any, world: int, device: torch.device) -> float:
    """Of a number that each worker has."""
    if world == 1:
        return float(value)
    mean = torch.as_tensor(value, device=device, dtype=torch.float64) / world
    dist.all_reduce(mean)
    return float(mean)
