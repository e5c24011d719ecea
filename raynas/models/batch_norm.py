"""BatchNorm whose statistics are those of a whole step, over all workers.

Torch's SyncBatchNorm does this on GPUs alone. Here workers add up counts, means and squares of their images by an
exchange that is differentiated through, on CPUs (gloo) as on GPUs (NCCL): what an image does to the loss of images on
other workers is part of its gradient. One worker computes torch's own BatchNorm, to the same bits as without this file.

Letters: C channels, n numbers of a channel on this worker, N on all of them.
"""

from __future__ import annotations

from types import MethodType
from typing import Any

import torch
import torch.distributed as dist
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

_STATISTICS = ("running_mean", "running_var")


class _Sum(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, values: torch.Tensor) -> torch.Tensor:
        total = values.clone()
        dist.all_reduce(total)
        return total

    @staticmethod
    def backward(ctx: Any, *gradients: torch.Tensor) -> torch.Tensor:
        # Each worker's value is in the sums of all of them, and so in all of their losses.
        total = gradients[0].contiguous().clone()
        dist.all_reduce(total)
        return total


def sum_over_workers(values: torch.Tensor) -> torch.Tensor:
    """The sum of a tensor over all workers of torch.distributed, through which gradients of all of them flow back."""
    total: torch.Tensor = _Sum.apply(values)  # type: ignore[no-untyped-call]
    return total


def step_statistics(x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """How many numbers each channel has over all workers, and their mean and biased variance.

    Args:
        x: (images, C, ...) of this worker; workers may have different numbers of images.

    Returns:
        N as a number without gradient, mean (C,) and variance (C,), float32, or float64 where x is.
    """
    values = x if x.dtype == torch.float64 else x.float()
    dims = [0, *range(2, x.ndim)]
    n = values.numel() // values.shape[1]
    variance, mean = torch.var_mean(values, dims, correction=0)
    # In float64, in which the squares of large means do not swallow a small variance.
    mean, variance = mean.double(), variance.double()
    count = torch.full((1,), n, dtype=torch.float64, device=x.device)
    total = sum_over_workers(torch.cat([count, n * mean, n * (variance + mean**2)]))
    whole = total[0].detach()
    means, squares = (total[1:] / whole).chunk(2)
    return whole, means.to(values.dtype), (squares - means**2).clamp(min=0).to(values.dtype)


def layers_with_batch_statistics(module: nn.Module) -> list[str]:
    """Names of the layers of a module that normalise by the images which they see together while it trains."""
    found = []
    for name, layer in module.named_modules():
        has_kept = any(getattr(layer, statistic, None) is not None for statistic in _STATISTICS)
        if isinstance(layer, _BatchNorm) or has_kept:
            found.append(name)
    return found


def share_statistics(module: nn.Module) -> None:
    """Have all BatchNorms of a module normalise by the statistics of all workers while it trains.

    Running means and variances follow from these, so that all workers keep the same ones.

    Raises:
        ValueError: A layer has statistics of images, and is neither torch's BatchNorm nor timm's BatchNormAct2d.
    """
    names = dict(module.named_modules())
    for name in layers_with_batch_statistics(module):
        layer = names[name]
        if not isinstance(layer, _BatchNorm) or not (_is_torchs(layer) or _is_timms(layer)):
            raise ValueError(f"{name} is a {type(layer).__name__}, whose statistics cannot be shared among workers")
        layer.forward = MethodType(_normalised, layer)  # type: ignore[method-assign]


def _is_torchs(layer: nn.Module) -> bool:
    return type(layer).forward is _BatchNorm.forward


def _is_timms(layer: nn.Module) -> bool:
    from timm.layers import BatchNormAct2d

    return type(layer).forward is BatchNormAct2d.forward


def _normalised(layer: Any, x: torch.Tensor) -> torch.Tensor:
    """The pass of a layer that shares its statistics."""
    if not layer.training:
        result: torch.Tensor = type(layer).forward(layer, x)
        return result
    layer._check_input_dim(x)
    count, mean, variance = step_statistics(x)
    if layer.track_running_stats and layer.running_mean is not None:
        layer.num_batches_tracked.add_(1)
        momentum = 1 / float(layer.num_batches_tracked) if layer.momentum is None else layer.momentum
        with torch.no_grad():
            unbiased = variance * (count / (count - 1)).to(variance.dtype)
            layer.running_mean.lerp_(mean.to(layer.running_mean.dtype), momentum)
            layer.running_var.lerp_(unbiased.to(layer.running_var.dtype), momentum)
    scale = (variance + layer.eps).rsqrt()
    if layer.weight is not None:
        scale = scale * layer.weight
    shift = -mean * scale if layer.bias is None else layer.bias - mean * scale
    sides = (1, -1, *[1] * (x.ndim - 2))
    y: torch.Tensor = (x.to(scale.dtype) * scale.view(sides) + shift.view(sides)).to(x.dtype)
    if _is_torchs(layer):
        return y
    activated: torch.Tensor = layer.act(layer.drop(y))
    return activated
