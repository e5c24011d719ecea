"""Files of this machine, as runs read and keep them: whole or not at all, and synced to disk.

Only regular files are opened, as others would be waited on for ever, and nothing is written through a link.
"""

from __future__ import annotations

import errno
import fcntl
import io
import os
import shutil
import stat
import tempfile
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from time import monotonic, sleep
from typing import IO, Any
from weakref import WeakSet

from raynas.storage.stores import Lock

_LOOKS_S = 5.0
_POLL_S = 0.01


class _Written(io.BufferedWriter):
    """A file that remembers why it could not be written: not all libraries pass that on."""

    failure: OSError | None = None

    def write(self, data: Any) -> int:
        try:
            return super().write(data)
        except OSError as error:
            self.failure = error
            raise


class _Locked(AbstractContextManager["_Locked"]):
    """A locked file, which is so until it is closed, or this process has ended."""

    epoch = None  # the system keeps the lock for as long as this process is there

    def __init__(self, file: IO[Any]) -> None:
        self._file = file
        _locks.add(self)

    @property
    def descriptor(self) -> int | None:
        """The descriptor of the file; None once it is closed."""
        return None if self._file.closed else self._file.fileno()

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Let others in."""
        self._file.close()


_locks: WeakSet[_Locked] = WeakSet()
"""What this process has locked."""


def _let_go_of_locks() -> None:
    """Leave the locks to the process that this one was forked from.

    A forked process has its parent's descriptors, and a lock lasts as long as any of them: a process that loads images
    outlives one that was killed by seconds, for which its folder would still be taken. The numbers stay in use, as
    objects close them that this process has, too.
    """
    if descriptors := [lock.descriptor for lock in _locks if lock.descriptor is not None]:
        nothing = os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC)
        for descriptor in descriptors:
            os.dup2(nothing, descriptor, inheritable=False)
        os.close(nothing)
    _locks.clear()


os.register_at_fork(after_in_child=_let_go_of_locks)


class LocalFiles:
    """Files of this machine: synced and renamed, and locked by `flock`, which ends with the process."""

    has_folders = True

    def exists(self, path: Path) -> bool:
        """Whether a file or folder is there."""
        return path.exists()

    def is_folder(self, path: Path) -> bool:
        """Whether a folder is there."""
        return path.is_dir()

    def read(self, path: Path) -> bytes:
        """The content of a file."""
        with self.open(path) as file:
            return file.read()

    def open(self, path: Path) -> AbstractContextManager[IO[bytes]]:
        """A file to read from, at any place of it."""
        return os.fdopen(_opened(path, os.O_RDONLY), "rb")

    def version(self, path: Path) -> str | None:
        """When it was changed, in nanoseconds."""
        try:
            return str(path.stat().st_mtime_ns)
        except FileNotFoundError:
            return None

    def written_at(self, path: Path) -> datetime | None:
        """When it was changed."""
        try:
            return datetime.fromtimestamp(path.stat().st_mtime, UTC)
        except FileNotFoundError:
            return None

    def names(self, folder: Path) -> list[str]:
        """What is directly in a folder, sorted by name."""
        return sorted(entry.name for entry in folder.iterdir())

    def below(self, folder: Path) -> list[Path]:
        """All files in a folder and in the folders in it, links among them; none if there is no such folder."""
        if not folder.is_dir():
            return []
        try:
            names = self.names(folder)
        except FileNotFoundError:  # removed meanwhile
            return []
        found: list[Path] = []
        for name in names:
            path = folder / name
            found += self.below(path) if path.is_dir() and not path.is_symlink() else [path]
        return found

    @contextmanager
    def write(self, path: Path, *, once: bool, is_durable: bool) -> Iterator[IO[bytes]]:
        """A file to write into, under the name .NAME.tmp until the block has ended."""
        temporary = path.with_name(f".{path.name}.tmp")
        temporary.unlink(missing_ok=True)  # of a writer that was killed
        with _Written(io.FileIO(_opened(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL), "w")) as file:
            try:
                try:
                    yield file
                except Exception as error:
                    raise file.failure or error from None
                file.flush()
                if is_durable:
                    os.fsync(file.fileno())
                file.close()
                _publish(temporary, path, once=once)
                if is_durable:
                    try:
                        _sync_folder(path.parent)
                    except OSError:
                        if once:  # whoever is told that it failed may try again
                            path.unlink(missing_ok=True)
                        raise
            finally:
                temporary.unlink(missing_ok=True)

    def append(self, path: Path, content: bytes) -> None:
        """Put content at the end of a file, which is made if it is missing."""
        with os.fdopen(_opened(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW), "ab") as file:
            file.write(content)

    def move(self, path: Path, to: Path) -> None:
        """Give a file another name."""
        path.rename(to)

    def copy(self, path: Path, to: Path) -> None:
        """Keep what a file holds under another name too: files are replaced, never written over."""
        temporary = to.with_name(f".{to.name}.tmp")
        temporary.unlink(missing_ok=True)  # of a writer that was killed
        try:
            try:
                os.link(path, temporary, follow_symlinks=False)
            except OSError:  # a file system without hard links
                shutil.copyfile(path, temporary)
            temporary.replace(to)
        finally:
            temporary.unlink(missing_ok=True)

    def remove(self, *paths: Path) -> None:
        """Remove files, those that are there."""
        for path in paths:
            path.unlink(missing_ok=True)

    def remove_folder(self, path: Path) -> None:
        """Remove a folder with all that is in it, if it is there; of a link, nothing but the link."""
        with suppress(OSError):  # a folder, or nothing
            path.unlink()
        shutil.rmtree(path, ignore_errors=True)

    def remove_empty_folder(self, path: Path) -> None:
        """Remove a folder if there is nothing in it."""
        with suppress(OSError):  # there is
            path.rmdir()

    def make_folder(self, path: Path) -> None:
        """Make a folder with those that it is in, unless it is there."""
        path.mkdir(parents=True, exist_ok=True)

    def holder(self, path: Path) -> str | None:
        """Who has locked a file; None if nobody has, or there is none."""
        try:
            with os.fdopen(_opened(path, os.O_RDONLY | os.O_NOFOLLOW), errors="replace") as file:
                _look(file)
        except (FileNotFoundError, NotADirectoryError):
            return None
        except BlockingIOError as error:
            return str(error)
        return None

    def lock(self, path: Path, holder: str) -> Lock:
        """Lock a file, which is made if it is missing."""
        file = os.fdopen(_opened(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW), "r+", errors="replace")
        try:
            _lock(file)
            if not _is_still_at(path, file):  # whoever held it has removed it with its folder: it keeps nobody out
                raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), str(path))
            file.truncate(0)
            file.write(holder)
            file.flush()
        except BaseException:  # whose traceback may keep the lock alive, as in a notebook
            file.close()
            raise
        return _Locked(file)

    def check_lock(self, path: Path) -> None:
        """Nothing: a lock is not lost."""


@contextmanager
def temporary_folder() -> Iterator[Path]:
    """A folder for what another library keeps while it works; it is removed with all that is in it."""
    with tempfile.TemporaryDirectory(prefix="raynas-", ignore_cleanup_errors=True) as folder:
        yield Path(folder)


def waited_lock(path: Path, *, is_shared: bool) -> Lock:
    """Lock a file, made if it is missing, after waiting for others, with whom it may be shared.

    Raises:
        OSError: It cannot be opened or locked.
    """
    file = os.fdopen(_opened(path, os.O_RDONLY | os.O_CREAT | os.O_NOFOLLOW), "rb")
    try:
        fcntl.flock(file, fcntl.LOCK_SH if is_shared else fcntl.LOCK_EX)
    except BaseException:  # whose traceback may keep the lock alive, as in a notebook
        file.close()
        raise
    return _Locked(file)


def _opened(path: Path, flags: int) -> int:
    """The descriptor of a regular file; pipes, devices and the like are neither waited on nor read."""
    descriptor = os.open(path, flags | os.O_NONBLOCK | os.O_CLOEXEC, 0o666)
    mode = os.fstat(descriptor).st_mode
    if not stat.S_ISREG(mode):
        os.close(descriptor)
        if stat.S_ISDIR(mode):
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
        raise OSError(errno.EINVAL, "it is no regular file", str(path))
    return descriptor


def _look(file: IO[str]) -> None:
    """Raise BlockingIOError if a file is locked: by a shared lock, which anyone who may read can have for a moment."""
    try:
        fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        file.seek(0)
        raise BlockingIOError(file.read(200).strip() or "another process") from None
    fcntl.flock(file, fcntl.LOCK_UN)


def _lock(file: IO[str]) -> None:
    """Lock a file; who only looks at it keeps nobody out, as their lock is shared and gone at once."""
    deadline = monotonic() + _LOOKS_S
    while True:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            _look(file)
            if monotonic() > deadline:
                raise BlockingIOError("another process") from None
            sleep(_POLL_S)
        else:
            return


def _is_still_at(path: Path, file: IO[str]) -> bool:
    with suppress(FileNotFoundError):
        return os.path.samestat(os.lstat(path), os.fstat(file.fileno()))
    return False


def _publish(temporary: Path, path: Path, *, once: bool) -> None:
    if not once:
        temporary.replace(path)
        return
    try:
        os.link(temporary, path)  # of all that gives a file a name, it alone refuses one that is taken
    except FileExistsError:
        raise
    except OSError:  # a file system without hard links, where whoever writes must hold a lock
        if path.exists():
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), str(path)) from None
        temporary.replace(path)


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
