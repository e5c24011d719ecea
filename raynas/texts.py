"""Texts of YAML and JSON as values, from anybody.

What is read is bounded: in nesting, and each number to 30 digits; YAML has neither aliases, of which few lines may
stand for billions of values, nor tags. Whatever else a text holds, it is refused as a ValueError of one line.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Hashable
from typing import Any, NoReturn

import yaml

MAX_DEPTH = 64
MAX_DIGITS = 30
"""Digits of a whole number, of which a training's multiply-adds take twenty."""

# libyaml's, where PyYAML was built with it: in Python alone, a list of 100,000 architectures takes half a minute.
_Loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


_LARGE = re.compile(rf"[eE][+]?[0-9]{{3}}|[0-9]{{{MAX_DIGITS + 1}}}")


# -- JSON --------------------------------------------------------------------------------------------------------------


def parse_json(text: str) -> Any:
    """The value that a JSON text stands for.

    Raises:
        ValueError: It is no JSON, nested too deeply, or has a number that is not finite or too long.
    """
    # Each number is looked at only where one may be too large, as that takes several times as long.
    numbers: dict[str, Any] = {"parse_float": _float, "parse_int": _int} if _LARGE.search(text) else {}
    try:
        return json.loads(text, parse_constant=_refused_number, **numbers)
    except RecursionError:
        raise ValueError("it is nested too deeply") from None
    except json.JSONDecodeError as error:
        raise ValueError(f"it is no JSON: {error}") from None


def _refused_number(text: str) -> NoReturn:
    shown = text if len(text) <= 40 else f"{text[:40]}..."
    raise ValueError(f"{shown} is no finite number of up to {MAX_DIGITS} digits")


def _int(text: str) -> int:
    # Digits are counted first, since the time to read them grows with their square.
    if len(text) > MAX_DIGITS + 1:
        _refused_number(text)
    return int(text)


def _float(text: str) -> float:
    if not math.isfinite(value := float(text)):
        _refused_number(text)
    return value


# -- YAML --------------------------------------------------------------------------------------------------------------


def parse_yaml(text: str) -> Any:
    """The value that a YAML text stands for: mappings, lists, texts, numbers, dates, true, false and null.

    Raises:
        ValueError: It is no YAML or several documents, nested too deeply, has an alias, a tag, a key twice or one that
            is no scalar, or a number that is not finite or too long.
    """
    loader = _Loader(text)
    try:
        return _Building(loader).value()
    except yaml.YAMLError as error:
        told = str(error).replace("<unicode string>", "the text")
        raise ValueError(f"it is no YAML: {' '.join(told.split())}") from None
    finally:
        loader.dispose()


class _Building:
    """Makes a value of a loader's events, without recursion."""

    def __init__(self, loader: Any) -> None:
        self._loader = loader
        self._open: list[list[Any]] = []
        """Items of the collections that are not closed, the innermost last; of mappings, keys and values in turn."""
        self._keys: list[set[Any] | None] = []
        """Keys that each of them has by now; None of a list."""
        self._scalars: dict[str, Any] = {}
        """Values of plain scalars, since most are there many times."""

    def value(self) -> Any:
        """The value of the one document; None if there is none."""
        documents: list[Any] = []
        self._open.append(documents)
        self._keys.append(None)
        while self._loader.check_event():
            event = self._loader.get_event()
            match event:
                case yaml.ScalarEvent():
                    self._add(self._scalar(event), event)
                case yaml.SequenceStartEvent() | yaml.MappingStartEvent():
                    _refuse_tag(event, event.tag not in (None, "!"))
                    if len(self._open) > MAX_DEPTH:
                        raise ValueError(f"it is nested over {MAX_DEPTH} deep at {_place(event)}")
                    self._open.append([])
                    self._keys.append(set() if isinstance(event, yaml.MappingStartEvent) else None)
                case yaml.SequenceEndEvent() | yaml.MappingEndEvent():
                    items = self._open.pop()
                    is_list = self._keys.pop() is None
                    self._add(items if is_list else dict(zip(items[::2], items[1::2], strict=True)), event)
                case yaml.AliasEvent():
                    raise ValueError(f"it has an alias, *{event.anchor}, at {_place(event)}")
        if len(documents) > 1:
            raise ValueError(f"it has {len(documents)} documents")
        return documents[0] if documents else None

    def _add(self, value: Any, event: Any) -> None:
        items, keys = self._open[-1], self._keys[-1]
        if keys is not None and len(items) % 2 == 0:
            if not isinstance(value, Hashable):
                raise ValueError(f"it has a key that is no scalar before {_place(event)}")
            if value in keys:
                raise ValueError(f"it has the key {value!r} twice, at {_place(event)}")
            keys.add(value)
        items.append(value)

    def _scalar(self, event: Any) -> Any:
        _refuse_tag(event, not any(event.implicit))
        if not event.implicit[0]:  # in quotes
            return event.value
        if event.value not in self._scalars:
            self._scalars[event.value] = self._constructed(event)
        return self._scalars[event.value]

    def _constructed(self, event: Any) -> Any:
        tag = self._loader.resolve(yaml.ScalarNode, event.value, event.implicit)
        if tag.endswith((":int", ":float")) and len(event.value) > 40:
            _refused_number(event.value)
        try:
            value = self._loader.construct_object(yaml.ScalarNode(tag, event.value, event.start_mark, event.end_mark))
        except ValueError as error:  # such as a date that there is not
            raise ValueError(f"{event.value!r} at {_place(event)}: {error}") from None
        if isinstance(value, float) and not math.isfinite(value):
            _refused_number(event.value)
        if isinstance(value, int) and abs(value) >= 10**MAX_DIGITS:
            _refused_number(event.value)
        return value


def _refuse_tag(event: Any, is_tagged: bool) -> None:
    if is_tagged:
        raise ValueError(f"it has a tag, {event.tag}, at {_place(event)}")


def _place(event: Any) -> str:
    return f"line {event.start_mark.line + 1}"
