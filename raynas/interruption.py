"""SIGINT and SIGTERM: collected for loops to look at, and the error that ends an interrupted run."""

from __future__ import annotations

import shlex
import signal
import threading
from pathlib import Path
from typing import Any

from raynas.errors import ClusterLostError, RaynasError

EXIT_CLUSTER_LOST = 75
"""Status of a command whose cluster is gone, the usual one for what may well succeed later (EX_TEMPFAIL)."""


class Interrupted(RaynasError):
    """Something from outside ended the run; what was done is stored.

    Args:
        by: The signal that did; or the error that says that the cluster is gone.
        folder: The run folder, which can be resumed.

    Attributes:
        signum: The signal, if one did.
        exit_code: The status with which a command ends for it: 130 or 143 for SIGINT and SIGTERM.
    """

    signum: int | None

    def __init__(self, by: int | ClusterLostError, folder: Path) -> None:
        if isinstance(by, ClusterLostError):
            super().__init__(f"{by}; what is done is stored in {folder}")
            self.exit_code, self.signum = EXIT_CLUSTER_LOST, None
        else:
            super().__init__(f"interrupted by {signal.Signals(by).name}; what is done is stored in {folder}")
            self.exit_code, self.signum = 128 + by, by
        self.folder = folder


def resuming_line(command: str, folder: Path, *more: str) -> str:
    """What is typed to go on with a run.

    Args:
        command: The command as it is typed, such as "bench proxies".
        folder: The folder of the run.
        more: Further arguments of the command.
    """
    return shlex.join(["raynas", *command.split(), "--resume", "--out", str(folder), *more])


class StopSignals:
    """Collects SIGINT and SIGTERM for the loop to look at; a second one interrupts at once."""

    def __init__(self) -> None:
        self.received: list[int] = []
        self._before: dict[int, Any] = {}

    def install(self) -> None:
        """Take over the signals; again where Ray has taken them in between."""
        if threading.current_thread() is not threading.main_thread():
            return
        for signum in (signal.SIGINT, signal.SIGTERM):
            before = signal.signal(signum, self._receive)
            self._before.setdefault(signum, before)

    def restore(self) -> None:
        """Give the signals back."""
        for signum, handler in self._before.items():
            signal.signal(signum, handler)

    def _receive(self, signum: int, frame: object) -> None:
        self.received.append(signum)
        if len(self.received) > 1:
            raise SignalInterrupt


class SignalInterrupt(KeyboardInterrupt):
    """The interruption by a second signal."""


def is_interrupt(error: BaseException) -> bool:
    """Whether an error comes from a signal: a KeyboardInterrupt that code raises by itself is an error as any other."""
    if isinstance(error, SignalInterrupt):
        return True
    if not isinstance(error, KeyboardInterrupt) or threading.current_thread() is not threading.main_thread():
        return False  # Python raises it for a signal in the main thread alone
    return signal.getsignal(signal.SIGINT) is signal.default_int_handler
