"""What Ray says by itself goes to a file, so that the terminal has the lines of raynas alone.

That is: what workers print, news of the autoscaler, paragraphs on lost processes and nodes, the log messages of Ray,
Ray Train and Ray Tune, and their warnings. Who has lost a process says so in a line of its own, and what becomes of its
work. The file is no part of a run's results: nothing reads it, and it is there only if Ray said something, and once Ray
is there: a start that fails leaves nothing.
"""

from __future__ import annotations

import logging
import os
import tempfile
import threading
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import datetime
from pathlib import Path
from typing import Any, TextIO

from raynas.errors import StoreError, printable

NOWHERE = Path(os.devnull)
"""The place of lines that nobody wants."""


class RayLog:
    """A file of Ray's lines, made with the first of them once it has begun; lines of before are kept until then.

    Args:
        place: The file, which is added to; None: one among the temporary files of this machine.
        tell: Told in a line where that one is.
        keep: Given at the end what the temporary file holds, which is then removed; an OSError or StoreError of it
            leaves the file there.
    """

    def __init__(
        self,
        place: Path | None,
        tell: Callable[[str], None] = lambda line: None,
        keep: Callable[[str], None] | None = None,
    ) -> None:
        self._place = place
        self._tell = tell
        self._keep = keep
        self._temporary: Path | None = None
        self._file: TextIO | None = None
        self._has_begun = self._is_closed = False
        self._early: list[tuple[str, str]] = []
        self._lock = threading.Lock()  # Ray's lines come from threads of its own

    def begin(self) -> None:
        """Write lines from now on, and those that came before."""
        with self._lock:
            self._has_begun, early, self._early = True, self._early, []
        for text, said_by in early:
            self.write(text, said_by)

    def write(self, text: str, said_by: str) -> None:
        """Add lines with the time and who said them; those that cannot be written are lost, as nothing waits for them.

        Args:
            text: One line or several.
            said_by: Stands before each of them.
        """
        told = None
        with self._lock, suppress(OSError):
            if self._is_closed or not text.strip():
                return
            if not self._has_begun:
                self._early.append((text, said_by))
                return
            if self._file is None:
                self._file, told = self._opened()
            now = datetime.now().astimezone().isoformat(" ", "seconds")
            for line in text.splitlines():
                self._file.write(f"{now} {printable(said_by)}: {printable(line.expandtabs())}\n")
            self._file.flush()
        if told is not None:
            self._tell(told)

    def close(self) -> None:
        """Write nothing more."""
        with self._lock, suppress(OSError):
            if self._is_closed or self._file is None:
                self._is_closed = True
                return
            self._is_closed = True
            self._file.close()
            if self._temporary is not None and self._keep is not None:
                with suppress(StoreError):  # of a store that is away, which a run has told of by now
                    self._keep(self._temporary.read_text(encoding="utf-8"))
                    self._temporary.unlink()

    def _opened(self) -> tuple[TextIO, str | None]:
        if self._place is not None:
            return self._place.open("a", encoding="utf-8"), None
        number, name = tempfile.mkstemp(prefix="raynas-ray-", suffix=".log")
        self._temporary = Path(name)
        later = "" if self._keep is None else ", and in the run folder once this session has ended"
        return os.fdopen(number, "w", encoding="utf-8"), f"what Ray says by itself is in {name} on this machine{later}"


@contextmanager
def said_to(log: RayLog) -> Iterator[None]:
    """A context in which a log has what Ray says in this process; enter it before Ray is started or joined."""
    import ray

    module, logger, handler = ray._private.worker, logging.getLogger("ray"), _Handler(log)
    lines, handlers, show = getattr(module, "print_to_stdstream", None), logger.handlers[:], warnings.showwarning

    def print_lines(data: dict[str, Any], *_: Any, **__: Any) -> None:
        said = [str(line) for line in data.get("lines", ())]
        if data.get("pid") == "autoscaler":  # whose whole log comes; Ray marks what is news of it
            said = list(module.filter_autoscaler_events(said))
        where = f" ({data['ip']})" if data.get("ip") else ""
        log.write("\n".join(said), f"{_name(data)}{where}")

    def show_warning(message: Any, category: Any, filename: str, lineno: int, *more: Any, **named: Any) -> None:
        if category.__module__.partition(".")[0] == "ray" or Path(ray.__file__).parent in Path(filename).parents:
            log.write(warnings.formatwarning(message, category, filename, lineno).strip(), "warning")
        else:
            show(message, category, filename, lineno, *more, **named)

    # Ray has no setting for where its lines go: a thread of it prints them by this function.
    module.print_to_stdstream = print_lines
    logger.handlers[:] = [handler]
    warnings.showwarning = show_warning
    try:
        yield
    finally:
        if lines is not None:
            module.print_to_stdstream = lines
        logger.handlers[:] = handlers
        if warnings.showwarning is show_warning:
            warnings.showwarning = show
        log.close()


def _name(data: dict[str, Any]) -> str:
    """Who has printed lines: a worker by its process, others by their names."""
    process = data.get("pid", "Ray")
    named = data.get("actor_name") or data.get("task_name")
    return f"{named} pid={process}" if named else f"pid={process}"


class _Handler(logging.Handler):
    """Hands log messages to the log."""

    def __init__(self, log: RayLog) -> None:
        super().__init__()
        self._log = log

    def emit(self, record: logging.LogRecord) -> None:
        try:
            # Ray gives all handlers of its logger a format with the time, which lines have anyway.
            self._log.write(logging.Formatter().format(record), f"{record.name} {record.levelname.lower()}")
        except Exception:  # as handlers do: who logs is never stopped by it
            self.handleError(record)
