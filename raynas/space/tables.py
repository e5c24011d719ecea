"""Tables of architectures: CSV with a column per field, or one architecture a line."""

from __future__ import annotations

import csv
import json
import math
from pathlib import Path
from typing import Any

from raynas.errors import DataError


def read_architectures(path: Path) -> list[str]:
    """The architectures of a file, each as text that a space reads.

    Args:
        path: NAME.csv has a header with the names of the fields, and lists separated by spaces; any other file has one
            architecture a line: JSON, the space's own text or a name.

    Raises:
        DataError: The file is missing, empty or not UTF-8 text, or its rows are not as long as its header.
    """
    if path.suffix.lower() == ".csv":
        _, cells = read_csv(path)
        rows = [json.dumps({name: cell_value(cell) for name, cell in row.items()}) for row in cells]
    else:
        rows = [line.strip() for line in _text(path).splitlines() if line.strip()]
    if not rows:
        raise DataError(f"{path} holds no architecture")
    return rows


def read_csv(path: Path) -> tuple[list[str], list[dict[str, str]]]:
    """The header of a CSV file, and its rows by it.

    Raises:
        DataError: The file is missing or not UTF-8 text, names a column twice, or has a row of another length.
    """
    reader = csv.DictReader(_text(path).splitlines())
    header = list(reader.fieldnames or [])
    if twice := sorted({name for name in header if header.count(name) > 1}):
        raise DataError(f"{path} has two columns named {', '.join(map(repr, twice))}")
    rows: list[dict[str, str]] = []
    for number, row in enumerate(reader, 1):
        if None in row or None in row.values():
            cells = [cell for name, cell in row.items() if name is not None and cell is not None]
            count = len(cells) + len(row.get(None, []))  # type: ignore[call-overload]
            raise DataError(f"row {number} of {path} has {count} cells; its header has {len(header)}")
        rows.append(row)
    return header, rows


def cell_value(cell: str) -> Any:
    """What stands in a cell: a number, true or false, a text, or several of them, separated by spaces, as a list."""
    parts = [_scalar(part) for part in cell.split()]
    return parts[0] if len(parts) == 1 else parts


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise DataError(f"cannot read {path}: {error.strerror}") from None
    except UnicodeDecodeError as error:
        raise DataError(f"{path} is not UTF-8 text: {error}") from None


def _scalar(text: str) -> int | float | str | bool:
    for convert in (int, float):
        try:
            value = convert(text)
        except ValueError:
            continue
        if math.isfinite(value):
            return value
    return {"true": True, "false": False}.get(text.lower(), text)
