"""Lines that pages offer to copy, typed as they stand."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml

from raynas.cli import main
from raynas.report.page import live_data

SHORT = ("--epochs", "1", "--max-images", "60", "--batch-size", "30", "--augment", "none", "--loader-processes", "0")
"""What is typed behind a line that trains, so that it takes seconds."""


def lines(folder: Path) -> dict[str, str]:
    """The commands on the page of a run by what they do, without how long a training takes; `again` makes it anew."""
    told: Mapping[str, Any] = live_data(folder)["next"]
    return {step["what"].split(", for ")[0]: step["command"] for step in told["steps"]} | {"again": told["command"]}


def typed(line: str, *more: str) -> list[str]:
    """The arguments of a line, and further ones."""
    command, *words = shlex.split(line)
    assert command == "raynas"
    return [*words, *more]


def run(words: list[str]) -> None:
    """Run the command line, which must end well."""
    with pytest.raises(SystemExit) as ended:
        main(words)
    assert not ended.value.code, words


def identity(folder: Path) -> Any:
    """What a run must share with one that goes on with it."""
    return yaml.safe_load((folder / "run.yaml").read_text())["identity"]
