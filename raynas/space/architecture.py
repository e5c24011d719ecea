"""Architectures as values: named fields, per-layer fields as tuples, and a key that is stable."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from hashlib import blake2b
from typing import Any, TypeAlias

import numpy as np

from raynas.errors import SpaceError
from raynas.texts import parse_json

Scalar: TypeAlias = int | float | str | bool
FieldValue: TypeAlias = Scalar | tuple[Scalar, ...]


_CANONICAL = json.JSONEncoder(sort_keys=True, separators=(",", ":"))
_PLAIN = (int, bool, str, float)
_LARGEST = 2**53  # beyond which not all programs read JSON's whole numbers as they are


def frozen_value(name: str, value: Any) -> FieldValue:
    """A field's value as it is kept: a scalar, or a tuple of scalars.

    Raises:
        SpaceError: It is something else; the message has the field's name.
    """
    kind = type(value)
    if kind is tuple or (kind not in _PLAIN and isinstance(value, Sequence) and not isinstance(value, str)):
        return tuple([_scalar(name, item) for item in value])
    return _scalar(name, value)


def _scalar(name: str, value: Any) -> Scalar:
    # Most values are these, and a search asks for a hundred thousand architectures of dozens of them.
    if (type(value) is int and -_LARGEST <= value <= _LARGEST) or isinstance(value, bool | str):
        return value
    if isinstance(value, np.integer | np.floating):
        value = value.item()
    if isinstance(value, float) and value.is_integer():
        value = int(value)  # 4.0 and 4 are one architecture and have one key
    if (isinstance(value, int) and abs(value) <= _LARGEST) or (isinstance(value, float) and math.isfinite(value)):
        return value
    raise SpaceError(f"field {name!r}: {value!r:.200} is neither a finite number, a string nor a list of those")


class Architecture(Mapping[str, FieldValue]):
    """Named fields that describe one network; per-layer fields are tuples.

    Equal fields make equal architectures, whatever their order, with equal hashes and keys.

    Args:
        fields: Numbers, strings, or lists of them, by name.

    Raises:
        SpaceError: A value is of another type, or not finite.
    """

    __slots__ = ("_fields", "_key")

    def __init__(self, fields: Mapping[str, Any]) -> None:
        self._fields = {str(name): frozen_value(name, value) for name, value in fields.items()}
        self._key: str | None = None

    @classmethod
    def of_frozen(cls, fields: dict[str, FieldValue]) -> Architecture:
        """The architecture of fields whose values are as `frozen_value` gives them, which are not looked at again."""
        made = cls.__new__(cls)
        made._fields, made._key = fields, None
        return made

    @classmethod
    def from_json(cls, text: str) -> Architecture:
        """Read a JSON object.

        Raises:
            SpaceError: The text is not a JSON object of scalars and lists of scalars.
        """
        try:
            fields = parse_json(text)
        except ValueError as error:
            reason = str(error).removeprefix("it is no JSON: ")
            raise SpaceError(f"not JSON: {text[:80]!r} ({reason})") from None
        if not isinstance(fields, dict):
            raise SpaceError(f"an architecture is a JSON object, not {text[:80]!r}")
        return cls(fields)

    def to_json(self) -> str:
        """Canonical JSON: sorted names, no spaces."""
        return _CANONICAL.encode(self._fields)

    @property
    def key(self) -> str:
        """32 hexadecimal digits that identify the fields on any machine."""
        if self._key is None:
            self._key = blake2b(self.to_json().encode(), digest_size=16).hexdigest()
        return self._key

    def replace(self, **fields: Any) -> Architecture:
        """A copy with some fields changed."""
        return Architecture({**self._fields, **fields})

    def __getitem__(self, name: str) -> FieldValue:
        return self._fields[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._fields)

    def __len__(self) -> int:
        return len(self._fields)

    def __hash__(self) -> int:
        return hash(self.key)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Architecture) and self.key == other.key

    def __reduce__(self) -> tuple[Any, ...]:
        return Architecture, (self._fields,)

    def __repr__(self) -> str:
        return f"Architecture({self._fields})"
