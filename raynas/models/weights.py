"""How a model's parameters are distributed at initialisation, as values.

A model that lists the distribution of each of its parameters (`InitialisedByTable` in `raynas.models.protocols`) can be
given weights that follow from seeds without being made anew.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TypeAlias


@dataclass(frozen=True, slots=True)
class Normal:
    """A normal distribution with mean 0; also a truncated one whose cut lies many deviations out.

    Args:
        std: Standard deviation.
    """

    std: float

    @property
    def pair(self) -> tuple[str, float]:
        """The kind of distribution and its number, as exported code writes them."""
        return "normal", self.std


@dataclass(frozen=True, slots=True)
class Uniform:
    """The uniform distribution in [-bound, bound].

    Args:
        bound: Largest absolute value.
    """

    bound: float

    @property
    def pair(self) -> tuple[str, float]:
        """The kind of distribution and its number, as exported code writes them."""
        return "uniform", self.bound


@dataclass(frozen=True, slots=True)
class Constant:
    """The same number everywhere.

    Args:
        value: The number.
    """

    value: float

    @property
    def pair(self) -> tuple[str, float]:
        """The kind of distribution and its number, as exported code writes them."""
        return "constant", self.value


Init: TypeAlias = Normal | Uniform | Constant


_BY_KIND: dict[str, type[Init]] = {"normal": Normal, "uniform": Uniform, "constant": Constant}


def init_table(pairs: Mapping[str, tuple[str, float]]) -> dict[str, Init]:
    """The distribution of each parameter as a value.

    Args:
        pairs: Kinds of distributions with their numbers, such as ("normal", 0.02), by the names of the parameters.
    """
    inits = {pair: _BY_KIND[pair[0]](pair[1]) for pair in set(pairs.values())}
    return {name: inits[pair] for name, pair in pairs.items()}
