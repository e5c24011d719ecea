"""How a model's parameters are distributed at initialisation, as values."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias


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
