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


def check_rows(table: pa.Table) -> None:
    """Refuse rows that no run writes.

    Args:
        table: Rows with the columns of `raynas.storage.result_store.SCHEMA`, or with some of them.

    Raises:
        StoreError: A status is none; a row is ok without a finite value, or has one without being ok; or an
            architecture is not the one of its key. The message names the first such row, from 0.
    """
    names = set(table.column_names)
    if "status" in names:
        _check_statuses(table)
    if {"status", "value"} <= names:
        _check_values(table)
    if {"architecture_key", "architecture"} <= names:
        _check_keys(table)


def repeated_rows(table: pa.Table) -> int:
    """How many rows have the key of another one."""
    # Of two parts of the key alone, no two rows of a run are the same; only where some are, all parts are looked at.
    return _num_repeated(table, ("architecture_key", "proxy")) and _num_repeated(table, _KEY)


def _num_repeated(table: pa.Table, names: Sequence[str]) -> int:
    keys = table.select(list(names)).unify_dictionaries()  # Arrow groups by no others
    return len(table) - len(keys.group_by(list(names), use_threads=False).aggregate([]))


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
