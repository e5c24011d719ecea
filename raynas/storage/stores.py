"""What a store for the files of runs must do, so that a run can be kept in it."""

from __future__ import annotations

from contextlib import AbstractContextManager
from pathlib import Path
from typing import IO, Protocol


class Lock(AbstractContextManager["Lock"], Protocol):
    """Keeps other processes out until it is closed, or until this process has ended, however it ends."""

    def close(self) -> None:
        """Let others in."""
        ...


class Files(Protocol):
    """A store for the files of runs. Failures are an OSError; a file or folder that is not there, FileNotFoundError.

    Of each file there is one writer at a time; readers may come at any moment, and see it whole or not at all.
    """

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
        """A text that is another one once a file is replaced; None if there is no such file."""
        ...

    def names(self, folder: Path) -> list[str]:
        """What is directly in a folder, sorted by name."""
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

    def remove(self, path: Path) -> None:
        """Remove a file, if it is there."""
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
