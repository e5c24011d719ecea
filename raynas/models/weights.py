"""How a model's parameters are distributed at initialisation, as values."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TypeAlias

import torch
from torch import nn


@dataclass(frozen=True, slots=True)
class Normal:
    """Normal with mean 0; also a truncated normal whose cut lies many deviations out."""

    std: float


@dataclass(frozen=True, slots=True)
class Uniform:
    """Uniform in [-bound, bound]."""

    bound: float


@dataclass(frozen=True, slots=True)
class Constant:
    """The same number everywhere."""

    value: float


Init: TypeAlias = Normal | Uniform | Constant


def initialise(model: nn.Module, table: Mapping[str, Init]) -> None:
    """Draw every parameter of a model in place, from torch's own generator.

    Args:
        model: Not on the meta device.
        table: A distribution for every parameter name.
    """
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            match table[name]:
                case Normal(std):
                    parameter.normal_(0.0, std)
                case Uniform(bound):
                    parameter.uniform_(-bound, bound)
                case Constant(value):
                    parameter.fill_(value)
