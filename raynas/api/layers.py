"""The layers of a configuration: what an earlier run stores, a file over it, and the caller's own values over both."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from raynas.config import Config
from raynas.errors import ConfigError, StoreError, error_words
from raynas.registry import is_trusted, name_code
from raynas.storage.paths import as_path
from raynas.storage.run_folder import holds_run, read_description
from raynas.storage.text_files import read_yaml


class _Nothing:
    """The class of NOTHING."""

    def __repr__(self) -> str:
        return "NOTHING"


NOTHING = _Nothing()
"""A value that sets a field to None; None itself means that nothing is said of the field."""


def read_settings(path: Path) -> dict[str, Any]:
    """The values of a YAML file of settings, not yet validated, so that others can override them.

    The file is one that the user names, and so is code that it names in the form FILE.py:NAME.

    Raises:
        ConfigError: The file is missing or not a YAML mapping.
    """
    try:
        values = read_yaml(path)
    except (OSError, ValueError) as error:
        raise ConfigError(f"cannot read configuration {path}: {error_words(error)}") from None
    if not isinstance(values, dict) or not all(isinstance(name, str) for name in values):
        raise ConfigError(f"configuration {path} must be a mapping of names to values")
    name_code(values)
    return values


def said_in_files(recipe: Mapping[str, Any] | None, config: str | Path | None) -> dict[str, Any]:
    """Settings of a recipe, and those of a file over them.

    Args:
        recipe: Settings of the recipe; None: there is none.
        config: The file; None: there is none.

    Raises:
        ConfigError: The file cannot be read.
    """
    return {**(recipe or {}), **({} if config is None else read_settings(as_path(config)))}


_HERE = ("auto", "local", "localhost", "127.0.0.1")
"""Addresses, before their port, of clusters that the environment of this machine names, or that are on it."""


def base_values(
    made: type[Config],
    kind: str,
    *,
    config: str | Path | None,
    out: str | Path | None,
    resume: bool,
    given: Mapping[str, Any],
    recipe: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """Fields of a configuration from the run that is resumed, if it is there, and from a file that overrides them.

    Args:
        made: The class of the configuration.
        kind: The kind that the run must have, such as "search".
        config: A YAML file of fields, which override those of the run.
        out: The run folder.
        resume: Whether the run in the folder is to be continued.
        given: Fields that the caller will lay over these.
        recipe: Settings of a recipe, which override those of the run as a file would, and which the file overrides.

    Raises:
        ConfigError: Nothing says what to resume, or the file cannot be read; or the run is to go on at an address that
            its folder alone names.
        StoreError: The folder holds a run of another kind, or one that cannot be read.
    """
    if resume and out is None:
        raise ConfigError("--resume needs --out with the folder of the run to continue")
    values: dict[str, Any] = {}
    if resume and out is not None and holds_run(as_path(out)):
        values = dict(read_description(as_path(out), kind=kind)["config"])
        try:
            made.check_values(values)
        except ConfigError as error:
            raise StoreError(f"{as_path(out) / 'run.yaml'} is damaged: {error}") from None
        values = made.of_stored(values)
    if over := said_in_files(recipe, config):
        values |= over
        made.check_names(over)
        made.check_values(over)
        given = {**over, **{name: value for name, value in given.items() if value is not None}}
    check_address(values.get("address"), given)
    return values


def check_address(stored: Any, given: Mapping[str, Any]) -> None:
    """Refuse a cluster that a folder names and the user does not: it would be sent the work, and answer in pickles.

    Args:
        stored: The address in the folder; None if there is none.
        given: Fields that the user gives.

    Raises:
        ConfigError: The address is that of another machine, and neither given nor trusted.
    """
    if stored is None or given.get("address") is not None or is_trusted():
        return
    if str(stored).rpartition(":")[0] not in _HERE and str(stored) not in _HERE:
        raise ConfigError(
            f"the folder says that its run is to go on at the address {stored}: name it yourself with --address, or "
            "allow it with --trust-code"
        )


def laid_over(base: Mapping[str, Any], given: Mapping[str, Any]) -> dict[str, Any]:
    """Values over others; of `settings`, which are grouped by name, each value by itself.

    Args:
        base: Fields of a configuration.
        given: Fields that are laid over these; None where nothing was said, and NOTHING for what is to be None.
    """
    said = {name: value for name, value in given.items() if value is not None}
    values = {**base, **{name: None if value is NOTHING else value for name, value in said.items()}}
    below, above = base.get("settings"), given.get("settings")
    if isinstance(below, Mapping) and isinstance(above, Mapping):
        merged = dict(below)
        for name, own in above.items():
            merged[name] = {**merged[name], **own} if isinstance(merged.get(name), Mapping) else own
        values["settings"] = merged
    return values
