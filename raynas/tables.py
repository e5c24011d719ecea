"""Tables of architectures: CSV with a column per field, or one architecture a line."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

from raynas.errors import DataError


def read_architectures(path: Path) -> list[str]:
    """The architectures of a file, each as text that a space reads.

    Args:
        path: NAME.csv has a header with the names of the fields, and lists separated by spaces; any other file has one
            architecture a line: JSON, the space's own text or a name.

    Raises:
        DataError: The file is missing, empty or not UTF-8 text.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise DataError(f"cannot read {path}: {error.strerror}") from None
    except UnicodeDecodeError as error:
        raise DataError(f"{path} is not UTF-8 text: {error}") from None
    if path.suffix.lower() == ".csv":
        rows = [
            json.dumps({name: _value(cell) for name, cell in row.items()}) for row in csv.DictReader(text.splitlines())
        ]
    else:
        rows = [line.strip() for line in text.splitlines() if line.strip()]
    if not rows:
        raise DataError(f"{path} holds no architecture")
    return rows


def _value(cell: str) -> Any:
    parts = [_scalar(part) for part in cell.split()]
    return parts[0] if len(parts) == 1 else parts


def _scalar(text: str) -> int | float | str:
    for convert in (int, float):
        try:
            return convert(text)
        except ValueError:
            continue
    return text
