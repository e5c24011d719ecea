"""One process at a time in the folder of a run, which writes nowhere else and clears away what others have left."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, suppress
from pathlib import Path
from time import monotonic, sleep

from raynas.errors import StoreError, error_words
from raynas.storage.files import (
    exists,
    files_below,
    files_of,
    make_folder,
    remove,
    remove_empty_folder,
)
from raynas.storage.leases import lease_seconds
from raynas.storage.paths import ObjectPath
from raynas.storage.stores import Lock

_LOCK = ".lock"
_PREDECESSOR_S = 120.0
_POLL_S = 0.5
_IN_VAIN_S = 5.0


def held(folder: Path, *inner: Path) -> Lock:
    """Make a run folder, unless it exists, and keep other processes out of it until what is returned is closed.

    A folder that was made for a run that did not begin is removed when that is closed: nothing has come into it.

    Args:
        folder: The folder of the run.
        inner: Folders in it that are made too.

    Raises:
        StoreError: Another process holds it, or it cannot be written.
    """
    try:
        check_inside(folder)
        made = [path for path in (folder, *folder.parents) if not exists(path)]
        lock = _FolderLock(_lock_in(folder), folder, inner, made)
        try:
            for path in inner:
                make_folder(path)
            remove_temporary(folder)
        except BaseException:  # whose traceback may keep the lock alive, as in a notebook
            lock.close()
            raise
    except OSError as error:
        raise StoreError(f"run folder {folder} cannot be written: {error_words(error)}") from error
    return lock


def _lock_in(folder: Path) -> Lock:
    """The lock of a folder, which is made, also if another one removes it meanwhile, for whom it was made in vain."""
    deadline = monotonic() + _IN_VAIN_S
    while True:
        make_folder(folder)
        try:
            return locked(folder / _LOCK)
        except FileNotFoundError:
            if monotonic() > deadline:
                raise


class _FolderLock(AbstractContextManager[Lock]):
    """The lock of a run folder, which leaves nothing where nothing has come into the folder that it was made for.

    Args:
        lock: The lock itself.
        folder: The run folder.
        inner: Folders in it.
        made: The run folder and those that it is in, as far as they were made for it, inner ones first.
    """

    def __init__(self, lock: Lock, folder: Path, inner: Sequence[Path], made: Sequence[Path]) -> None:
        self._lock, self._folder, self._inner, self._made = lock, folder, inner, made

    @property
    def epoch(self) -> int | None:
        """As of the lock itself."""
        return self._lock.epoch

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Let others in."""
        with suppress(OSError):  # what cannot be removed stays, and does no harm
            if self._made and files_below(self._folder) == [self._folder / _LOCK]:
                for path in reversed(self._inner):
                    remove_empty_folder(path)
                # While it is held: whoever opened it before sees that it is gone, and whoever makes a new one keeps the
                # folder.
                remove(self._folder / _LOCK)
                for path in self._made:
                    remove_empty_folder(path)
        self._made = ()
        self._lock.close()


def locked(path: Path) -> Lock:
    """The lock of a run folder, which no other process has; it lasts until it is closed.

    Raises:
        StoreError: Another process holds it.
    """
    try:
        return files_of(path).lock(path, f"process {os.getpid()} on {socket.gethostname()}")
    except BlockingIOError as error:
        raise StoreError(f"run folder {path.parent} is being written by {error}") from None


def told_before_locking(folder: Path) -> str | None:
    """What people are told before a folder is locked, if that may take its time; None if it does not.

    Raises:
        ConfigError: The environment says nothing that can be done of how long a lease lasts.
    """
    if not isinstance(folder, ObjectPath):
        return None
    seconds = lease_seconds()
    if not exists(folder / _LOCK):
        return None
    return f"makes sure that no process writes {folder}: up to {seconds:g} s, where one was killed"


def still_held(folder: Path) -> Callable[[], None]:
    """What ends the work on a folder that this process held and another one has taken over by now.

    Returns:
        A check, to be called as often as the work can end. It raises StoreError if another process has the folder; the
        message names it.
    """
    check_lock, lock = files_of(folder).check_lock, folder / _LOCK

    def check() -> None:
        try:
            check_lock(lock)
        except OSError as error:
            raise StoreError(f"run folder {folder} is lost: {error_words(error)}") from None

    return check


def check_free(folder: Path) -> None:
    """Refuse a folder that another process writes; nothing in it is touched.

    Raises:
        StoreError: Another process holds it; the message names it.
    """
    with suppress(OSError):  # whoever may not look at the lock is told so in other words
        if (holder := _holder(folder)) is not None:
            raise StoreError(f"run folder {folder} is being written by {holder}")


def is_in_use(folder: Path) -> bool:
    """Whether a process is seen to hold a run folder."""
    try:
        return _holder(folder) is not None
    except OSError:
        return False


def is_free(folder: Path) -> bool:
    """Whether a run folder is seen to be held by no process; where that cannot be seen, it is not in use either."""
    try:
        return _holder(folder) is None
    except OSError:
        return False


def _holder(folder: Path) -> str | None:
    path = folder / _LOCK
    return files_of(path).holder(path)


def wait_for_predecessor(folder: Path) -> None:
    """Let the folder be left: trials outlive a driver that was killed by some seconds, and locks a machine on NFS."""
    deadline = monotonic() + _PREDECESSOR_S
    while is_in_use(folder) and monotonic() < deadline:
        sleep(_POLL_S)


def check_inside(folder: Path) -> None:
    """Refuse a folder from which a link leads out, as what is written there would be written elsewhere.

    Raises:
        StoreError: There is such a link; the message names it.
    """
    for path in files_below(folder):
        if path.is_symlink() and not _leads_into(path, folder):
            raise StoreError(f"{folder} holds a link that leads out of it, {path.relative_to(folder)}: remove it")


def _leads_into(link: Path, folder: Path) -> bool:
    try:
        return link.resolve().is_relative_to(folder.resolve())
    except (OSError, RuntimeError):  # it leads to itself
        return False


def remove_temporary(folder: Path) -> None:
    """Remove what killed writers have left in a run folder that is held; runs in it have writers of their own.

    Raises:
        OSError: It cannot be removed.
    """
    found = files_below(folder)
    of_others = {path.parent for path in found if path.name == "run.yaml"} - {folder}
    for path in found:
        is_temporary = path.name.startswith(".") and path.name.endswith(".tmp")
        if is_temporary and of_others.isdisjoint(path.parents):
            remove(path)
