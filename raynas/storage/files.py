"""Writing and locking files of a run folder: whole or not at all, and by one process at a time."""

from __future__ import annotations

import fcntl
import json
import os
import socket
from pathlib import Path
from time import monotonic, sleep
from typing import IO, Any

from raynas.errors import StoreError


def write_text(path: Path, text: str) -> None:
    """Replace a text file as a whole.

    Raises:
        StoreError: It cannot be written.
    """
    try:
        with write_atomically(path) as file:
            file.write(text.encode())
    except OSError as error:
        raise StoreError(f"cannot write {path}: {error}") from error


def write_json(path: Path, value: Any) -> None:
    """Replace a JSON file as a whole.

    Raises:
        StoreError: It cannot be written.
    """
    write_text(path, json.dumps(value, indent=2, allow_nan=False) + "\n")


class write_atomically:
    """Open a file for writing that appears under its name, synced to disk, only if the block ends well."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._temporary = path.with_name(f".{path.name}.tmp")
        self._file: IO[bytes] | None = None

    def __enter__(self) -> IO[bytes]:
        self._file = self._temporary.open("wb")
        return self._file

    def __exit__(self, kind: type[BaseException] | None, *details: object) -> None:
        assert self._file is not None
        try:
            if kind is None:
                self._file.flush()
                os.fsync(self._file.fileno())
            self._file.close()
            if kind is None:
                self._temporary.replace(self.path)
                _sync_folder(self.path.parent)
        finally:
            self._temporary.unlink(missing_ok=True)


def held(folder: Path, *inner: Path) -> IO[str]:
    """Make a run folder, unless it exists, and keep other processes out of it until what is returned is closed.

    Args:
        folder: Of the run.
        inner: Folders in it that are made too.

    Raises:
        StoreError: Another process holds it, or it cannot be written.
    """
    try:
        for path in (folder, *inner):
            path.mkdir(parents=True, exist_ok=True)
        return locked(folder / ".lock")
    except OSError as error:
        raise StoreError(f"run folder {folder} cannot be written: {error}") from error


def locked(path: Path) -> IO[str]:
    """An open file that no other process has locked; the lock lasts until it is closed.

    Raises:
        StoreError: Another process holds it.
    """
    file = path.open("a+")
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        file.seek(0)
        holder = file.read().strip() or "another process"
        file.close()
        raise StoreError(f"run folder {path.parent} is in use by {holder}") from None
    file.truncate(0)
    file.write(f"process {os.getpid()} on {socket.gethostname()}")
    file.flush()
    return file


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def is_in_use(folder: Path) -> bool:
    """Whether a process holds a run folder."""
    if not (folder / ".lock").exists():
        return False
    try:
        locked(folder / ".lock").close()
    except StoreError:
        return True
    return False


_PREDECESSOR_S = 60.0
_POLL_S = 0.5


def wait_for_predecessor(folder: Path) -> None:
    """Let the folder be left: trials outlive a driver that was killed by some seconds."""
    deadline = monotonic() + _PREDECESSOR_S
    while is_in_use(folder) and monotonic() < deadline:
        sleep(_POLL_S)
