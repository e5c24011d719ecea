"""Truth tables: architectures with what they reached once trained, read from CSV and kept in a run folder.

A truth table has a column for each field of an architecture, with lists separated by spaces, and any number of others;
those that hold numbers can serve as labels. Rows of one architecture, such as several trainings of it, become one with
the mean of their labels. An empty cell, or `nan`, is a label that this row does not have.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pyarrow as pa

from raynas.errors import ConfigError, DataError, SpaceError, StoreError, UnknownNameError, error_words
from raynas.seeds import seed_from
from raynas.space.architecture import Architecture
from raynas.space.fields import Choice
from raynas.space.search_space import SearchSpace
from raynas.storage.files import write_atomically
from raynas.storage.parquet import read_parquet, write_parquet
from raynas.storage.tables import cell_value, read_table

MIN_ROWS = 4
"""The least number of architectures; fewer say nothing of an order."""

DEPTH, WIDTH = "depth", "width"
"""Counts that serve as baselines: blocks in all, and the width from which others follow."""

_LABEL = "label."
_NO_VALUE = ("", "nan", "na", "null", "none")


@dataclass(frozen=True)
class Truth:
    """A truth table.

    Args:
        architectures: (A,) the architectures of the table, each of them once.
        texts: (A,) the architectures in the space's own text.
        rows: (A,) the row of the file, from 1, in which each architecture stands first.
        merged: (A,) how many rows of the file each stands for.
        labels: (A,) values of each label by name, NaN where there is none: every column of the file that holds numbers
            and no field.
        counts: (A,) depth and width by name, where the space says what they are.
        total: Architectures in the file, of which these may be a sample.
    """

    architectures: tuple[Architecture, ...]
    texts: tuple[str, ...]
    rows: np.ndarray
    merged: np.ndarray
    labels: Mapping[str, np.ndarray]
    counts: Mapping[str, np.ndarray]
    total: int

    def __len__(self) -> int:
        return len(self.architectures)

    def sampled(self, count: int, seed: int) -> Truth:
        """This many of the architectures, drawn by the seed, in the order of the file; all, if there are no more."""
        rng = np.random.default_rng(seed_from(seed, "rows"))
        chosen = np.sort(rng.permutation(len(self))[:count])
        return replace(
            self,
            architectures=tuple(self.architectures[i] for i in chosen),
            texts=tuple(self.texts[i] for i in chosen),
            rows=self.rows[chosen],
            merged=self.merged[chosen],
            labels={name: column[chosen] for name, column in self.labels.items()},
            counts={name: column[chosen] for name, column in self.counts.items()},
        )

    def label(self, name: str, where: str) -> np.ndarray:
        """A column that can serve as a label.

        Args:
            name: The name of the column in the table.
            where: The table in words, for messages.

        Raises:
            UnknownNameError: There is no such column; the message lists those there are.
            DataError: It is constant, or has a value in fewer than four rows.
        """
        if name not in self.labels:
            known = ", ".join(one for one, column in self.labels.items() if np.isfinite(column).any()) or "none"
            raise UnknownNameError(f"{where} has no label {name!r}. Columns of numbers that are no field: {known}")
        values = self.labels[name][np.isfinite(self.labels[name])]
        if len(values) < MIN_ROWS:
            raise DataError(
                f"label {name!r} of {where} has a value for {len(values)} architectures; at least {MIN_ROWS} are needed"
            )
        if values.min() == values.max():
            raise DataError(f"label {name!r} of {where} is constant: {values[0]:g} for all of {len(values)}")
        return self.labels[name]


def read_truth(path: Path, space: SearchSpace, labels: Sequence[str] = ()) -> Truth:
    """Read a CSV file.

    Args:
        path: The CSV file.
        space: The space whose fields the table has as columns.
        labels: Columns that must hold numbers; others that hold something else are left out.

    Raises:
        DataError: It is missing, not a table, lacks a column for a field, has fewer than four architectures, or a label
            that is no number.
        SpaceError: An architecture cannot be read or not be built; the message names its row.
    """
    header, rows = read_table(path)
    if missing := [name for name in space.fields if name not in header]:
        raise DataError(
            f"{path} has no column {', '.join(map(repr, missing))}; architectures of {space.name} have the fields "
            f"{', '.join(space.fields)}; the table has {', '.join(header) or 'none'}"
        )
    found: dict[Architecture, list[int]] = {}
    for i, row in enumerate(rows):
        try:
            architecture = space.read({name: _field(row[name], entry) for name, entry in space.fields.items()})
        except SpaceError as error:
            raise SpaceError(f"row {i + 1} of {path}: {error}") from None
        found.setdefault(architecture, []).append(i)
    if len(found) < MIN_ROWS:
        raise DataError(f"{path} has {len(found)} architectures; at least {MIN_ROWS} are needed")
    columns = {}
    for name in (name for name in header if name not in space.fields):
        try:
            columns[name] = np.array([_number(row[name]) for row in rows])
        except ValueError:
            if name in labels:
                raise _not_a_number(path, name, rows) from None
    groups = list(found.values())
    return Truth(
        tuple(found),
        tuple(space.text(architecture) for architecture in found),
        np.array([group[0] + 1 for group in groups]),
        np.array([len(group) for group in groups]),
        {name: _means(column, groups) for name, column in columns.items()},
        counts_of(space, tuple(found)),
        len(found),
    )


def counts_of(space: SearchSpace, architectures: Sequence[Architecture]) -> dict[str, np.ndarray]:
    """Depth and width of architectures, where the space says which fields they are, or calls them depth and embed_dim.

    Depth is the number of blocks of all stages; of several widths, it is the largest.
    """
    depth, width = (space.growth.depth, space.growth.width) if space.growth else ("depth", "embed_dim")
    counts = {}
    for name, field, total in ((DEPTH, depth, sum), (WIDTH, width, max)):
        values = [_numbers_in(architecture[field]) if field in architecture else [] for architecture in architectures]
        if all(values):
            counts[name] = np.array([total(numbers) for numbers in values], float)
    return counts


def write_truth(path: Path, truth: Truth) -> None:
    """Keep a truth table as Parquet.

    Raises:
        StoreError: It cannot be written.
    """
    table = pa.table(
        {
            "row": truth.rows,
            "merged": truth.merged,
            "architecture_key": [architecture.key for architecture in truth.architectures],
            "architecture": [architecture.to_json() for architecture in truth.architectures],
            "text": list(truth.texts),
            **truth.counts,
            **{f"{_LABEL}{name}": column for name, column in truth.labels.items()},
        }
    )
    try:
        with write_atomically(path) as file:
            write_parquet(file, table.replace_schema_metadata({"total": str(truth.total)}))
    except OSError as error:
        raise StoreError(f"cannot write {path}: {error_words(error)}") from error


def load_truth(path: Path) -> Truth:
    """Read what `write_truth` wrote.

    Raises:
        StoreError: It is missing or damaged.
    """
    try:
        table = read_parquet(path)
        names = table.column_names
        return Truth(
            tuple(map(Architecture.from_json, table["architecture"].to_pylist())),
            tuple(table["text"].to_pylist()),
            table["row"].to_numpy(),
            table["merged"].to_numpy(),
            {name.removeprefix(_LABEL): table[name].to_numpy() for name in names if name.startswith(_LABEL)},
            {name: table[name].to_numpy() for name in (DEPTH, WIDTH) if name in names},
            int((table.schema.metadata or {})[b"total"]),
        )
    except (OSError, LookupError, TypeError, ValueError, pa.ArrowException) as error:
        raise StoreError(f"cannot read {path}: {error_words(error)}") from None


def strata(architectures: Sequence[Architecture], field: str, space: SearchSpace) -> list[str]:
    """The value of a field of each architecture, as text.

    Raises:
        ConfigError: The space has no such field.
    """
    if field not in space.fields:
        raise ConfigError(f"{space.name} has no field {field!r} to look within; its fields: {', '.join(space.fields)}")
    return [stratum(architecture, field) for architecture in architectures]


def stratum(architecture: Architecture, field: str) -> str:
    """The value of a field as text, a list with spaces."""
    value = architecture[field]
    return " ".join(map(str, value)) if isinstance(value, tuple) else str(value)


def _field(cell: str, entry: object) -> object:
    """A cell as the field wants it: a list of one value is a list too."""
    value = cell_value(cell)
    return value if isinstance(entry, Choice) or isinstance(value, list) else [value]


def _numbers_in(value: object) -> list[float]:
    """A number, or a list of numbers, as a list; empty for anything else."""
    values = value if isinstance(value, tuple) else (value,)
    is_number = all(isinstance(one, int | float) and not isinstance(one, bool) for one in values)
    return [float(one) for one in values] if is_number else []


def _number(cell: str) -> float:
    """A label, NaN for a cell without one; ValueError for anything that is no finite number."""
    if cell.strip().lower() in _NO_VALUE:
        return math.nan
    value = float(cell)
    if not math.isfinite(value):
        raise ValueError(cell)
    return value


def _not_a_number(path: Path, name: str, rows: Sequence[Mapping[str, str]]) -> DataError:
    for number, row in enumerate(rows, 1):
        try:
            _number(row[name])
        except ValueError:
            return DataError(f"label {name!r} of {path} is no number in row {number}: {row[name]!r}")
    raise AssertionError(name)


def _means(column: np.ndarray, groups: Sequence[Sequence[int]]) -> np.ndarray:
    """The mean of each group's values, NaN if it has none."""
    return np.array(
        [known.mean() if len(known := (rows := column[group])[~np.isnan(rows)]) else math.nan for group in groups]
    )
