"""TensorBoard's event files in an object store, where nothing is appended: a file is written anew now and then."""

from __future__ import annotations

import io
from contextlib import suppress
from pathlib import Path
from time import monotonic

from raynas.storage.files import write_atomically
from raynas.storage.paths import SCHEMES, as_path

_WRITTEN_EVERY_S = 60.0


class _EventFile:
    """What tensorboardX writes to, by its thread; a store that does not answer costs nothing but the next minute.

    Args:
        path: The URI of the file.
    """

    def __init__(self, path: str) -> None:
        self._path = as_path(path)
        self._content = io.BytesIO()
        self._tried = monotonic()

    def write(self, value: bytes) -> None:
        """Keep some bytes."""
        self._content.write(value)

    def flush(self) -> None:
        """Write the file, if the last time was long ago."""
        if monotonic() - self._tried > _WRITTEN_EVERY_S:
            self.close()

    def close(self) -> None:
        """Write the file."""
        self._tried = monotonic()
        with suppress(OSError), write_atomically(self._path) as file:
            file.write(self._content.getvalue())


class _EventFiles:
    """The factory of such files, as tensorboardX asks for one."""

    def open(self, path: str) -> _EventFile:
        """A new file."""
        return _EventFile(path)

    def directory_check(self, path: str) -> None:
        """Nothing, as stores have no folders."""


def events_folder(folder: Path) -> str:
    """The folder of event files of a training, as tensorboardX takes it, which learns of stores here."""
    from tensorboardX import record_writer

    for scheme in SCHEMES:
        record_writer.register_writer_factory(scheme, _EventFiles())
    return str(folder / "tensorboard")
