"""Files that are one data set together: a file, a folder of them, or a pattern."""

from __future__ import annotations

import glob
import os
import re
from collections.abc import Sequence
from pathlib import Path

from raynas.data.class_folders import SPLITS
from raynas.errors import DataError, printable
from raynas.wording import first_of

_NUMBERED = re.compile(r"(?P<set>.*?)[-_.]?(?P<number>\d{4,6})-of-(?P<count>\d{4,6})\b.*")
_MAGIC = re.compile(r"[*?\[]")


def shards_of(spec: str, where: str, end: str) -> list[Path]:
    """The files of a data set, sorted by name.

    Args:
        spec: What the user asked for as data, for messages.
        where: A file, a folder, or a pattern with *, ? or [ in it.
        end: The end of the names of files in a folder, such as .parquet.

    Raises:
        DataError: There is none, one is no regular file, one of a numbered set is missing, or a folder holds parts of
            several sets.
    """
    path = Path(where)
    if path.is_dir():
        files = sorted(one for one in path.iterdir() if one.name.endswith(end) and not one.name.startswith("."))
        if not files:
            below = sorted({str(one.parent) for one in path.rglob(f"*{end}")})
            hint = f"; they are in {', '.join(below[:5])}" if below else ""
            raise DataError(f"data {spec!r}: no files *{end} in {where!r}{hint}")
        parts = sorted({word for one in files if (word := _first_word(one)).lower() in SPLITS})
        if len(parts) > 1:
            raise DataError(
                f"data {spec!r}: {where!r} holds parts of a data set, {', '.join(parts)}; name one by a pattern, such "
                f"as {path / f'{parts[0]}*{end}'}"
            )
    elif _MAGIC.search(where) and not path.exists():
        files = sorted(Path(one) for one in glob.glob(where, recursive=True) if not Path(one).is_dir())  # noqa: PTH207
        if not files:
            raise DataError(f"data {spec!r}: no file fits {where!r}")
    else:
        check_regular(spec, path)
        return [path]
    for one in files:
        check_regular(spec, one)
    _check_complete(spec, files)
    return files


def check_regular(spec: str, path: Path) -> None:
    """Refuse what is no regular file: one would wait for a pipe for ever.

    Raises:
        DataError: It is none, or there is nothing.
    """
    if not path.is_file():
        told = f"{str(path)!r} is no regular file" if path.exists() else f"there is no file {str(path)!r}"
        raise DataError(f"data {spec!r}: {told}")


def names_of(files: Sequence[Path]) -> list[str]:
    """What people know the files of a data set by: their paths from the folder that all are in."""
    folder = os.path.commonpath([path.parent for path in files])
    return [printable(path.relative_to(folder).as_posix()) for path in files]


def _first_word(path: Path) -> str:
    found = re.match(r"[A-Za-z]*", path.name)
    return found[0] if found else ""


def _check_complete(spec: str, files: list[Path]) -> None:
    numbers: dict[tuple[Path, str, int], set[int]] = {}
    for path in files:
        if found := _NUMBERED.fullmatch(path.name):
            numbers.setdefault((path.parent, found["set"], int(found["count"])), set()).add(int(found["number"]))
    for (folder, name, count), present in numbers.items():
        if missing := sorted(set(range(count)) - present):
            shown = first_of([f"{one:05d}" for one in missing])
            raise DataError(
                f"data {spec!r}: of the {count} files {folder / name}-NNNNN-of-{count:05d} these are missing: {shown}"
            )
