"""What can be chosen of an architecture: a value, one for each layer, or one for each place of a block."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

from raynas.errors import SpaceError
from raynas.space.architecture import FieldValue, Scalar, frozen_value


@dataclass(frozen=True)
class Choice:
    """One of several options, each a scalar or, where positions are chosen jointly, a tuple."""

    options: tuple[FieldValue, ...]

    def __init__(self, *options: Any) -> None:
        object.__setattr__(self, "options", tuple(frozen_value("option", option) for option in options))
        if not options or len(set(self.options)) < len(options):
            raise SpaceError(f"a choice needs distinct options, not {options}")

    def number(self, value: FieldValue) -> int | None:
        """The number of an option; None if no option is this value."""
        if value not in self.options:
            return None
        number = self.options.index(value)
        # Python has True == 1, but as JSON they differ, and so do the keys.
        pairs = zip(as_tuple(self.options[number]), as_tuple(value), strict=True)
        return number if all(type(one) is type(other) for one, other in pairs) else None


@dataclass(frozen=True)
class PerLayer:
    """One value a layer, all from the same options; the field `depth` holds the number of layers."""

    choice: Choice
    depth: str = "depth"

    def repeated(self, values: Sequence[Scalar]) -> Scalar | None:
        """The value of a layer that is added after some; None if there are none."""
        return values[-1] if values else None


@dataclass(frozen=True)
class PerBlock:
    """One value for each place where a block may stand, of all stages in their order; 0 where none does.

    The field `depth` holds the number of places of each stage. Several such fields speak of the same blocks: the first
    of them has 0 among the options of places that may be empty, the others say 0 there and choose no value.

    Args:
        choices: The choice of each place.
        depth: Name of the field with the places of each stage, each a choice of one number.
    """

    choices: tuple[Choice, ...]
    depth: str = "depth"

    def repeated(self, values: Sequence[Scalar]) -> Scalar | None:
        """The value of a block that is added after some, which is that of the last one; None if there are none."""
        return next((value for value in reversed(values) if not is_absent(value)), None)


Field: TypeAlias = Choice | tuple[Choice, ...] | PerLayer | PerBlock


def is_absent(value: FieldValue) -> bool:
    """Whether a field's value for a place says that no block stands there."""
    return value == 0 and not isinstance(value, bool)


def as_tuple(value: FieldValue) -> tuple[Scalar, ...]:
    """A field's values, of which a scalar is one."""
    return value if isinstance(value, tuple) else (value,)


def positions(entry: Field, max_depth: Callable[[str], int]) -> Sequence[Choice]:
    """The choice of every position that a field can have.

    Args:
        entry: The field.
        max_depth: Gives the largest value of the field with this name, which holds a number of layers.
    """
    if isinstance(entry, Choice):
        return [entry]
    if isinstance(entry, PerLayer):
        return [entry.choice] * max_depth(entry.depth)
    return entry.choices if isinstance(entry, PerBlock) else entry
