"""Files that are one data set together: a file, a folder of them, or a pattern."""

from __future__ import annotations

import glob
import re
from pathlib import Path

from raynas.data.class_folders import SPLITS
from raynas.errors import DataError

_NUMBERED = re.compile(r"(?P<set>.*?)[-_.]?(?P<number>\d{4,6})-of-(?P<count>\d{4,6})\b.*")
_MAGIC = re.compile(r"[*?\[]")


def shards_of(spec: str, where: str, end: str) -> list[Path]:
    """The files of a data set, sorted by name.

    Args:
        spec: What the user asked for as data, for messages.
        where: A file, a folder, or a pattern with *, ? or [ in it.
        end: The end of the names of files in a folder, such as .parquet.

    Raises:
        DataError: There is none, one of a numbered set is missing, or a folder holds parts of several sets.
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
    elif path.is_file():
        return [path]
    elif _MAGIC.search(where):
        files = sorted(Path(one) for one in glob.glob(where, recursive=True) if Path(one).is_file())  # noqa: PTH207
        if not files:
            raise DataError(f"data {spec!r}: no file fits {where!r}")
    else:
        raise DataError(f"data {spec!r}: there is no file {where!r}")
    _check_complete(spec, files)
    return files


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
            shown = ", ".join(f"{one:05d}" for one in missing[:5]) + (", ..." if len(missing) > 5 else "")
            raise DataError(
                f"data {spec!r}: of the {count} files {folder / name}-NNNNN-of-{count:05d} these are missing: {shown}"
            )
