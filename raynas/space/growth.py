"""How architectures of a space grow in depth and width, as values."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction
from math import floor
from typing import Any

from raynas.errors import SpaceError
from raynas.space.architecture import Architecture
from raynas.space.fields import Field, PerBlock, PerLayer


@dataclass(frozen=True)
class Growth:
    """Which fields hold the depth and the width of a space's architectures.

    Args:
        depth: Name of the field with the numbers of blocks: a list has one number per stage, a single number is one
            stage. Fields with a value for each layer or block repeat the last one of the stage when a block is added.
        width: Name of the field with the width that all others follow from: a list has one for each stage, which grow
            by one factor, in units each.
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

    def deepened(self, fields: Mapping[str, Field], architecture: Architecture, stage: int) -> Architecture:
        """The architecture with one more block at the end of a stage.

        Args:
            fields: The space's fields, which say what each of them holds.
            architecture: What the block is added to.
            stage: Number of the stage, from 0.

        Raises:
            SpaceError: Values of the new block are those of the last one, and there is none.
        """
        depths: tuple[Any, ...] = self.depths(architecture)
        start, end = sum(depths[:stage]), sum(depths[: stage + 1])
        layers = {}
        for name, entry in fields.items():
            values = architecture[name]
            if not isinstance(entry, PerLayer | PerBlock) or entry.depth != self.depth or not isinstance(values, tuple):
                continue
            value = entry.repeated(values[start:end])
            if value is None:
                raise SpaceError(
                    f"{self.depth} {depths[stage]} cannot grow: a new block is like the last one, and there is none"
                )
            layers[name] = (*values[:end], value, *values[end:])
        grown = (*depths[:stage], depths[stage] + 1, *depths[stage + 1 :])
        is_list = isinstance(architecture[self.depth], tuple)
        return architecture.replace(**{self.depth: grown if is_list else grown[0], **layers})

    def widened(self, architecture: Architecture, rate: float) -> Architecture:
        """The architecture with its width, counted in units, times 1 + rate, rounded half away from zero."""
        unit = self.unit_of(architecture)

        def grown(width: int) -> int:
            # In fractions, since 90 * 1.15 is less than 103.5 in floating point.
            return unit * floor(Fraction(width, unit) * (1 + Fraction(str(rate))) + Fraction(1, 2))

        return self._with_widths(architecture, [grown(width) for width in self._widths(architecture)])

    def narrowed(self, architecture: Architecture, divisor: int) -> Architecture:
        """The architecture with its width divided.

        Raises:
            SpaceError: The width is not divisible.
        """
        widths = self._widths(architecture)
        for width in widths:
            if width % divisor:
                raise SpaceError(f"{self.width} {width} is not divisible by {divisor}")
        return self._with_widths(architecture, [width // divisor for width in widths])

    def width_of(self, architecture: Architecture) -> int:
        """The width from which all others follow; of several, that of the first stage."""
        return self._widths(architecture)[0]

    def _widths(self, architecture: Architecture) -> list[int]:
        value: Any = architecture[self.width]
        return [int(width) for width in (value if isinstance(value, tuple) else (value,))]

    def _with_widths(self, architecture: Architecture, widths: list[int]) -> Architecture:
        is_list = isinstance(architecture[self.width], tuple)
        return architecture.replace(**{self.width: widths if is_list else widths[0]})

    def unit_of(self, architecture: Architecture) -> int:
        """What the widths that grow out of an architecture are multiples of."""
        unit: Any = architecture[self.unit] if isinstance(self.unit, str) else self.unit
        return int(unit)
