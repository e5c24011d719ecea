"""Parquet files of runs, which carry a checksum of their contents; those of before have none, and are read."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from hashlib import blake2b
from pathlib import Path
from typing import IO, Any

import pyarrow as pa
import pyarrow.parquet as pq

from raynas.storage.files import read_bytes

_CHECKSUM = b"checksum"


def write_parquet(file: IO[bytes], table: pa.Table, metadata: Mapping[str, str] | None = None) -> None:
    """Write a table into an open file.

    Args:
        file: The file, as `raynas.storage.files.write_atomically` opens it.
        table: The table, with its schema's metadata.
        metadata: What the file is to say of itself beside it.

    Raises:
        OSError: It cannot be written.
    """
    summing = _Summing(file)
    with pq.ParquetWriter(summing, table.schema, compression="zstd") as writer:
        writer.write_table(table)
        # All columns are in the file by now; what follows is the footer, which has the checksum.
        writer.add_key_value_metadata({**(metadata or {}), _CHECKSUM.decode(): summing.digest.hexdigest()})


class _Summing:
    """A file to write into that adds up what passes."""

    closed = False

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self.digest = blake2b(digest_size=16)

    def write(self, data: Any) -> int:
        self.digest.update(data)
        return self._file.write(data)

    def tell(self) -> int:
        return self._file.tell()

    def flush(self) -> None:
        self._file.flush()

    def close(self) -> None:
        """The file is closed by who has opened it."""


@contextmanager
def parquet_file(path: Path) -> Iterator[pq.ParquetFile]:
    """A Parquet file as it is now, whoever replaces it meanwhile.

    Raises:
        OSError: It is missing or cannot be read.
        pa.ArrowException: It is damaged.
    """
    content = read_bytes(path)
    try:
        with pq.ParquetFile(pa.BufferReader(_in_arrows_memory(content))) as file:
            _check_sum(content, metadata_of(file))
            del content  # it is copied
            yield file
    except UnicodeDecodeError as error:  # of names of columns, which Arrow does not look at before
        raise pa.ArrowInvalid(f"its metadata are damaged: {error}") from None


def metadata_of(file: pq.ParquetFile) -> dict[bytes, bytes]:
    """What a file says of itself, beside its schema."""
    return dict(file.metadata.metadata or {})


def is_sealed(file: pq.ParquetFile) -> bool:
    """Whether a file has a checksum of its contents, which was looked at as it was opened."""
    return _CHECKSUM in metadata_of(file)


def _check_sum(content: bytes, said: Mapping[bytes, bytes]) -> None:
    # The last eight bytes are the length of the footer, in four, and a name.
    columns = memoryview(content)[: len(content) - 8 - int.from_bytes(content[-8:-4], "little")]
    if said.get(_CHECKSUM) not in (None, blake2b(columns, digest_size=16).hexdigest().encode()):
        raise pa.ArrowInvalid("its contents are not those that were written: their checksum is another one")


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
