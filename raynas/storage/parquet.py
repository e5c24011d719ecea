"""Reading Parquet files of runs."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from raynas.storage.files import read_bytes


@contextmanager
def parquet_file(path: Path) -> Iterator[pq.ParquetFile]:
    """A Parquet file as it is now, whoever replaces it meanwhile.

    Raises:
        OSError: It is missing or cannot be read.
        pa.ArrowException: It is damaged.
    """
    with pq.ParquetFile(pa.BufferReader(_in_arrows_memory(read_bytes(path)))) as file:
        yield file


def read_parquet(path: Path, schema_of: Callable[[Iterable[str]], pa.Schema] | None = None) -> pa.Table:
    """A Parquet file as a table.

    Args:
        path: The file.
        schema_of: Gives the columns of the table, from the names of those in the file; what the file lacks is null.
            Default: the columns of the file.

    Raises:
        OSError: It is missing or cannot be read.
        pa.ArrowException: It is damaged, or has a column of another type.
    """
    with parquet_file(path) as file:
        table = file.read()
    if schema_of is None:
        return table
    schema = schema_of(table.column_names)
    columns = [
        table[field.name].cast(field.type) if field.name in table.column_names else pa.nulls(len(table), field.type)
        for field in schema
    ]
    return pa.table(columns, schema=schema)


def _in_arrows_memory(content: bytes) -> pa.Buffer:
    """A copy that Arrow's threads may let go of at any time.

    They do so after a table has been read; were it Python's memory, and the process ended in that moment, it would be
    aborted (apache/arrow issue 34314).
    """
    stream = pa.BufferOutputStream()
    stream.write(content)
    return stream.getvalue()
