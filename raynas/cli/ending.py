"""How commands end: with a report and the folder, or with the line that resumes what was interrupted."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from raynas.interruption import Interrupted, resuming_line


def say_report(folder: Path) -> None:
    """Write report.html, and say where."""
    from raynas import api
    from raynas.console.terminal import say

    say(f"report {api.report(folder)}")


def say_folder(folder: Path) -> None:
    """Say where everything is."""
    from raynas.console.terminal import say

    say(f"run folder {folder}")


def repeated(flag: str, values: Sequence[object]) -> list[str]:
    """An option that may be repeated, as it is typed."""
    return [part for value in values for part in (flag, str(value))]


def options_again(folder: Path) -> list[str]:
    """Options that a resumed run in a folder has to be given again."""
    from raynas.storage.run_folder import read_description, told_again

    return told_again(read_description(folder)["config"])


@contextmanager
def resumable(command: str, *more: str, has_report: bool = True) -> Iterator[None]:
    """Say how to go on with a run that is interrupted; what is shown of it at the end belongs in here, too.

    Args:
        command: The command as it is typed, such as "bench proxies".
        more: Further arguments that the command needs again.
        has_report: Whether a report of what was done is written, too.

    Raises:
        Interrupted: The error that came, once the line is said.
    """
    try:
        yield
    except Interrupted as error:
        from raynas.console.terminal import say
        from raynas.storage.run_folder import holds_run

        if holds_run(error.folder):
            if has_report:
                say_report(error.folder)
            say(f"continue with: {resuming_line(command, error.folder, *more, *options_again(error.folder))}")
        raise
