"""What workers of a training share: gradients, buffers and numbers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
import torch.distributed as dist
from torch import nn

from raynas.training.objectives.objective import Objective


def data_parallel(objective: Objective, world: int, device: torch.device) -> nn.Module:
    """The objective with an exchange of gradients after each pass, where there are several workers."""
    if world == 1:
        return objective
    devices = [device] if device.type == "cuda" else None
    return nn.parallel.DistributedDataParallel(
        objective,
        device_ids=devices,
        broadcast_buffers=False,  # they are of the whole step, or averaged after it
        find_unused_parameters=not objective.uses_all_parameters,
    )


def averaged_buffers(objective: Objective) -> list[torch.Tensor]:
    """Buffers that each worker makes of images of its own, by what the objective says of its parts."""
    parts = [getattr(objective, name) for name, part in objective.parts().items() if part.is_averaged]
    return [buffer for part in parts for buffer in part.buffers() if buffer.is_floating_point()]


def average_over_workers(buffers: Sequence[torch.Tensor], world: int) -> None:
    """Give all workers the mean of what each of them has."""
    joined = torch.cat([buffer.flatten() for buffer in buffers]) / world
    dist.all_reduce(joined)
    for buffer, values in zip(buffers, torch.split(joined, [one.numel() for one in buffers]), strict=True):
        buffer.copy_(values.view_as(buffer))


def gathered(values: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Rows (b, D) of all workers, one worker after another, without gradients; and (b,) where this one's stand."""
    own = torch.arange(len(values), device=values.device)
    if not (dist.is_available() and dist.is_initialized()):
        return values, own
    sizes = [torch.zeros(1, dtype=torch.long, device=values.device) for _ in range(dist.get_world_size())]
    dist.all_gather(sizes, torch.tensor([len(values)], device=values.device))
    counts = [int(size) for size in sizes]  # parts of a step may differ by two images
    padded = values.new_zeros(max(counts), *values.shape[1:])
    padded[: len(values)] = values.detach()
    parts = [torch.empty_like(padded) for _ in counts]
    dist.all_gather(parts, padded)
    joined = torch.cat([part[:count] for part, count in zip(parts, counts, strict=True)])
    return joined, own + sum(counts[: dist.get_rank()])


def means_over_workers(values: Sequence[Any], world: int, device: torch.device) -> list[float]:
    """The means of numbers that each worker has, exchanged as one vector."""
    if world == 1:
        return [float(value) for value in values]
    joined = torch.stack([torch.as_tensor(value, device=device, dtype=torch.float64) for value in values]) / world
    dist.all_reduce(joined)
    return [float(value) for value in joined]
