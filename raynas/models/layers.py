"""Layers that networks of several families are built of, without initial values, and how a network draws them all.

A network makes its layers first and then draws all of its parameters once; what torch's own layers would draw when they
are made would be thrown away.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import nn


class Linear(nn.Linear):
    """A linear layer whose parameters have no values until its owner gives them some."""

    def reset_parameters(self) -> None:
        """Leave the parameters as they are."""


class LayerNorm(nn.LayerNorm):
    """A LayerNorm whose parameters have no values until its owner gives them some."""

    def reset_parameters(self) -> None:
        """Leave the parameters as they are."""


class Conv2d(nn.Conv2d):
    """A convolution whose parameters have no values until its owner gives them some."""

    def reset_parameters(self) -> None:
        """Leave the parameters as they are."""


class Mlp(nn.Module):
    """Two linear layers with exact GELU between them.

    Args:
        dim: Width of the input and of the output.
        hidden_dim: Width between the two layers.
        factory: `device` and `dtype` of the parameters.
    """

    def __init__(self, dim: int, hidden_dim: int, **factory: Any) -> None:
        super().__init__()
        self.fc1 = Linear(dim, hidden_dim, **factory)
        self.act = nn.GELU()
        self.fc2 = Linear(hidden_dim, dim, **factory)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(..., dim) to the same."""
        return self.fc2(self.act(self.fc1(x)))


def make_drop_path(rate: float) -> nn.Module:
    """Stochastic depth of a residual branch: in training, the branch is dropped for an image with this probability."""
    if rate == 0.0:
        return nn.Identity()
    from timm.layers import DropPath  # seconds to import, and only training needs it

    layer: nn.Module = DropPath(rate)
    return layer


def transformer_distributions(model: nn.Module, patch_conv: str) -> dict[str, tuple[str, float]]:
    """How the parameters of a vision transformer are drawn, by name, in the order in which the model has them.

    The usual truncated normal of std 0.02 is cut at plus and minus 2, a hundred deviations out: a plain normal. The
    patch convolution keeps torch's default, scales of norms are 1 and biases 0.

    Args:
        model: The vision transformer; its only parameters of one dimension are biases and scales of norms.
        patch_conv: Name of the convolution that makes tokens of an image.

    Returns:
        For each parameter ("normal", its std), ("uniform", the largest absolute value), or ("constant", its value).
    """
    of_patch_conv = f"{patch_conv}."
    bound = 1 / math.sqrt(model.get_parameter(f"{patch_conv}.weight")[0].numel())
    table: dict[str, tuple[str, float]] = {}
    for name, parameter in model.named_parameters():
        if name.startswith(of_patch_conv):
            table[name] = ("uniform", bound)
        elif name.endswith("bias"):
            table[name] = ("constant", 0.0)
        elif parameter.ndim == 1:  # the scale of a norm
            table[name] = ("constant", 1.0)
        else:
            table[name] = ("normal", 0.02)
    return table


@torch.no_grad()
def draw_parameters(model: nn.Module, table: Mapping[str, tuple[str, float]]) -> None:
    """Draw parameters anew from torch's generator, in the order of the table; those that it does not name stay.

    Args:
        model: Owner of the parameters; they have memory, so none is on the meta device.
        table: Distributions by the names of the parameters, as `transformer_distributions` writes them.
    """
    parameters = dict(model.named_parameters())
    for name, (kind, number) in table.items():
        if kind == "normal":
            parameters[name].normal_(0.0, number)
        elif kind == "uniform":
            parameters[name].uniform_(-number, number)
        else:
            parameters[name].fill_(number)
