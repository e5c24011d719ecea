"""Consoles, lines and tables that all commands share."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from raynas.errors import printable

_FILE_WIDTH = 400


class PlainConsole(Console):
    """A console that texts cannot steer: what is printed may come from a folder of anybody's, or an error of theirs."""

    def print(self, *objects: Any, **settings: Any) -> None:
        """Print as usual, with control characters of texts escaped."""
        super().print(*(_harmless(one) if isinstance(one, str) else one for one in objects), **settings)


def _harmless(text: str) -> str:
    return "\n".join(map(printable, text.split("\n")))


def wide_console(*, stderr: bool = False) -> Console:
    """A console that breaks no line where the output goes to a file or another program."""
    console = PlainConsole(stderr=stderr)
    return console if console.is_terminal else PlainConsole(stderr=stderr, width=_FILE_WIDTH)


def say(line: str, *, stderr: bool = True) -> None:
    """A line as it is, on standard error unless another is asked for."""
    wide_console(stderr=stderr).print(line, highlight=False, markup=False, soft_wrap=True)


def print_rows(rows: Sequence[Mapping[str, Any]], *, stderr: bool = False) -> None:
    """A table of dictionaries: a column for each key that one of them has, "-" where another one has it not."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    names = list(dict.fromkeys(name for row in rows for name in row))
    for name in names:
        # What one copies or searches for stays in one piece.
        table.add_column(escape(printable(name)), overflow="fold", no_wrap=name in ("name", "architecture"))
    for row in rows:
        table.add_row(*(escape(printable(shown_in_table(value))) for value in map(row.get, names)))
    wide_console(stderr=stderr).print(table)


def shown_in_table(value: Any) -> str:
    """A value as a cell of a table shows it."""
    if value is None:
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return f"{value:,}"
    if isinstance(value, float):
        return f"{value:.5g}"
    if isinstance(value, Mapping):
        return " ".join(f"{name}={item}" for name, item in value.items())
    if isinstance(value, list | tuple):
        return ", ".join(map(str, value))
    return str(value)
