"""What a store for the files of runs must do, so that a run can be kept in it."""

from __future__ import annotations

from contextlib import AbstractContextManager
from datetime import datetime
from pathlib import Path
from typing import IO, Protocol


class Lock(AbstractContextManager["Lock"], Protocol):
    """Keeps other processes out until it is closed, or until this process has ended, however it ends.

    It may be lost before, where a store cannot see whether this process goes on, as one that was stopped for long.
    """

    @property
    def epoch(self) -> int | None:
        """How many have had the lock, this process included, where it can be lost; None where it cannot."""
        ...

    def close(self) -> None:
        """Let others in."""
        ...


class Files(Protocol):
    """A store for the files of runs. Failures are an OSError; a file that is not there, FileNotFoundError.

    Of each file there is one writer at a time; readers may come at any moment, and see it whole or not at all. What
    changes files raises an OSError where this process has lost the lock that it had on their folder.
    """

    has_folders: bool
    """Whether a folder is there once it is made; otherwise, once something is in it, and none is said to be missing."""

    def exists(self, path: Path) -> bool:
        """Whether a file or folder is there."""
        ...

    def is_folder(self, path: Path) -> bool:
        """Whether a folder is there."""
        ...

    def read(self, path: Path) -> bytes:
        """The content of a file."""
        ...

    def open(self, path: Path) -> AbstractContextManager[IO[bytes]]:
        """A file to read from, at any place of it."""
        ...

    def version(self, path: Path) -> str | None:
        """A text that is another one once a file is replaced by another content; None if there is no such file."""
        ...

    def written_at(self, path: Path) -> datetime | None:
        """When a file was written, with its time zone; None if there is no such file."""
        ...

    def names(self, folder: Path) -> list[str]:
        """What is directly in a folder, sorted by name."""
        ...

    def below(self, folder: Path) -> list[Path]:
        """All files in a folder and in the folders in it, links among them; none if there is no such folder."""
        ...

    def write(self, path: Path, *, once: bool, is_durable: bool) -> AbstractContextManager[IO[bytes]]:
        """A file to write into, which appears under its name when the block ends well, and leaves no trace otherwise.

        Args:
            path: The file, in a folder that is there.
            once: Whether to raise FileExistsError if there is such a file already, also if another process makes it
                meanwhile; otherwise it is replaced.
            is_durable: Whether the file is there after a loss of power, once the block has ended.
        """
        ...

    def append(self, path: Path, content: bytes) -> None:
        """Put content at the end of a file, which is made if it is missing."""
        ...

    def move(self, path: Path, to: Path) -> None:
        """Give a file another name, under which there is none."""
        ...

    def copy(self, path: Path, to: Path) -> None:
        """Keep what a file holds under another name too, in place of what is there; whole or not at all."""
        ...

    def remove(self, *paths: Path) -> None:
        """Remove files, those that are there."""
        ...

    def remove_folder(self, path: Path) -> None:
        """Remove a folder with all that is in it, if it is there; of a link, nothing but the link."""
        ...

    def remove_empty_folder(self, path: Path) -> None:
        """Remove a folder if there is nothing in it."""
        ...

    def make_folder(self, path: Path) -> None:
        """Make a folder with those that it is in, unless it is there."""
        ...

    def holder(self, path: Path) -> str | None:
        """Who has locked a file; None if nobody has, or there is none.

        Looking needs no more than reading, and refuses nobody the lock. Where it cannot be seen, that is an OSError.
        """
        ...

    def lock(self, path: Path, holder: str) -> Lock:
        """Lock a file, which is made if it is missing.

        Args:
            path: The file, whose content is the holder.
            holder: What is told to others who want the lock meanwhile.

        Raises:
            BlockingIOError: Another one holds it; its text is that holder.
            FileNotFoundError: Its folder was removed meanwhile.
        """
        ...

    def check_lock(self, path: Path) -> None:
        """Raise an OSError if this process is known to have lost the lock that it had on the folder of a file."""
        ...
