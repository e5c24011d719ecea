"""What a run is told: validated when made, written resolved beside the results.

A field says all that there is to say of a setting: its type, its bounds, its default, what it is (the description, in
sentences), and by which flags the command line sets it where they are not those of its name. Commands derive their
options from that. A configuration is imported for the help of a command: behind it is nothing heavier than pydantic.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from operator import index
from types import UnionType
from typing import Any, Self, SupportsIndex, TypeVar, get_args, get_origin

from pydantic import BaseModel, BeforeValidator, ConfigDict, ValidationError, model_validator

from raynas.errors import ConfigError

MOST = 1_000_000
"""Upper bound of counts that are this large by a slip alone; beyond, a run would not end, or not fit into memory."""
MOST_SIDE = 8_192
"""Upper bound of an image side in pixels."""
MOST_PROCESSES = 100_000
"""Upper bound of a number of processes."""
MOST_THREADS = 4_096
"""Upper bound of a number of threads, or of processes that help one process."""
MOST_SECONDS = 3_600
"""Upper bound of how long one thing is measured."""

T = TypeVar("T")

Scalar = bool | int | float | str
Setting = Scalar | tuple[Scalar, ...]


@dataclass(frozen=True)
class Flags:
    """Metadata of a field: the option of the command line that sets it, where it is not called like the field.

    Args:
        names: The option as it is typed, in all its forms, such as ("--objective", "-o").
    """

    names: tuple[str, ...]


class Found:
    """Metadata of a field that no option sets: it is found when a run begins, and kept for when it is gone on with."""


class Config(BaseModel):
    """Settings that are validated when made; the command line, YAML files and Python calls all end in one.

    Unknown keys and values out of range are refused.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    @classmethod
    def make(cls, values: Mapping[str, Any]) -> Self:
        """Validate plain values.

        Raises:
            ConfigError: A value is refused; the message has the key, the value received and what is allowed.
        """
        try:
            return cls(**values)
        except ValidationError as error:
            lines = [_explained(detail) for detail in error.errors() if detail["type"] != "extra_forbidden"]
            unknown = [str(detail["loc"][0]) for detail in error.errors() if detail["type"] == "extra_forbidden"]
            if unknown:
                lines.append(cls._named_unknown(unknown))
            raise ConfigError("; ".join(lines)) from None
        except RecursionError:
            raise ConfigError("a value is nested too deeply") from None

    @classmethod
    def check_values(cls, values: Mapping[str, Any]) -> None:
        """Refuse values of fields, of which some may be missing, as `make` would.

        Raises:
            ConfigError: A value is refused.
        """
        try:
            cls(**values)
        except ValidationError as error:
            passed_over = ("extra_forbidden", "missing")
            if lines := [_explained(detail) for detail in error.errors() if detail["type"] not in passed_over]:
                raise ConfigError("; ".join(lines)) from None
        except RecursionError:
            raise ConfigError("a value is nested too deeply") from None

    @model_validator(mode="before")
    @classmethod
    def _several(cls, values: Any) -> Any:
        """Take one text for a field that takes several as the only one."""
        if not isinstance(values, Mapping):
            return values
        fields = cls.model_fields
        return {
            name: (value,)
            if isinstance(value, str) and name in fields and _is_texts(fields[name].annotation)
            else value
            for name, value in values.items()
        }

    @model_validator(mode="before")
    @classmethod
    def _numbers(cls, values: Any) -> Any:
        """Refuse what Python would take for a number, or for one that can be computed with."""
        for name, value in values.items() if isinstance(values, Mapping) else ():
            field = cls.model_fields.get(name)
            if isinstance(value, bool) and field is not None and not _takes(field.annotation, bool):
                raise ValueError(f"{name} is no truth value")
            if _is_beyond(value):
                raise ValueError(f"{name} is beyond 64 bits")
        return values

    @classmethod
    def check_names(cls, names: Iterable[str]) -> None:
        """Refuse names that are no fields.

        Raises:
            ConfigError: There are such names; the message has them, and what may have been meant.
        """
        if unknown := [name for name in names if name not in cls.model_fields]:
            raise ConfigError(cls._named_unknown(unknown))

    @classmethod
    def _named_unknown(cls, unknown: Sequence[str]) -> str:
        near = [name for key in unknown for name in get_close_matches(key, cls.model_fields, n=1)]
        hint = f"Did you mean {', '.join(near)}?" if near else f"Known keys: {', '.join(cls.model_fields)}"
        return f"unknown key {', '.join(map(repr, unknown))}. {hint}"

    @classmethod
    def of(cls, config: Config, **found: Any) -> Self:
        """A configuration of this class from another one that has its fields, or most of them.

        Args:
            config: What was asked for; fields that this class has not are left out.
            found: Values of fields that the other has not, that are None there, or have another form once resolved.
        """
        shared = cls.model_fields.keys() & type(config).model_fields.keys()
        return cls(**{**{name: getattr(config, name) for name in shared}, **found})

    @classmethod
    def of_stored(cls, values: Mapping[str, Any]) -> dict[str, Any]:
        """Fields that a run folder has stored, with those that its version of raynas did not know.

        A class says here what was done before a field came, where that is not the field's default.
        """
        return dict(values)

    def resolved(self, **values: Any) -> Self:
        """A copy with defaults filled in."""
        return self.model_copy(update=values)


def option_words(
    made: type[BaseModel], values: Mapping[str, Any], names: Iterable[str], *, by_set: Collection[str] = ()
) -> list[str]:
    """What is typed for settings that are not as they are by default.

    Args:
        made: The class of the configuration.
        values: Values of its fields, as run.yaml has them.
        names: Fields that are told, in their order; those that no option sets are passed over.
        by_set: Fields that have no option of their own, which --set sets.
    """
    words: list[str] = []
    for name in names:
        field, value = made.model_fields[name], _as_stored(values.get(name))
        is_default = value is None or value == _as_stored(field.get_default(call_default_factory=True))
        if is_default or any(isinstance(one, Found) for one in field.metadata):
            continue
        flag = next((one.names[0] for one in field.metadata if isinstance(one, Flags)), f"--{name.replace('_', '-')}")
        if name in by_set:
            words += ["--set", f"{name}={json.dumps(value)}"]
        elif value is True:
            words.append(flag)
        elif isinstance(value, list) and any(isinstance(one, BeforeValidator) for one in field.metadata):
            words += [flag, ",".join(f"{one:g}" for one in value)]  # one text is taken for all of them
        else:
            words += [word for one in (value if isinstance(value, list) else [value]) for word in (flag, str(one))]
    return words


def _as_stored(value: Any) -> Any:
    """A value as run.yaml has it."""
    return list(value) if isinstance(value, tuple) else value


def check_count(name: str, value: int, least: int, most: int = MOST) -> None:
    """Refuse a setting that is no integer within bounds, where no field of a configuration says them.

    Args:
        name: What the setting is called in the message.
        value: The value given for it.
        least: The smallest integer allowed.
        most: The largest.

    Raises:
        ConfigError: The value is of another kind; the message names the setting.
    """
    is_count = isinstance(value, SupportsIndex) and not isinstance(value, bool)
    if not is_count or index(value) < least:
        raise ConfigError(f"{name} is an integer of at least {least}, not {value!r}")
    if index(value) > most:
        raise ConfigError(f"{name} is an integer of at most {most:,}, not {value!r}")


_LARGEST = 2**63 - 1
_SHOWN = 200  # characters of a value, in messages


def _is_beyond(value: Any) -> bool:
    """Whether a value is or holds a whole number that no machine computes with."""
    if isinstance(value, Mapping | list | tuple):
        return any(map(_is_beyond, value.values() if isinstance(value, Mapping) else value))
    return isinstance(value, int) and abs(value) > _LARGEST


def _takes(annotation: Any, kind: type) -> bool:
    """Whether a value of a type is one of those that a field takes."""
    return annotation in (kind, Any) or any(_takes(one, kind) for one in get_args(annotation))


def _is_texts(annotation: Any) -> bool:
    """Whether a field takes several texts, and not also one."""
    choices = get_args(annotation) if isinstance(annotation, UnionType) else (annotation,)
    return str not in choices and any(get_origin(one) is tuple and get_args(one)[0] is str for one in choices)


def several(given: Sequence[T]) -> tuple[T, ...]:
    """What an argument of several values has, also where its only one is given by itself, such as "macs<=2e9"."""
    alone: Any = given
    return tuple(given) if isinstance(alone, Sequence) and not isinstance(alone, str) else (alone,)


def _explained(detail: Mapping[str, Any]) -> str:
    name = ".".join(str(part) for part in detail["loc"])
    if detail["type"] == "missing":
        return f"{name} is required"
    if detail["type"] == "value_error" and not name:
        return str(detail["ctx"]["error"])
    given = "null" if detail["input"] is None else repr(detail["input"])  # None is nothing that a file can have
    shown = given if len(given) <= _SHOWN else f"{given[:_SHOWN]}..."
    return f"{name}: {detail['msg'].removeprefix('Value error, ').lower()}, got {shown}"
