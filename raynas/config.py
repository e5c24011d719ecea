"""What a run is told: validated when made, written resolved beside the results.

A field says all that there is to say of a setting: its type, its bounds, its default, what it is (the description, in
sentences), and by which flags the command line sets it where they are not those of its name. Commands derive their
options from that. A configuration is imported for the help of a command: behind it is nothing heavier than pydantic.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Any, Self

import yaml
from pydantic import BaseModel, ConfigDict, ValidationError

from raynas.errors import ConfigError
from raynas.registry import name_code

Scalar = bool | int | float | str
Setting = Scalar | tuple[Scalar, ...]


@dataclass(frozen=True)
class Flags:
    """Metadata of a field: the option of the command line that sets it, where it is not called like the field.

    Args:
        names: The option as it is typed, in all its forms, such as ("--objective", "-o").
    """

    names: tuple[str, ...]


class Config(BaseModel):
    """Settings that are validated when made; the command line, YAML files and Python calls all end in one.

    Unknown keys and values out of range are refused.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

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
    def read(cls, path: Path) -> dict[str, Any]:
        """The values of a YAML file, not yet validated, so that others can override them.

        The file is one that the user names, and so is code that it names in the form FILE.py:NAME.

        Raises:
            ConfigError: The file is missing or not a YAML mapping.
        """
        try:
            values = yaml.safe_load(Path(path).read_text())
        except OSError as error:
            raise ConfigError(f"cannot read configuration {path}: {error.strerror}") from None
        except yaml.YAMLError as error:
            raise ConfigError(f"configuration {path} is not YAML: {' '.join(str(error).split())}") from None
        if not isinstance(values, dict):
            raise ConfigError(f"configuration {path} must be a mapping of names to values")
        name_code(values)
        return values

    @classmethod
    def of(cls, config: Config, **found: Any) -> Self:
        """A configuration of this class from another one that has its fields, or most of them.

        Args:
            config: What was asked for; fields that this class has not are left out.
            found: Values of fields that the other has not, that are None there, or have another form once resolved.
        """
        shared = cls.model_fields.keys() & type(config).model_fields.keys()
        return cls(**{**{name: getattr(config, name) for name in shared}, **found})

    def resolved(self, **values: Any) -> Self:
        """A copy with defaults filled in."""
        return self.model_copy(update=values)


def _explained(detail: Mapping[str, Any]) -> str:
    name = ".".join(str(part) for part in detail["loc"])
    if detail["type"] == "missing":
        return f"{name} is required"
    return f"{name}: {detail['msg'].lower()}, got {detail['input']!r}"
