"""One session of a run in its folder: its signals, the folder's lock, run.yaml, summary.json, and how it ends.

Searches, trainings, finalists, variants and sweeps are carried out in one each; a run that is resumed has several.
"""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from time import perf_counter
from types import TracebackType
from typing import Any, NamedTuple

from raynas.errors import ClusterLostError, StoreError, error_line
from raynas.interruption import Interrupted, StopSignals
from raynas.storage.files import write_json, write_text
from raynas.storage.locks import check_free, held, still_held
from raynas.storage.run_folder import holds_run, seconds_of_earlier_sessions, with_first_start


class End(NamedTuple):
    """How the work of a session ended.

    Args:
        status: How the work ended, such as completed, or interrupted.
        error: What failed, where the status is failed.
    """

    status: str
    error: str | None = None


class Session:
    """A session, as a context: signals are collected in it, and what is entered on its stack ends with it.

    Args:
        folder: The folder of the run, which is created when it is held.
        check: Raises StoreError if the folder holds something else than this run. It is called at once, before anything
            is started or written, and again when the folder is held.

    Raises:
        Interrupted: A KeyboardInterrupt came, as a second signal raises it; this is raised in its place on leaving the
            context.
    """

    def __init__(self, folder: Path, check: Callable[[], None]) -> None:
        check_free(folder)
        check()
        self.folder = folder
        self.check = check
        self.stack = ExitStack()
        self._signals = StopSignals()
        self._check_still_held = still_held(folder)
        self._started = perf_counter()
        self._seconds_before = 0.0

    def __enter__(self) -> Session:
        self.collect_signals()
        self.stack.callback(self._signals.restore)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stack.__exit__(kind, error, trace)
        if kind is not None and issubclass(kind, KeyboardInterrupt):
            received = self._signals.received
            raise Interrupted(received[0] if received else signal.SIGINT, self.folder) from None

    @property
    def stop(self) -> list[int]:
        """Signals that were received; the work is to look at it, and to end in good order if there is one.

        Raises:
            StoreError: Another process has taken over the folder; the work is to end at once.
        """
        self._check_still_held()
        return self._signals.received

    @property
    def seconds(self) -> float:
        """Seconds since the work began, and those of earlier sessions."""
        return self._seconds_before + perf_counter() - self._started

    def collect_signals(self) -> None:
        """Take over SIGINT and SIGTERM; again where Ray, when it started, has taken them."""
        self._signals.install()

    def hold(self) -> None:
        """Keep other processes out of the folder until the session ends.

        Raises:
            StoreError: Another process holds it, it holds something else by now, or it cannot be written.
        """
        self.stack.enter_context(held(self.folder))
        self.check()

    def describe(self, description: str) -> None:
        """Write run.yaml; when the run was started first stays in it."""
        write_text(self.folder / "run.yaml", with_first_start(self.folder, description))

    def write_summary(self, summary: dict[str, Any]) -> dict[str, Any]:
        """Write summary.json, and return what it says.

        Raises:
            StoreError: It cannot be written.
        """
        write_json(self.folder / "summary.json", summary)
        return summary

    def carry_out(
        self, work: Callable[[], End], write_summary: Callable[[str, str | None], dict[str, Any]]
    ) -> dict[str, Any]:
        """Do the work, keeping summary.json up to date, also when it ends badly.

        Args:
            work: Returns how it ended.
            write_summary: Writes the summary with a status and an error, and returns it.

        Returns:
            The last summary.

        Raises:
            Interrupted: The work ended on a signal, or as the cluster is gone.
            BaseException: What the work raises.
        """
        self._started, self._seconds_before = perf_counter(), seconds_of_earlier_sessions(self.folder)
        write_summary("running", None)
        try:
            end = work()
        except BaseException as failure:
            is_lost = isinstance(failure, ClusterLostError)
            is_interrupted = is_lost or isinstance(failure, KeyboardInterrupt)
            with suppress(StoreError):  # on a full disk, the error that is on its way says more
                error = None if isinstance(failure, KeyboardInterrupt) else error_line(failure)
                write_summary("interrupted" if is_interrupted else "failed", error)
            if isinstance(failure, ClusterLostError):
                raise Interrupted(failure, self.folder) from None
            raise
        if self.stop and end.status == "interrupted":
            with suppress(StoreError):  # a disk that is full does not make a failure of it
                write_summary(end.status, end.error)
            raise Interrupted(self.stop[0], self.folder)
        return write_summary(end.status, end.error)


@contextmanager
def as_interrupted(folder: Path) -> Iterator[None]:
    """A context in which Ctrl-C names the folder of a run that can be gone on with, also where no session looks.

    Args:
        folder: The run folder.

    Raises:
        Interrupted: SIGINT came, and the folder holds a run.
    """
    try:
        yield
    except KeyboardInterrupt:
        if not holds_run(folder):
            raise
        raise Interrupted(signal.SIGINT, folder) from None
