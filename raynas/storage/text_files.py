"""Text files of YAML, JSON and CSV as values: the one reader for each, which takes a file from anybody.

Files are regular ones, in UTF-8, and bounded in bytes; what their texts may hold is in `raynas.texts`. Whatever else a
file is, it is refused as a ValueError with a text of one line, or, where there is none to read, as an OSError.
"""

from __future__ import annotations

import csv
import errno
import io
from pathlib import Path
from typing import Any

from raynas.storage.files import opened
from raynas.texts import parse_json, parse_yaml

MAX_BYTES = 256 << 20
"""More than a list of a million architectures takes."""


def read_text(path: Path) -> str:
    """The content of a text file, with or without a byte order mark.

    Raises:
        OSError: It is missing, no regular file, or over `MAX_BYTES`.
        ValueError: It is no text in UTF-8.
    """
    with opened(path) as file:
        content = file.read(MAX_BYTES + 1)
    if len(content) > MAX_BYTES:
        raise OSError(errno.EFBIG, f"it has more than {MAX_BYTES >> 20} MiB", str(path))
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise ValueError(f"it is no text in UTF-8: {error.reason} at byte {error.start}") from None
    if "\0" in text:
        raise ValueError(f"it is no text: character {text.index(chr(0))} is NUL")
    return text


def read_yaml(path: Path) -> Any:
    """The value that a YAML file stands for.

    Raises:
        OSError, ValueError: As `read_text` and `parse_yaml`.
    """
    return parse_yaml(read_text(path))


def read_json(path: Path) -> Any:
    """The value that a JSON file stands for.

    Raises:
        OSError, ValueError: As `read_text` and `parse_json`.
    """
    return parse_json(read_text(path))


def read_csv(path: Path) -> tuple[list[str], list[dict[str, str]]]:
    """The header of a CSV file, and its rows by it.

    Raises:
        OSError, ValueError: As `read_text`; or it names a column twice, or has a row of another length.
    """
    reader = csv.DictReader(io.StringIO(read_text(path), newline=""))
    try:
        header = list(reader.fieldnames or [])
        if twice := sorted({name for name in header if header.count(name) > 1}):
            raise ValueError(f"two columns are named {', '.join(map(repr, twice))}")
        rows: list[dict[str, str]] = []
        for number, row in enumerate(reader, 1):
            if None in row or None in row.values():
                cells = [cell for name, cell in row.items() if name is not None and cell is not None]
                count = len(cells) + len(row.get(None, []))  # type: ignore[call-overload]
                raise ValueError(f"row {number} has {count} cells; its header has {len(header)}")
            rows.append(row)
    except csv.Error as error:
        raise ValueError(f"it is no CSV: {error}") from None
    return header, rows
