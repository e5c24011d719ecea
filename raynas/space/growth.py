"""How architectures of a space grow in depth and width, as values."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction
from math import floor
from typing import Any

from raynas.errors import SpaceError
from raynas.space.architecture import Architecture


@dataclass(frozen=True)
class Growth:
    """Which fields hold the depth and the width of a space's architectures.

    Args:
        depth: Name of the field with the numbers of blocks: a list has one number per stage, a single number is one
            stage. Per-layer fields of that depth repeat their last value when a block is added.
        width: Name of the field with the width that all others follow from.
        unit: What widths are multiples of: a number, or the name of the field that holds it, such as num_heads.
        scored_divisor: Grown architectures are scored with their width divided by it, unless another is asked for.
        objectives: Scores that growth ranks candidates by, unless others are asked for.
        stop, constraints: The cost at which growth ends and the bounds of its candidates, such as num_params>=80e6 and
            num_params<=110e6, where the user names neither; "": a user must.
    """

    depth: str = "depth"
    width: str = "embed_dim"
    unit: int | str = 1
    scored_divisor: int = 1
    objectives: tuple[str, ...] = ("ntk_condition:min", "length_distortion:max")
    stop: str = ""
    constraints: tuple[str, ...] = ()

    def depths(self, architecture: Architecture) -> tuple[int, ...]:
        """Blocks of each stage."""
        value: Any = architecture[self.depth]
        return value if isinstance(value, tuple) else (value,)

    def deepened(self, fields: Mapping[str, Any], architecture: Architecture, stage: int) -> Architecture:
        """The architecture with one more block at the end of a stage.

        Args:
            fields: The space's fields, which say what each of them holds.
            architecture: What the block is added to.
            stage: Number of the stage, from 0.

        Raises:
            SpaceError: Values of the new block are those of the last one, and there is none.
        """
        value: Any = architecture[self.depth]
        if isinstance(value, tuple):
            return architecture.replace(**{self.depth: (*value[:stage], value[stage] + 1, *value[stage + 1 :])})
        if value < 1:
            raise SpaceError(f"{self.depth} {value} cannot grow: a new block is like the last one, and there is none")
        layers = {
            name: (*values, values[-1])
            for name, entry in fields.items()
            if getattr(entry, "depth", None) == self.depth and isinstance(values := architecture[name], tuple)
        }
        return architecture.replace(**{self.depth: value + 1, **layers})

    def widened(self, architecture: Architecture, rate: float) -> Architecture:
        """The architecture with its width, counted in units, times 1 + rate, rounded half away from zero."""
        unit = self.unit_of(architecture)
        # In fractions, since 90 * 1.15 is less than 103.5 in floating point.
        units = floor(Fraction(self.width_of(architecture), unit) * (1 + Fraction(str(rate))) + Fraction(1, 2))
        return architecture.replace(**{self.width: units * unit})

    def narrowed(self, architecture: Architecture, divisor: int) -> Architecture:
        """The architecture with its width divided.

        Raises:
            SpaceError: The width is not divisible.
        """
        width = self.width_of(architecture)
        if width % divisor:
            raise SpaceError(f"{self.width} {width} is not divisible by {divisor}")
        return architecture.replace(**{self.width: width // divisor})

    def width_of(self, architecture: Architecture) -> int:
        """The width from which all others follow."""
        width: Any = architecture[self.width]
        return int(width)

    def unit_of(self, architecture: Architecture) -> int:
        """What the widths that grow out of an architecture are multiples of."""
        unit: Any = architecture[self.unit] if isinstance(self.unit, str) else self.unit
        return int(unit)
