"""Parameters of commands, made of the fields of configurations: names, types, help texts, defaults stand there alone.

A command is made when it is asked for, and only then are its configurations imported, so that `raynas --help` answers
at once. What the user does not give, a command does not receive, whatever the default of its field: so a file, or the
run that is resumed, can give it.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import wraps
from pathlib import Path
from types import NoneType, UnionType
from typing import TYPE_CHECKING, Annotated, Any, Literal, TypeAlias, Union, get_args, get_origin

import typer
import typer.main
from typer.core import TyperCommand

from raynas.cli.completions import completion_of
from raynas.errors import ConfigError

if TYPE_CHECKING:
    from raynas.config import Config

Parameters: TypeAlias = list[inspect.Parameter]


def _parameter(name: str, kind: Any, info: Any, *, is_required: bool = False) -> inspect.Parameter:
    annotation: Any = Annotated[kind if is_required else kind | None, info]
    default = inspect.Parameter.empty if is_required else None
    return inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=annotation)


def option(
    name: str, kind: Any, help: str, *flags: str, is_required: bool = False, **settings: Any
) -> inspect.Parameter:
    """A parameter that is an option.

    Args:
        name: The name by which the command receives it.
        kind: The type of its value; list[X] for an option that may be repeated.
        help: What the option is, in sentences.
        flags: Names under which the option is typed; none: --name.
        is_required: Whether it must be given.
        settings: Further keywords of `typer.Option`.
    """
    settings.setdefault("autocompletion", completion_of(name))
    info = typer.Option(*flags, help=help, show_default=False, **settings)
    return _parameter(name, kind, info, is_required=is_required)


def argument(name: str, kind: Any, help: str, *, is_required: bool = False) -> inspect.Parameter:
    """A parameter that is known by its position."""
    info = typer.Argument(help=help, show_default=False, autocompletion=completion_of(name))
    return _parameter(name, kind, info, is_required=is_required)


def options(
    config: type[Config],
    *,
    only: Iterable[str] | None = None,
    leave_out: Iterable[str] = (),
    defaults: Mapping[str, Any] | None = None,
    help: Mapping[str, str] | None = None,
) -> Parameters:
    """An option for each field of a configuration that is not `Found`, received by the field's name.

    Args:
        config: The class of the configuration.
        only: Fields to take, in this order; default: all of them, in theirs.
        leave_out: Fields that are no options of this command.
        defaults: Defaults of this command by the names of the fields, where they are not those of the fields.
        help: Descriptions in this command by the names of the fields, where they are not those of the fields.
    """
    from pydantic import BeforeValidator

    from raynas.config import Flags, Found

    defaults, help = defaults or {}, help or {}
    found = []
    for name in config.model_fields if only is None else only:
        field = config.model_fields[name]
        if name in set(leave_out) or any(isinstance(one, Found) for one in field.metadata):
            continue
        flags = next((one.names for one in field.metadata if isinstance(one, Flags)), ())
        reads_text = any(isinstance(one, BeforeValidator) for one in field.metadata)
        kind = str if reads_text else _kind(field.annotation)
        if kind is bool and not flags:
            flags = (f"--{name.replace('_', '-')}",)  # without one that says no
        text = help.get(name, field.description or "")
        if default := _shown(defaults.get(name, field.get_default(call_default_factory=True))):
            text += f" Default {default}."
        if get_origin(kind) is list:
            text += " Repeatable."
        completion = completion_of(name, field.annotation)
        found.append(option(name, kind, text.strip(), *flags, autocompletion=completion))
    return found


def description_of(config: type[Config], name: str) -> str:
    """What a field is, for a parameter that is not made of it alone."""
    return config.model_fields[name].description or ""


OUT = option(
    "out",
    Path,
    "Run folder, or its URI in an object store: s3://, gs:// or az://. Default: runs/SPACE-DATE-TIME.",
    file_okay=False,
)
RESUME = option("resume", bool, "Continue the run in --out; start it if there is none.", "--resume")
REUSE = option(
    "reuse", list[Path], "Folder of another run, or its URI, whose scores are taken where they apply. Repeatable."
)
TRUST_CODE = option(
    "trust_code",
    bool,
    "Run code that a folder names, such as a space in a file; what the command line names is run anyway.",
    "--trust-code",
)
OVERWRITE = option("overwrite", bool, "Replace files that are there already.", "--overwrite")
CONFIG = option("config", Path, "YAML file of settings, as in run.yaml under config; the command line overrides it.")
RECIPE = option("recipe", str, "Published settings by name, see `raynas list recipes`; --config overrides them.")
SET = option(
    "settings",
    list[str],
    "PROXY.KEY=VALUE or searcher.KEY=VALUE, such as length_distortion.repeats=1. Repeatable.",
    "--set",
)


def grouped_settings(texts: Sequence[str]) -> dict[str, dict[str, Any]] | None:
    """Settings by proxy, or under searcher, from texts of the form NAME.KEY=VALUE; None if there are none.

    Raises:
        ConfigError: A text has another form.
    """
    found: dict[str, dict[str, Any]] = {}
    for text in texts:
        target, dot, rest = text.partition(".")
        name, equals, value = rest.partition("=")
        if not (dot and equals and target and name):
            raise ConfigError(f"--set takes PROXY.KEY=VALUE or searcher.KEY=VALUE, not {text!r}")
        found.setdefault(target, {})[name] = set_value(text, value)
    return found or None


def set_value(text: str, value: str, flag: str = "--set") -> Any:
    """The value of --set NAME=VALUE, read as YAML.

    Args:
        text: All of the option, for the message.
        value: What stands behind its equals sign.
        flag: The option, for the message.

    Raises:
        ConfigError: It is no YAML.
    """
    from raynas.texts import parse_yaml

    try:
        return parse_yaml(value)
    except ValueError as error:
        raise ConfigError(f"{flag} {text!r}: {error}") from None


def add_command(
    app: typer.Typer, name: str, function: Callable[..., None], parameters: Callable[[], Parameters], epilog: str
) -> None:
    """Give an application a command.

    Args:
        app: The application.
        name: How the command is typed.
        function: What it does, given by name those of its parameters that the user gives; its docstring is the help.
        parameters: Makes them, when the command or its help is asked for.
        epilog: The end of the help: examples.
    """

    class Command(TyperCommand):
        """Has its parameters, and what makes values of them, from the first time that they are looked at."""

        _is_made = False
        _params: list[Any]

        @property
        def params(self) -> list[Any]:
            if not self._is_made:
                made = _made(function, parameters())
                self._is_made, self._params, self.callback = True, made.params, made.callback
            return self._params

        @params.setter
        def params(self, value: list[Any]) -> None:
            self._params = value

    def nothing_yet() -> None:
        """A stand-in without parameters, since Typer looks at those of a function at once."""

    app.command(name, cls=Command, help=inspect.getdoc(function), epilog=epilog)(nothing_yet)


def _made(function: Callable[..., None], parameters: Parameters) -> Any:
    """The command that Typer makes of a function with these parameters."""

    @wraps(function)
    def typed(**given: Any) -> None:
        function(**{name: value for name, value in given.items() if value is not None})

    del typed.__wrapped__  # type: ignore[attr-defined]
    typed.__annotations__ = {one.name: one.annotation for one in parameters}
    typed.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    alone = typer.Typer(add_completion=False, rich_markup_mode="rich")
    alone.command()(typed)
    return typer.main.get_command(alone)


def _kind(annotation: Any) -> Any:
    """The type as which the command line takes a field; it is validated by its configuration."""
    origin, arguments = get_origin(annotation), [one for one in get_args(annotation) if one is not NoneType]
    if origin in (Union, UnionType):
        return str if str in arguments else _kind(arguments[0])
    if origin is Literal:
        return str
    if origin is tuple and Ellipsis in arguments:
        return list[_kind(arguments[0])]  # type: ignore[misc]
    return annotation


def _shown(default: Any) -> str:
    """A default in a help text; nothing where there is none, or where the description says what stands for it."""
    if default is None or isinstance(default, bool):
        return ""
    if isinstance(default, float):
        return f"{default:g}"
    if isinstance(default, tuple):
        return ", ".join(map(str, default))
    return "" if default == {} or "Undefined" in type(default).__name__ else str(default)
