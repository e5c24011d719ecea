"""The layers of a configuration: what an earlier run stores, a file over it, and the caller's own values over both."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from raynas.config import Config
from raynas.errors import ConfigError
from raynas.storage.run_folder import holds_run, read_description


class _Nothing:
    """The class of NOTHING."""

    def __repr__(self) -> str:
        return "NOTHING"


NOTHING = _Nothing()
"""A value that sets a field to None; None itself means that nothing is said of the field."""


def base_values(
    made: type[Config], kind: str, *, config: str | Path | None, out: str | Path | None, resume: bool
) -> dict[str, Any]:
    """Fields of a configuration from the run that is resumed, if it is there, and from a file that overrides them.

    Args:
        made: The class of the configuration.
        kind: The kind that the run must have, such as "search".
        config: A YAML file of fields, which override those of the run.
        out: The run folder.
        resume: Whether the run in the folder is to be continued.

    Raises:
        ConfigError: Nothing says what to resume, or the file cannot be read.
        StoreError: The folder holds a run of another kind, or one that cannot be read.
    """
    if resume and out is None:
        raise ConfigError("--resume needs --out with the folder of the run to continue")
    values: dict[str, Any] = {}
    if resume and out is not None and holds_run(Path(out)):
        values = made.of_stored(read_description(Path(out), kind=kind)["config"])
    if config is not None:
        values |= made.read(Path(config))
    return values


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
