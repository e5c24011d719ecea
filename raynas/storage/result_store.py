"""Results on disk: immutable Parquet parts with one schema, written by one driver.

A part is written under a temporary name, synced and renamed, so a reader sees it whole or not at all. As small parts
become many they are merged into one, whose name covers the numbers of those it replaces; a crash in between leaves
both, and the covered ones are ignored.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, fields
from pathlib import Path
from time import monotonic
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from raynas.errors import RaynasWarning, StoreError, error_words, on_one_line
from raynas.space.architecture import Architecture
from raynas.space.results import Outcome, Platform, ScoreIdentity, Status
from raynas.storage.files import (
    exists,
    files_of,
    is_folder,
    make_folder,
    move,
    names_in,
    remove,
    write_atomically,
    write_mark,
)
from raynas.storage.locks import held
from raynas.storage.parquet import is_sealed, metadata_of, parquet_file, write_parquet
from raynas.storage.part_order import (
    Place,
    StoredPart,
    is_temporary,
    late,
    place_of,
    places_of,
    uncovered,
    without_repeated,
)
from raynas.storage.paths import ObjectPath, as_path
from raynas.storage.row_rules import check_rows
from raynas.storage.run_folder import holds_run, kind_of, read_description

_TEXT = pa.dictionary(pa.int32(), pa.string())
SCHEMA = pa.schema(
    [
        ("candidate", pa.int64()),  # that asked for it first
        ("architecture_key", pa.string()),
        ("architecture", pa.string()),  # canonical JSON
        ("space", _TEXT),
        ("img_size", pa.int32()),
        ("num_classes", pa.int32()),
        ("model_version", pa.int32()),
        ("proxy", _TEXT),
        ("proxy_version", pa.int32()),
        ("settings", _TEXT),  # canonical JSON
        ("repeats", pa.int32()),
        ("init", _TEXT),
        ("dtype", _TEXT),
        ("score_seed", pa.int64()),
        ("input_hash", _TEXT),
        # What scores are computed with; empty and 0 of costs, null in rows of before these columns were kept.
        ("device_type", _TEXT),
        ("threads", pa.int32()),
        ("libraries", _TEXT),
        ("value", pa.float64()),  # null unless the status is ok
        ("status", _TEXT),
        ("error", pa.string()),
        ("seconds", pa.float64()),
        ("build_seconds", pa.float64()),  # within seconds: building the network and drawing its weights
        ("reused", pa.bool_()),  # taken from another run
    ]
)
_PLATFORM = tuple(field.name for field in fields(Platform))
_SCHEMA_OF_BEFORE = pa.schema([field for field in SCHEMA if field.name not in _PLATFORM])
TIMING_COLUMNS = ("seconds", "build_seconds")
REUSABLE = (Status.OK, Status.NON_FINITE, Status.NOT_APPLICABLE)
"""Statuses that say something of the architecture, and nothing of the machine it was scored on."""
_MERGED_PARTS = 32
_FULL_PART_ROWS = 65_536
_READERS = 8
_FLUSHED_EVERY_S = 1.0


class ResultStore:
    """The writer's side of a run folder's `evaluations/`; holds the folder's lock until closed.

    Args:
        folder: The run folder; created if missing.
        identities: One per score, in the order in which `append` numbers them.
        check: Called when the folder is locked and nothing has been read; raises to refuse it.
        platform: What the scores that the folder holds were computed with; None: not known, of a folder of before.

    Raises:
        StoreError: Another process holds the folder, or it cannot be written.
    """

    def __init__(
        self,
        folder: Path,
        identities: Sequence[ScoreIdentity],
        check: Callable[[], None] = lambda: None,
        *,
        platform: Platform | None = None,
    ) -> None:
        self.folder = folder
        self.identities = tuple(identities)
        self.platforms = (Platform(),) * len(self.identities)
        """What each score is computed with, which may be known only after the folder is held."""
        self.set_aside: list[str] = []
        self.missing: list[str] = []
        self._parts_folder = folder / "evaluations"
        self._lock = held(folder, self._parts_folder)
        try:
            check()
            self._parts, loaded = self._take_stock(platform)
        except BaseException:
            self._lock.close()
            raise
        self._loaded: list[pa.Table] | None = loaded
        self._next = self._began = 1 + max((part.place.last for part in self._parts), default=-1)
        # That of the parts, in a folder that was copied to where a lock has none.
        self._epoch = max([self._lock.epoch or 0, *(part.place.epoch for part in self._parts)])
        self._flushed = -math.inf
        self._pending: list[tuple[int, Architecture, Mapping[int, Outcome], bool]] = []

    def take_loaded(self) -> pa.Table:
        """The rows found on disk when the store was opened; the store then forgets them."""
        tables, self._loaded = self._loaded or [], None
        return pa.concat_tables([SCHEMA.empty_table(), *tables])

    def append(
        self, candidate: int, architecture: Architecture, outcomes: Mapping[int, Outcome], *, reused: bool = False
    ) -> None:
        """Keep rows for the next flush: outcomes by the number of their identity."""
        self._pending.append((candidate, architecture, outcomes, reused))

    def flush(self) -> None:
        """Put all kept rows on disk.

        Raises:
            StoreError: The disk is full or the folder read-only; earlier parts are intact, and nothing half-written
                is left.
        """
        if not self._pending:
            return
        self._write(self._table(), self._next, self._next)
        self._flushed = monotonic()
        self._next += 1
        self._pending.clear()
        self._merge_small_parts()

    @property
    def was_flushed_just_now(self) -> bool:
        """Whether the last flush is so recent that the next one may wait: never on a disk, a second in a store."""
        return isinstance(self.folder, ObjectPath) and monotonic() - self._flushed < _FLUSHED_EVERY_S

    def close(self) -> None:
        """Release the folder; rows that were not flushed are dropped."""
        self._lock.close()

    def _table(self) -> pa.Table:
        rows = [(i, number, outcome) for i, entry in enumerate(self._pending) for number, outcome in entry[2].items()]
        owner = pa.array([row[0] for row in rows], pa.int32())
        number = pa.array([row[1] for row in rows], pa.int32())
        outcomes = [row[2] for row in rows]
        columns: dict[str, Any] = {
            "candidate": pa.array([entry[0] for entry in self._pending], pa.int64()).take(owner),
            "architecture_key": pa.array([entry[1].key for entry in self._pending], pa.string()).take(owner),
            "architecture": pa.array([entry[1].to_json() for entry in self._pending], pa.string()).take(owner),
            "reused": pa.array([entry[3] for entry in self._pending], pa.bool_()).take(owner),
            "value": pa.array([outcome.value for outcome in outcomes], pa.float64()),
            "status": pa.array([outcome.status for outcome in outcomes], pa.string()).cast(_TEXT),
            "error": pa.array([outcome.error for outcome in outcomes], pa.string()),
            "seconds": pa.array([outcome.seconds for outcome in outcomes], pa.float64()),
            "build_seconds": pa.array([outcome.build_seconds for outcome in outcomes], pa.float64()),
        }
        parts = [asdict(one) | asdict(on) for one, on in zip(self.identities, self.platforms, strict=True)]
        for name in parts[0]:
            values = pa.array([part[name] for part in parts], _plain(SCHEMA.field(name).type))
            columns[name] = values.take(number).cast(SCHEMA.field(name).type)
        return pa.table([columns[name] for name in SCHEMA.names], schema=SCHEMA)

    def _write(self, table: pa.Table, first: int, last: int) -> None:
        place = Place(first, last, self._epoch, self._began if self._epoch else None)
        path = self._parts_folder / place.name
        try:
            with write_atomically(path, once=True) as file:
                write_parquet(file, table, place.metadata)
        except OSError as error:
            raise StoreError(f"cannot write results to {self._parts_folder}: {error_words(error)}") from error
        self._parts.append(StoredPart(place, path, table.num_rows))

    def _merge_small_parts(self) -> None:
        small: list[StoredPart] = []
        for part in reversed(self._parts):
            if part.rows >= _FULL_PART_ROWS:
                break
            small.insert(0, part)
        if len(small) < _MERGED_PARTS:
            return
        try:
            with ThreadPoolExecutor(_READERS) as readers:  # each waits, where the parts are far away
                tables = [table for _, table in readers.map(_read_part, (part.path for part in small))]
        except (StoreError, pa.ArrowException, OSError) as error:
            warnings.warn(
                f"parts of {self._parts_folder} are left unmerged: {error_words(error)}", RaynasWarning, stacklevel=2
            )
            return
        merged = pa.concat_tables(tables).unify_dictionaries()
        self._parts = self._parts[: -len(small)]
        self._write(merged, small[0].place.first, small[-1].place.last)
        remove(*(part.path for part in small))

    def _take_stock(self, platform: Platform | None) -> tuple[list[StoredPart], list[pa.Table]]:
        """The sound parts and their rows; files that are none are set aside, covered and temporary ones removed."""
        sound: list[tuple[StoredPart, pa.Table]] = []
        for name in names_in(self._parts_folder):
            path = self._parts_folder / name
            if is_temporary(name):
                remove(path)
            if name.startswith("."):
                continue  # of this store's writer, killed; or of a file system or an editor
            try:
                part, table = _read_part(path)
                if not self._is_own(table):
                    raise StoreError("it holds scores of another run")
                if platform is not None and not _is_on(table, platform):
                    raise StoreError("it holds scores that were computed on another platform")
                sound.append((part, table))
            except (StoreError, pa.ArrowException, OSError) as error:
                self.set_aside.append(f"{name}: {error_words(error)}")
                self._set_aside(path)
        too_late = late([part for part, _ in sound])
        for part in too_late:
            self._take_away(part, "it was written by a process that had lost the folder")
        sound = [(part, table) for part, table in sound if part not in too_late]
        kept = uncovered([part for part, _ in sound])
        remove(*(part.path for part, _ in sound if part not in kept))
        found = without_repeated([(part, table) for part, table in sound if part in kept], self._take_away)
        self._note_gaps([part for part, _ in found])
        return [part for part, _ in found], [table for _, table in found]

    def _take_away(self, part: StoredPart, reason: str) -> None:
        self.set_aside.append(f"{part.path.name}: {reason}")
        self._set_aside(part.path)

    def _note_gaps(self, parts: Sequence[StoredPart]) -> None:
        """Name the parts that are neither there nor were set aside, and leave a mark there, so that it is said once."""
        aside = self.folder / "set_aside"
        known = [part.place for part in parts] + places_of(names_in(aside) if is_folder(aside) else ())
        expected = 0
        for first, last in sorted((place.first, place.last) for place in known):
            if first > expected:
                name = Place(expected, first - 1).name
                self.missing.append(name.removesuffix(".parquet"))
                make_folder(aside)
                write_mark(aside / f"{name}.missing")
            expected = max(expected, last + 1)

    def vanished(self) -> list[str]:
        """Names of parts that this store has read or written, and that are not there any more."""
        there = set(names_in(self._parts_folder))
        return [part.path.name for part in self._parts if part.path.name not in there]

    def _set_aside(self, path: Path) -> None:
        aside = self.folder / "set_aside"
        make_folder(aside)
        name, number = path.name, 1
        while exists(aside / name):  # numbers of parts are used again
            name, number = f"{path.name}.{number}", number + 1
        move(path, aside / name)

    def _is_own(self, table: pa.Table) -> bool:
        """Whether all rows have one of the run's identities."""
        return len(table) == sum(_num_rows_of(table, identity) for identity in self.identities)


def _is_on(table: pa.Table, platform: Platform) -> bool:
    """Whether all rows were computed with a platform, by the clock or not, are counts, or do not say it."""
    told = table.filter(pc.and_(pc.is_valid(table["device_type"]), pc.not_equal(table["device_type"], "")))
    return len(told) == sum(_num_rows_of(told, one) for one in {platform, platform.of_arithmetic})


def read_evaluations(folder: Path, columns: Sequence[str] | None = None) -> pa.Table:
    """All rows of a run folder, which may be one that is being written.

    Damaged files are skipped with a warning; only the run's own driver sets them aside.

    Raises:
        StoreError: The folder holds no run.
    """
    parts_folder = as_path(folder) / "evaluations"
    if not is_folder(parts_folder) and (files_of(folder).has_folders or not _is_begun(folder)):
        raise StoreError(f"{folder} holds no run: it has no evaluations/ folder")
    sound = None
    while sound is None:
        sound = _read_all(parts_folder, columns)
    parts = [part for part, _ in sound]
    too_late = late(parts)
    kept = uncovered([part for part in parts if part not in too_late])
    schema = SCHEMA if columns is None else pa.schema([SCHEMA.field(name) for name in columns])
    found = [(part, table) for part, table in sound if part in kept]
    if columns is None:
        found = without_repeated(found, _warn)
    tables = [table for _, table in found]
    return pa.concat_tables([schema.empty_table(), *tables]).unify_dictionaries()


def _is_begun(folder: Path) -> bool:
    """Whether there is a search in a folder, which may have no parts yet."""
    return holds_run(folder) and kind_of(read_description(folder)) == "search"


def _read_all(parts_folder: Path, columns: Sequence[str] | None) -> list[tuple[StoredPart, pa.Table]] | None:
    """The sound parts; None if the writer has merged some of them since they were listed."""
    sound: list[tuple[StoredPart, pa.Table]] = []
    for name in names_in(parts_folder):
        if name.startswith("."):
            continue
        path = parts_folder / name
        try:
            sound.append(_read_part(path, columns))
        except FileNotFoundError:
            if name not in names_in(parts_folder):
                return None
            warnings.warn(on_one_line(f"skipped {path}: it is a link to nothing"), RaynasWarning, stacklevel=3)
        except (StoreError, pa.ArrowException, OSError) as error:
            warnings.warn(on_one_line(f"skipped {path}: {error_words(error)}"), RaynasWarning, stacklevel=3)
    return sound


def rows_of(table: pa.Table, key: ScoreIdentity | Platform) -> pa.Table:
    """The rows with this identity, or that were computed with this platform."""
    return table.filter(_is_of(table, key))


def _num_rows_of(table: pa.Table, key: ScoreIdentity | Platform) -> int:
    return pc.sum(_is_of(table, key)).as_py() or 0


def _is_of(table: pa.Table, key: ScoreIdentity | Platform) -> pa.ChunkedArray:
    mask = None
    for name, value in asdict(key).items():
        equal = pc.equal(table[name], pa.scalar(value, _plain(SCHEMA.field(name).type)))
        mask = equal if mask is None else pc.and_(mask, equal)
    return mask


def _read_part(path: Path, columns: Sequence[str] | None = None) -> tuple[StoredPart, pa.Table]:
    place = place_of(path.name)
    if place is None:
        raise StoreError("not a part of this store")
    with parquet_file(path) as file:
        if not any(file.schema_arrow.equals(schema) for schema in (SCHEMA, _SCHEMA_OF_BEFORE)):
            raise StoreError("its columns are not those of a result store")
        place = place.said_by(metadata_of(file))
        wanted = SCHEMA.names if columns is None else list(columns)
        there = None if columns is None else [name for name in wanted if name in file.schema_arrow.names]
        table = file.read(columns=there).replace_schema_metadata(None)
        for field in map(SCHEMA.field, wanted):
            if field.name not in table.column_names:  # a part of before
                table = table.append_column(field, pa.nulls(len(table), field.type))
        table = table.select(wanted)
        check_rows(table, are_as_written=is_sealed(file))
        return StoredPart(place, path, file.metadata.num_rows), table


def _warn(part: StoredPart, reason: str) -> None:
    warnings.warn(on_one_line(f"skipped {part.path}: {reason}"), RaynasWarning, stacklevel=4)


def _plain(type_: pa.DataType) -> pa.DataType:
    return type_.value_type if pa.types.is_dictionary(type_) else type_


def values_by_architecture(table: pa.Table, names: Iterable[str]) -> pa.Table:
    """One row per architecture: its first candidate number, JSON, and a column per score, null without a value."""
    names = list(names)
    order = (
        table.select(["architecture_key", "candidate", "architecture"])
        .group_by("architecture_key")
        .aggregate([("candidate", "min"), ("architecture", "min")])
    )
    wide = order.rename_columns(["architecture_key", "candidate", "architecture"])
    for name in names:
        chosen = table.filter(pc.equal(table["proxy"], name)).select(["architecture_key", "value"])
        wide = wide.join(chosen.rename_columns(["architecture_key", name]), "architecture_key", join_type="left outer")
    return wide.sort_by("candidate")
