"""The bar that a long command shows."""

from __future__ import annotations

from contextlib import nullcontext
from typing import Any, Self

from rich.progress import BarColumn, Progress, ProgressColumn, TextColumn, TimeElapsedColumn

from raynas.console.terminal import wide_console


class BarConsole:
    """A bar in a terminal, with lines above it, and lines alone elsewhere, on standard error.

    Args:
        command: The command that is running, which stands before the bar.
        state: What stands behind the bar at first.
        left: Columns between the time that has passed and the state.
    """

    def __init__(self, command: str, state: str = "starting", left: tuple[ProgressColumn, ...] = ()) -> None:
        self._console = wide_console(stderr=True)
        self._bar = Progress(
            TextColumn(command),
            BarColumn(),
            TextColumn("{task.fields[count]}"),
            TimeElapsedColumn(),
            *left,
            TextColumn("{task.fields[state]}"),
            console=self._console,
            transient=True,
        )
        self._shown = self._bar if self._console.is_terminal else nullcontext()
        self._task = self._bar.add_task(command, total=None, count="", state=state)

    def __enter__(self) -> Self:
        self._shown.__enter__()
        return self

    def __exit__(self, *details: Any) -> None:
        self._shown.__exit__(*details)

    def on_log(self, line: str) -> None:
        """Print the line above the bar."""
        self._console.print(line, highlight=False, markup=False)
