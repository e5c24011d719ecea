"""What two commits came to, compared bit by bit.

Results are files, as `carrying_out.py` writes them. Numbers are equal if they are the same number to the last bit:
0.0 is not -0.0, 1 is not 1.0, and a value is not a missing one.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import load_file

LEFT_OUT = (
    # How long it took.
    "seconds",
    "build_seconds",
    "evaluations_per_s",
    "driver_seconds",
    "worker_seconds",
    "train_s",
    "data_wait_s",
    "eval_s",
    "images_per_s",
    # When, where and with what.
    "started",
    "machine",
    "versions",
    "platform",
    "device_type",
    "threads",
    "libraries",
)
"""Columns and fields that are not compared, wherever they stand."""

REPORTED = ("error", "description")
"""Fields, and files of this name, whose differences are reported and count for nothing: texts for people, and
settings, which come to the same where results do. So are all differences of .txt files."""


ADDED = ("summary.measure", "summary.value", "summary.best_value")
"""Fields that the old side may lack: they say again what other fields and the table say, which are compared."""


@dataclass
class Comparison:
    """What was found.

    Args:
        values: How many numbers and texts were compared.
        differences: A line on each that is not equal.
        remarks: A line on each that may differ.
    """

    values: int = 0
    differences: list[str] = field(default_factory=list)
    remarks: list[str] = field(default_factory=list)

    @property
    def is_equal(self) -> bool:
        """Something was compared, and all of it is equal."""
        return self.values > 0 and not self.differences


def compare(old: Path, new: Path, left_out: Collection[str] = LEFT_OUT) -> Comparison:
    """Compare the results in two folders.

    Args:
        old, new: Folders with files of the same names.
        left_out: Fields and columns that are not compared.
    """
    found = Comparison()
    names = {path.name for folder in (old, new) if folder.is_dir() for path in folder.iterdir()}
    for name in sorted(names):
        stem, _, kind = name.rpartition(".")
        lines = found.remarks if kind == "txt" or stem in REPORTED else found.differences
        paths = (old / name, new / name)
        if missing := [side for side, path in zip(("old", "new"), paths, strict=True) if not path.exists()]:
            lines.append(f"{name} is missing on the {missing[0]} side")
        elif kind == "json":
            values = [json.loads(path.read_text()) for path in paths]
            _compare_values(stem, values[0], values[1], found, lines, left_out)
        elif kind == "safetensors":
            _compare_tensors(stem, *paths, found)
        else:
            lines += _of_texts(stem, *(path.read_text() for path in paths))
    return found


def _compare_values(
    name: str, old: Any, new: Any, found: Comparison, lines: list[str], left_out: Collection[str]
) -> None:
    """Compare nested lists and mappings; `lines` takes what is not equal."""
    if isinstance(old, dict) and isinstance(new, dict):
        for key in dict.fromkeys([*old, *new]):
            if key in left_out:
                continue
            inner = f"{name}.{key}"
            if key not in old or key not in new:
                is_added = key not in old and inner in ADDED
                said = f"{inner} is missing on the {'old' if key not in old else 'new'} side"
                (found.remarks if is_added else lines).append(said)
                continue
            _compare_values(inner, old[key], new[key], found, found.remarks if key in REPORTED else lines, left_out)
    elif isinstance(old, list) and isinstance(new, list):
        if len(old) != len(new):
            lines.append(f"{name} has {len(old)} entries, now {len(new)}")
        for number, (one, other) in enumerate(zip(old, new, strict=False)):
            _compare_values(f"{name}[{number}]", one, other, found, lines, left_out)
    else:
        if lines is found.differences:
            found.values += 1
        if _bits(old) != _bits(new):
            lines.append(f"{name} was {_shown(old)}, now {_shown(new)}")


def _bits(value: Any) -> tuple[type, Any]:
    """Two values are the same if these are."""
    return type(value), value.hex() if isinstance(value, float) else value


def _shown(value: Any) -> str:
    text = f"{value!r} ({value.hex()})" if isinstance(value, float) else repr(value)
    return text if len(text) <= _MOST_SHOWN else f"{text[:_MOST_SHOWN]}..."


_MOST_SHOWN = 100


def _compare_tensors(name: str, old: Path, new: Path, found: Comparison) -> None:
    """Compare two files of tensors: all of their bytes, and where these differ, which tensor is the first."""
    before, after = load_file(old), load_file(new)
    found.values += sum(tensor.size for tensor in before.values())
    if old.read_bytes() == new.read_bytes():
        return
    lines = list(_of_tensors(name, before, after))
    found.differences += lines or [f"{name}: files differ in order or metadata, not in tensors"]


def _of_tensors(name: str, old: dict[str, np.ndarray], new: dict[str, np.ndarray]) -> Iterator[str]:
    for key in dict.fromkeys([*old, *new]):
        if key not in old or key not in new:
            yield f"{name}.{key} is missing on the {'old' if key not in old else 'new'} side"
            continue
        one, other = old[key], new[key]
        if (one.shape, one.dtype) != (other.shape, other.dtype):
            yield f"{name}.{key} was {one.dtype} {one.shape}, now {other.dtype} {other.shape}"
        elif one.tobytes() != other.tobytes():
            bits = [np.frombuffer(tensor.tobytes(), np.uint8).reshape(one.size, -1) for tensor in (one, other)]
            differ = np.flatnonzero((bits[0] != bits[1]).any(axis=1))
            first = int(differ[0])
            place = tuple(int(i) for i in np.unravel_index(first, one.shape))
            yield (
                f"{name}.{key}{list(place)} was {_shown(one.reshape(-1)[first].item())}, now "
                f"{_shown(other.reshape(-1)[first].item())}; {len(differ)} of {one.size} differ"
            )


def _of_texts(name: str, old: str, new: str) -> Iterator[str]:
    """A line on the first line that differs."""
    if old == new:
        return
    before, after = old.splitlines(), new.splitlines()
    pairs = list(zip(before, after, strict=False))
    first = next((number for number, (one, other) in enumerate(pairs) if one != other), len(pairs))
    shown = [_shown(lines[first]) if first < len(lines) else "nothing" for lines in (before, after)]
    yield f"{name} differs from line {first + 1}: {shown[0]}, now {shown[1]}"
