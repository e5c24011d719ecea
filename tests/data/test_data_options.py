"""How images are read, as it is said; and of all settings, what can be written and read again."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
import yaml

import raynas
from raynas.config import Config
from raynas.data.options import DataOptions
from raynas.errors import ConfigError
from raynas.texts import parse_yaml
from raynas.trials.config import TrialsConfig

ROOT = Path(raynas.__file__).parent


@pytest.mark.parametrize("said", ["0,4095", " 0, 4095 ", "0,4.095e3", (0, 4095), [0, 4095.0]])
def test_a_range_is_said_by_a_text_or_two_numbers(said: Any) -> None:
    assert DataOptions.make({"pixel_range": said}).pixel_range == (0, 4095)


@pytest.mark.parametrize("said", ["0,inf", "-inf,0", "nan,1", "0,1e999", "-1e308,1e308", (0, math.inf)])
def test_a_range_is_finite(said: Any) -> None:
    with pytest.raises(ConfigError, match="pixel_range"):
        DataOptions.make({"pixel_range": said})


def configurations() -> Iterator[type[Config]]:
    """All that there are."""
    for path in [*ROOT.glob("*/config.py"), *ROOT.glob("*/options.py")]:
        import_module(".".join(("raynas", path.parent.name, path.stem)))
    waiting = [Config]
    while waiting:
        subclasses = [one for one in waiting.pop().__subclasses__() if one.__module__.startswith("raynas.")]
        waiting += subclasses
        yield from subclasses


NOT_FINITE = (math.inf, -math.inf, math.nan)
GIVEN = [given for one in NOT_FINITE for given in (one, str(one), f"0,{one}", (0, one), [str(one)], {"a": one},
                                                   {"a": {"b": one}}, {"a": {"b": (0, one)}})]  # fmt: skip


@pytest.mark.parametrize("kind", sorted(set(configurations()), key=str))
def test_what_a_configuration_takes_can_be_read_again(kind: type[Config]) -> None:
    """Of all fields, with a number that is not finite in every form that one can have."""
    least: dict[str, Any] = {
        name: {"lr": (1, 2)} if name == "vary" else "x"
        for name, field in kind.model_fields.items()
        if field.is_required()
    }
    for name in kind.model_fields:
        for given in GIVEN:
            if issubclass(kind, TrialsConfig) and name in ("training", "vary"):  # of TrainConfig, which takes them
                continue
            try:
                made = kind.make({**least, name: given})
            except ConfigError:
                continue
            parse_yaml(yaml.safe_dump(as_stored(made.model_dump())))


def as_stored(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: as_stored(one) for key, one in value.items()}
    return list(map(as_stored, value)) if isinstance(value, list | tuple) else value
