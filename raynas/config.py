"""What a run is told: validated when made, written resolved beside the results."""

from __future__ import annotations

from collections.abc import Mapping
from difflib import get_close_matches
from pathlib import Path
from typing import Any, Self

import yaml
from pydantic import BaseModel, ConfigDict, ValidationError

from raynas.errors import ConfigError

Scalar = bool | int | float | str
Setting = Scalar | tuple[Scalar, ...]


class Config(BaseModel):
    """Settings that are validated when made; the command line, YAML files and Python calls all end in one.

    Unknown keys and values out of range are refused.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    @classmethod
    def make(cls, values: Mapping[str, Any]) -> Self:
        """Validate plain values.

        Raises:
            ConfigError: With the key, the value received and what is allowed.
        """
        try:
            return cls(**values)
        except ValidationError as error:
            lines = [_explained(detail) for detail in error.errors() if detail["type"] != "extra_forbidden"]
            unknown = [str(detail["loc"][0]) for detail in error.errors() if detail["type"] == "extra_forbidden"]
            if unknown:
                near = [name for key in unknown for name in get_close_matches(key, cls.model_fields, n=1)]
                hint = f"Did you mean {', '.join(near)}?" if near else f"Known keys: {', '.join(cls.model_fields)}"
                lines.append(f"unknown key {', '.join(map(repr, unknown))}. {hint}")
            raise ConfigError("; ".join(lines)) from None

    @classmethod
    def read(cls, path: Path) -> dict[str, Any]:
        """The values of a YAML file, not yet validated, so that others can override them.

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
        return values

    def resolved(self, **values: Any) -> Self:
        """A copy with defaults filled in."""
        return self.model_copy(update=values)


def _explained(detail: Mapping[str, Any]) -> str:
    name = ".".join(str(part) for part in detail["loc"])
    if detail["type"] == "missing":
        return f"{name} is required"
    return f"{name}: {detail['msg'].lower()}, got {detail['input']!r}"
