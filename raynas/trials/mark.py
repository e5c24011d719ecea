"""The file by which trials know that their driver wants them: in the folder of the run, which both see.

The driver puts it there with a text of its own, and takes it away when trials are to end. Trials of a driver that is no
more find the text of its successor, and end too.
"""

from __future__ import annotations

import math
import uuid
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from time import monotonic

from raynas.errors import StoreError
from raynas.storage.files import read_bytes, remove, write_text
from raynas.storage.paths import ObjectPath

FILE = ".session"
_LOOK_S, _LOOK_FAR_S = 0.5, 2.0


@dataclass(frozen=True)
class Mark:
    """The mark of one session in the folder of its run.

    Args:
        folder: The folder of the run, as an absolute path.
        token: What the file says.
    """

    folder: Path
    token: str

    @classmethod
    def put(cls, folder: Path) -> Mark:
        """Begin a session, and end what trials of others may still be there.

        Raises:
            StoreError: It cannot be written.
        """
        mark = cls(folder.resolve(), uuid.uuid4().hex)
        write_text(folder / FILE, mark.token)
        return mark

    def take_away(self) -> None:
        """Have the trials end."""
        with suppress(OSError, StoreError):  # of a store that is away, or a folder that another one has by now
            remove(self.folder / FILE)

    def found(self) -> str:
        """What the file says now.

        Raises:
            OSError: There is none, or it cannot be read.
        """
        return read_bytes(self.folder / FILE).decode(errors="replace")


class MarkWatch:
    """Looks now and then whether a mark is still there; once it was gone, it stays so.

    Args:
        mark: The mark.
    """

    def __init__(self, mark: Mark) -> None:
        self._mark = mark
        self._every_s = _LOOK_FAR_S if isinstance(mark.folder, ObjectPath) else _LOOK_S
        self._looked = -math.inf
        self._is_gone = False

    def is_gone(self) -> bool:
        """Whether the trials are to end; where the folder cannot be read for now, they go on."""
        if not self._is_gone and monotonic() - self._looked >= self._every_s:
            self._looked = monotonic()
            try:
                self._is_gone = self._mark.found() != self._mark.token
            except FileNotFoundError:
                self._is_gone = True
            except OSError:  # what is written next says so, if it lasts
                pass
        return self._is_gone
