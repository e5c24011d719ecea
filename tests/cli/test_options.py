"""Options are those of the configurations' fields, and what scripts call keeps its name."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, Literal

import pytest
import typer
from pydantic import Field
from typer.main import get_command
from typer.testing import CliRunner

from raynas.bench.config import BenchConfig
from raynas.cli import app
from raynas.cli.options import Parameters, add_command, options
from raynas.config import Config, Flags
from raynas.finalists.config import FinalistsConfig
from raynas.searching.config import RunConfig
from raynas.sweeps.config import SweepConfig
from raynas.training.config import TrainConfig
from raynas.training.defaults import DISTILLATION_DEFAULTS
from raynas.variants.config import VariantsConfig

FIRST = json.loads((Path(__file__).parent / "first_options.json").read_text())
"""By command, the options and arguments of its first version, and whether each is one value, repeatable or a flag."""


FIRST_DEFAULTS = json.loads((Path(__file__).parent / "first_defaults.json").read_text())
"""By configuration, the defaults of the fields that its first version had."""


def commands(command: Any = None, name: str = "") -> Iterator[tuple[str, Any]]:
    command = command or get_command(app)
    for own, inner in getattr(command, "commands", {}).items():
        yield from commands(inner, f"{name} {own}".strip())
    if not hasattr(command, "commands"):
        yield name, command


def parameters(command: Any) -> dict[str, str]:
    found = {}
    for one in command.params:
        is_argument = one.param_type_name == "argument"
        kind = "flag" if getattr(one, "is_flag", False) else "repeatable" if one.multiple else "one"
        found[one.name if is_argument else " ".join(one.opts)] = "argument" if is_argument else kind
    return found


def test_no_command_and_no_option_is_lost() -> None:
    now = {name: parameters(command) for name, command in commands()}
    assert FIRST.keys() <= now.keys()
    for name, first in FIRST.items():
        assert first.items() <= now[name].items(), name


@pytest.mark.parametrize("command", FIRST)
def test_help_shows_every_option(command: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    shown = CliRunner().invoke(app, [*command.split(), "--help"]).stdout
    for names in FIRST[command]:
        for name in names.split():
            assert f" {name} " in shown


@pytest.mark.parametrize("config", [RunConfig, SweepConfig, BenchConfig, FinalistsConfig, VariantsConfig, TrainConfig])
def test_every_setting_says_what_it_is(config: type[Config]) -> None:
    for name, field in config.model_fields.items():
        text = field.description or ""
        assert text.endswith("."), name
        assert "Default None" not in text


@pytest.mark.parametrize(
    ("command", "config", "others"),
    [
        ("search", SweepConfig, {}),
        ("score", RunConfig, {}),
        ("bench proxies", BenchConfig, {}),
        ("train", TrainConfig, {}),
        ("distill", TrainConfig, DISTILLATION_DEFAULTS),
    ],
)
def test_defaults_are_those_of_the_fields(command: str, config: type[Config], others: dict[str, Any]) -> None:
    numbers = 0
    for one in dict(commands())[command].params:
        default = (
            others.get(one.name, config.model_fields[one.name].default) if one.name in config.model_fields else None
        )
        if isinstance(default, int | float) and not isinstance(default, bool):
            numbers += 1
            assert f"Default {default:g}." in one.help, one.name
    assert numbers >= 5


@pytest.mark.parametrize("config", [RunConfig, SweepConfig, BenchConfig, FinalistsConfig, TrainConfig])
def test_no_default_has_changed(config: type[Config]) -> None:
    first = FIRST_DEFAULTS[config.__name__]
    assert len(first) > 3
    now = {name: config.model_fields[name].get_default(call_default_factory=True) for name in first}
    assert json.loads(json.dumps(now)) == first


class Toy(Config):
    """A field of each kind."""

    count: int = Field(3, ge=1, description="How many.")
    share: float | None = Field(None, description="How much. Default: all.")
    names: Annotated[tuple[str, ...], Flags(("--name", "-n"))] = Field(("a", "b"), description="Who.")
    rates: tuple[float, ...] = Field((), description="How fast.")
    bounds: tuple[float, float] | None = Field(None, description="From and to.")
    kind: Literal["x", "y"] = Field("x", description="x or y.")
    both: str | tuple[int, ...] | None = Field(None, description="Text.")
    is_quiet: bool = Field(False, description="Say nothing.")


def toy(*arguments: str) -> tuple[dict[str, Any], str]:
    found: dict[str, Any] = {}
    made = typer.Typer(add_completion=False)

    def receive(**given: Any) -> None:
        """Receive what is given."""
        found.update(given)

    def parameters() -> Parameters:
        return options(Toy)

    add_command(made, "toy", receive, parameters, "")
    result = CliRunner().invoke(made, list(arguments), env={"COLUMNS": "200"})
    return found, result.output


def test_a_field_becomes_an_option_of_its_type_and_help() -> None:
    found, _ = toy()
    assert found == {}  # so that a file can give it
    given = [
        "--count",
        "4",
        "--share",
        "0.5",
        "-n",
        "c",
        "--name",
        "d",
        "--rates",
        "1.5",
        "--kind",
        "y",
        "--both",
        "1,2",
        "--bounds",
        "0",
        "1",
    ]
    found, _ = toy(*given, "--is-quiet")
    assert found == {
        "count": 4, "share": 0.5, "names": ["c", "d"], "rates": [1.5], "kind": "y", "both": "1,2", "is_quiet": True,
        "bounds": (0.0, 1.0),
    }  # fmt: skip
    assert Toy.make({name: value for name, value in found.items() if name != "both"}).names == ("c", "d")
    _, shown = toy("--help")
    for text in (
        "How many. Default 3.",
        "How much. Default: all.",
        "Who. Default a, b. Repeatable.",
        "x or y. Default x.",
    ):
        assert text in shown
    assert "--no-is-quiet" not in shown


def test_a_value_of_another_type_is_refused_with_the_option() -> None:
    found, shown = toy("--count", "many")
    assert not found
    assert "Invalid value for '--count'" in shown


HEAVY = {"numpy", "pyarrow", "scipy", "torch", "ray", "timm", "optuna", "sklearn"}


def imported_by(*arguments: str) -> set[str]:
    """Top-level packages in a process that has run a command."""
    script = (
        "import sys\nfrom raynas.cli import main\n"
        f"try:\n    main({list(arguments)!r})\nexcept SystemExit:\n    pass\n"
        "print('modules', *sorted({name.partition('.')[0] for name in sys.modules}))"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    return set(done.stdout.splitlines()[-1].split()[1:])


def test_help_of_all_commands_imports_no_configuration() -> None:
    assert not (HEAVY | {"pydantic"}) & imported_by("--help")
    assert "typer" in imported_by("--help")


@pytest.mark.parametrize("command", FIRST)
def test_help_of_a_command_imports_its_configuration_alone(command: str) -> None:
    assert not HEAVY & imported_by(*command.split(), "--help")
