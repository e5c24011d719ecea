"""Parts of a result store: what their names say, and which of them count.

A part's name has the numbers of the flushes whose rows it holds and, where a driver can lose the folder to another one
without noticing at once, the epoch of its driver. Each part says with which number its epoch began: what a driver of
before wrote from there on came too late.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import pyarrow as pa

from raynas.errors import StoreError, on_one_line
from raynas.storage.row_rules import has_repeated_rows

_NAME = re.compile(r"part-(\d{8})-(\d{8})(?:-e(\d{1,9}))?\.parquet")
_TEMPORARY = re.compile(rf"\.{_NAME.pattern}\.tmp")

_PLACE = "place"
"""What a part's metadata calls the numbers and the epoch that its name has, too."""
_BEGAN = "epoch_began"
"""What it calls the number of the first flush in its epoch."""


class Place(NamedTuple):
    """Where a part belongs: the flushes whose rows it holds, the epoch of its driver (0: none), and when that began."""

    first: int
    last: int
    epoch: int = 0
    began: int | None = None

    @property
    def text(self) -> str:
        """As in names."""
        return f"{self.first:08d}-{self.last:08d}" + (f"-e{self.epoch}" if self.epoch else "")

    @property
    def name(self) -> str:
        """The name of the file."""
        return f"part-{self.text}.parquet"

    @property
    def metadata(self) -> dict[str, str]:
        """What the file says of it."""
        return {_PLACE: self.text, **({} if self.began is None else {_BEGAN: str(self.began)})}

    def said_by(self, metadata: Mapping[bytes, bytes]) -> Place:
        """The place with what a file says of it.

        Raises:
            StoreError: The file says that it has another place.
        """
        said = {name.decode(errors="replace"): value.decode(errors="replace") for name, value in metadata.items()}
        if said.get(_PLACE, self.text) != self.text:
            raise StoreError(f"it was written as the part {on_one_line(said[_PLACE], 40)}")
        began = said.get(_BEGAN, "")
        return self._replace(began=int(began) if re.fullmatch(r"\d{1,9}", began, re.ASCII) else None)


def place_of(name: str) -> Place | None:
    """The place that the name of a part says; None if it is the name of none."""
    match = _NAME.fullmatch(name)
    return None if match is None else Place(int(match[1]), int(match[2]), int(match[3] or 0))


def places_of(names: Sequence[str]) -> list[Place]:
    """Places in the names of parts, and in those of what became of them, which begin in the same way."""
    matches = map(_NAME.match, names)
    return [Place(int(match[1]), int(match[2]), int(match[3] or 0)) for match in matches if match]


def is_temporary(name: str) -> bool:
    """Whether a name is that of a part which is being written, or whose writer was killed."""
    return _TEMPORARY.fullmatch(name) is not None


class StoredPart(NamedTuple):
    """A part on disk."""

    place: Place
    path: Path
    rows: int


def late(parts: Sequence[StoredPart]) -> list[StoredPart]:
    """Parts with numbers at which a later epoch had begun."""
    began = {part.place.epoch: part.place.began for part in parts if part.place.began is not None}
    return [
        part
        for part in parts
        if any(part.place.epoch < epoch and part.place.last >= number for epoch, number in began.items())
    ]


def uncovered(parts: Sequence[StoredPart]) -> list[StoredPart]:
    """Parts whose numbers no other part covers, in order."""
    widest_first = sorted(parts, key=lambda part: (part.place.first, -part.place.last))
    kept: list[StoredPart] = []
    for part in widest_first:
        if not kept or part.place.last > kept[-1].place.last:
            kept.append(part)
    return kept


def without_repeated(
    parts: Sequence[tuple[StoredPart, pa.Table]], refuse: Callable[[StoredPart, str], None]
) -> list[tuple[StoredPart, pa.Table]]:
    """The parts without those that have a row again which an earlier one has."""
    tables = [table for _, table in parts]
    if not tables or not has_repeated_rows(pa.concat_tables(tables)):
        return list(parts)
    kept: list[tuple[StoredPart, pa.Table]] = []
    for part, table in parts:
        if has_repeated_rows(pa.concat_tables([*(one for _, one in kept), table])):
            refuse(part, "it has rows that are there already")
        else:
            kept.append((part, table))
    return kept
