"""The one door to the files of runs: read, list, write whole or not at all, append, move, remove, lock.

Whoever reads or keeps something in the folder of a run does it by the functions here. They find the store that a path
is in, of which `raynas.storage.stores.Files` says what each of them promises.
"""

from __future__ import annotations

import json
from contextlib import AbstractContextManager
from datetime import datetime
from pathlib import Path
from typing import IO, Any

from raynas.errors import StoreError, error_words
from raynas.storage.local_files import LocalFiles
from raynas.storage.object_files import object_files
from raynas.storage.paths import ObjectPath, is_collapsed
from raynas.storage.stores import Files

_LOCAL = LocalFiles()


def files_of(path: Path) -> Files:
    """The store that a path is in."""
    if isinstance(path, ObjectPath):
        return object_files(path.bucket)
    assert not is_collapsed(path), f"{path} was a URI; raynas.storage.paths.as_path keeps it"
    return _LOCAL


# -- reading -----------------------------------------------------------------------------------------------------------


def exists(path: Path) -> bool:
    """Whether a file or folder is there."""
    return files_of(path).exists(path)


def is_folder(path: Path) -> bool:
    """Whether a folder is there."""
    return files_of(path).is_folder(path)


def read_bytes(path: Path) -> bytes:
    """The content of a file.

    Raises:
        OSError: It is missing or cannot be read.
    """
    return files_of(path).read(path)


def opened(path: Path) -> AbstractContextManager[IO[bytes]]:
    """A file to read from, at any place of it, for what is too large to be held as a whole.

    Raises:
        OSError: It is missing or cannot be read.
    """
    return files_of(path).open(path)


def version_of(path: Path) -> str | None:
    """A text that is another one once a file is replaced by another content; None if there is no such file.

    Raises:
        OSError: The store cannot be reached.
    """
    return files_of(path).version(path)


def written_at(path: Path) -> datetime | None:
    """When a file was written, with its time zone; None if there is no such file.

    Raises:
        OSError: The store cannot be reached.
    """
    return files_of(path).written_at(path)


def names_in(folder: Path) -> list[str]:
    """What is directly in a folder, sorted by name.

    Raises:
        OSError: It is missing, where folders are made, or cannot be read.
    """
    return files_of(folder).names(folder)


def files_below(folder: Path) -> list[Path]:
    """All files in a folder and in the folders in it, as paths, links among them; none if there is no such folder.

    Raises:
        OSError: They cannot be listed.
    """
    return files_of(folder).below(folder)


# -- writing -----------------------------------------------------------------------------------------------------------


def write_atomically(path: Path, *, once: bool = False, is_durable: bool = True) -> AbstractContextManager[IO[bytes]]:
    """Open a file for writing that appears under its name, synced to disk, only if the block ends well.

    Args:
        path: The file, in a folder that is there.
        once: Whether to raise FileExistsError if there is such a file already, also if another process makes it
            meanwhile; otherwise it is replaced.
        is_durable: Whether the file is there after a loss of power, once the block has ended; not worth its time for a
            sign of life.
    """
    return files_of(path).write(path, once=once, is_durable=is_durable)


def write_text(path: Path, text: str, *, is_durable: bool = True) -> None:
    """Replace a text file as a whole.

    Args:
        path: The file, in a folder that is there.
        text: The new content.
        is_durable: Whether the text is there after a loss of power; not worth its time for a sign of life.

    Raises:
        StoreError: It cannot be written.
    """
    try:
        with write_atomically(path, is_durable=is_durable) as file:
            file.write(text.encode())
    except OSError as error:
        raise StoreError(f"cannot write {path}: {error_words(error)}") from error


def write_json(path: Path, value: Any) -> None:
    """Replace a JSON file as a whole.

    Raises:
        StoreError: It cannot be written.
    """
    write_text(path, json.dumps(value, indent=2, allow_nan=False) + "\n")


def append_text(path: Path, text: str) -> None:
    """Put text at the end of a file, which is made if it is missing.

    Raises:
        OSError: It cannot be written.
    """
    files_of(path).append(path, text.encode())


def write_mark(path: Path) -> None:
    """Make an empty file, whose being there says something.

    Raises:
        StoreError: It cannot be written.
    """
    write_text(path, "", is_durable=False)


def move(path: Path, to: Path) -> None:
    """Give a file another name, under which there is none.

    Raises:
        OSError: It cannot be moved.
    """
    files_of(path).move(path, to)


def copy(path: Path, to: Path) -> None:
    """Keep what a file holds under another name too, in place of what is there; whole or not at all.

    Raises:
        OSError: It cannot be read, or not be written there.
    """
    files_of(path).copy(path, to)


def remove(*paths: Path) -> None:
    """Remove files of one store, those that are there.

    Raises:
        OSError: One cannot be removed.
    """
    if paths:
        files_of(paths[0]).remove(*paths)


def remove_folder(path: Path) -> None:
    """Remove a folder with all that is in it, if it is there; of a link, nothing but the link."""
    files_of(path).remove_folder(path)


def remove_empty_folder(path: Path) -> None:
    """Remove a folder if there is nothing in it."""
    files_of(path).remove_empty_folder(path)


def make_folder(path: Path) -> None:
    """Make a folder with those that it is in, unless it is there.

    Raises:
        OSError: It cannot be made.
    """
    files_of(path).make_folder(path)
