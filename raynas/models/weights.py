"""How a model's parameters are distributed at initialisation, as values."""

from __future__ import annotations

from collections.abc import Mapping
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


_BY_KIND: dict[str, type[Init]] = {"normal": Normal, "uniform": Uniform, "constant": Constant}


def init_table(drawn: Mapping[str, tuple[str, float]]) -> dict[str, Init]:
    """The distribution of each parameter, of pairs like ("normal", 0.02) by the same names."""
    inits = {pair: _BY_KIND[pair[0]](pair[1]) for pair in set(drawn.values())}
    return {name: inits[pair] for name, pair in drawn.items()}
