"""What must hold of stored rows, whoever wrote them."""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import blake2b

import pyarrow as pa
import pyarrow.compute as pc

from raynas.errors import StoreError
from raynas.space.results import Status

_KEY = ("architecture_key", "space", "img_size", "num_classes", "model_version", "proxy", "proxy_version", "settings",
        "repeats", "init", "dtype", "score_seed", "input_hash")  # fmt: skip


_MAY_BE_NULL = ("value", "error", "device_type", "threads", "libraries")


def check_rows(table: pa.Table, *, are_as_written: bool = False) -> None:
    """Refuse rows that no run writes.

    Args:
        table: Rows with the columns of `raynas.storage.result_store.SCHEMA`, or with some of them.
        are_as_written: Whether a checksum says that the rows are those of who has written them. Keys are then not
            computed anew: they are a checksum as well, and whoever forges one forges the other.

    Raises:
        StoreError: A row lacks what all have; a status is none; a row is ok without a finite value, or has one without
            being ok; or an architecture is not the one of its key. The message names the first such row, from 0.
    """
    names = set(table.column_names)
    if "status" in names:
        _check_statuses(table)
    if {"status", "value"} <= names:
        _check_values(table)
    if {"architecture_key", "architecture"} <= names and not are_as_written:
        _check_keys(table)
    for name in table.column_names:
        if name not in _MAY_BE_NULL and table[name].null_count:
            row = pc.index(pc.is_null(table[name]), True).as_py()
            raise StoreError(f"its row {row} has no {name}")


def has_repeated_rows(table: pa.Table) -> bool:
    """Whether a row has the key of another one."""
    # Of two parts of the key alone, no two rows of a run are the same; only where some are, all parts are looked at.
    return _is_repeated(table, ("architecture_key", "proxy")) and _is_repeated(table, _KEY)


def _is_repeated(table: pa.Table, names: Sequence[str]) -> bool:
    """Whether two rows are equal in all of some columns."""
    keys = table.select(list(names)).unify_dictionaries()  # Arrow groups by no others
    return len(keys.group_by(list(names), use_threads=False).aggregate([])) < len(table)


def _check_statuses(table: pa.Table) -> None:
    known = pa.array([str(status) for status in Status])
    for status in pc.unique(table["status"].cast(pa.string())).to_pylist():
        if status not in known.to_pylist():
            raise StoreError(f"it has a row of the status {status!r:.40}, which there is not")


def _check_values(table: pa.Table) -> None:
    is_ok = pc.equal(table["status"].cast(pa.string()), str(Status.OK))
    has_value = pc.fill_null(pc.is_finite(table["value"]), False)
    wrong = pc.or_(pc.xor(is_ok, has_value), pc.and_(pc.invert(is_ok), pc.is_valid(table["value"])))
    if (row := pc.index(wrong, True).as_py()) >= 0:
        status, value = table["status"][row].as_py(), table["value"][row].as_py()
        raise StoreError(f"its row {row} has the status {status} and the value {value}")


def _check_keys(table: pa.Table) -> None:
    pairs = table.select(["architecture_key", "architecture"]).group_by(["architecture_key", "architecture"])
    distinct = pairs.aggregate([])
    columns = (distinct[name].to_pylist() for name in ("architecture_key", "architecture"))
    for key, text in zip(*columns, strict=True):
        # As `Architecture.key` of the canonical text, which it is if the two agree.
        if text is None or blake2b(text.encode(), digest_size=16).hexdigest() != key:
            raise StoreError(f"an architecture is not the one of its key, {key!r:.40}")
