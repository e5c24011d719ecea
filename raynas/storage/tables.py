"""Tables of architectures: CSV with a column per field, or one architecture a line."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

from raynas.errors import DataError, error_words
from raynas.storage.text_files import read_csv, read_text


def read_architectures(path: Path) -> list[str]:
    """The architectures of a file, each as text that a space reads.

    Args:
        path: NAME.csv has a header with the names of the fields, and lists separated by spaces; any other file has one
            architecture a line: JSON, the space's own text or a name.

    Raises:
        DataError: The file is missing, empty or not UTF-8 text, or its rows are not as long as its header.
    """
    if path.suffix.lower() == ".csv":
        _, cells = read_table(path)
        rows = [json.dumps({name: cell_value(cell) for name, cell in row.items()}) for row in cells]
    else:
        try:
            lines = read_text(path).splitlines()
        except (OSError, ValueError) as error:
            raise DataError(f"cannot read {path}: {error_words(error)}") from None
        rows = [line.strip() for line in lines if line.strip()]
    if not rows:
        raise DataError(f"{path} holds no architecture")
    return rows


def read_table(path: Path) -> tuple[list[str], list[dict[str, str]]]:
    """The header of a CSV file, and its rows by it.

    Raises:
        DataError: The file is missing or not UTF-8 text, names a column twice, or has a row of another length.
    """
    try:
        return read_csv(path)
    except OSError as error:
        raise DataError(f"cannot read {path}: {error_words(error)}") from None
    except ValueError as error:
        raise DataError(f"{path}: {error}") from None


def cell_value(cell: str) -> Any:
    """What stands in a cell: a number, true or false, a text, or several of them, separated by spaces, as a list."""
    parts = [_scalar(part) for part in cell.split()]
    return parts[0] if len(parts) == 1 else parts


def _scalar(text: str) -> int | float | str | bool:
    for convert in (int, float):
        try:
            value = convert(text)
            if math.isfinite(value):
                return value
        except (ValueError, OverflowError):
            continue
    return {"true": True, "false": False}.get(text.lower(), text)
