"""Images in Parquet tables: one, or several that are one data set together."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from raynas.data.encoded import EncodedImages, Reader
from raynas.data.labels import Classes, numbered, numbered_by_text, without_labels
from raynas.data.options import DataOptions
from raynas.data.schema_names import class_names
from raynas.data.shards import names_of, shards_of
from raynas.errors import DataError, error_words
from raynas.wording import memory_size

_SLICE = 1024  # rows that are decoded from Parquet at a time, since a file may be one single group


def open_parquet(spec: str, where: str, options: DataOptions, left_out: Sequence[str]) -> EncodedImages:
    """Tables with a column of images (encoded bytes, paths, or a struct of both) and, if any, one of labels.

    Labels are integers from 0, or texts or booleans, whose order then numbers the classes. They are held in memory;
    images are read row group by row group, and only where rows are asked for.

    Raises:
        DataError: There are no such tables, or they lack the column, or have one of another type.
    """
    import pyarrow as pa

    paths = shards_of(spec, where, ".parquet")
    try:
        tables = _Tables(spec, paths, options.image_column or "image")
        labels, lacks_labels = tables.labels(options.label_column or "label")
    except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
        raise DataError(f"data {spec!r}: cannot be read as Parquet: {error_words(error)}") from error
    if options.label_column and lacks_labels:
        raise DataError(f"data {spec!r}: {lacks_labels}")
    classes = labels if labels is not None else without_labels(len(tables))
    return EncodedImages(spec, tables, classes, options, lacks_labels=lacks_labels, left_out=left_out)


class _Tables:
    """A store of the images of one or several tables, one after another."""

    def __init__(self, spec: str, paths: Sequence[Path], column: str) -> None:
        import pyarrow.parquet as pq

        self._spec = spec
        self._paths = list(paths)
        self._names = names_of(paths)
        self._column = column
        self._schemas, sizes, self._groups = [], [], []
        self._bytes_needed = 0
        for number, path in enumerate(self._paths):
            with pq.ParquetFile(path) as file:
                self._schemas.append(file.schema_arrow)
                groups = [file.metadata.row_group(i) for i in range(file.num_row_groups)]
            sizes += [group.num_rows for group in groups]
            self._bytes_needed += sum(group.total_byte_size for group in groups)
            self._groups += [(number, group) for group in range(len(groups))]
        self._group_ends = np.cumsum(np.array(sizes, dtype=np.int64))
        files = np.array([number for number, _ in self._groups], dtype=np.int64)
        self._file_ends = np.array([int(np.sum(sizes, where=files <= n)) for n in range(len(self._paths))])
        for name, schema in zip(self._names, self._schemas, strict=True):
            self._check_images(name, schema)
        if not len(self):
            raise DataError(f"data {spec!r}: the table has no rows")
        self._held: Any = None

    def _check_images(self, name: str, schema: Any) -> None:
        import pyarrow as pa

        columns = f"columns: {', '.join(schema.names) or 'none'}"
        place = f" in {name}" if len(self._paths) > 1 else ""
        if self._column not in schema.names:
            hint = "" if not schema.names else "; --image-column names another"
            raise DataError(f"data {self._spec!r}: no column {self._column!r}{place}; {columns}{hint}")
        kind = schema.field(self._column).type
        if kind != self._schemas[0].field(self._column).type:
            raise DataError(f"data {self._spec!r}: column {self._column!r} has another type{place}: {kind}")
        fields = {kind.field(i).name: kind.field(i).type for i in range(kind.num_fields)}
        if not pa.types.is_struct(kind):
            fields = {"path" if _is_text(kind) else "bytes": kind}
        self._has_bytes = _is_binary(fields.get("bytes"))
        self._has_paths = _is_text(fields.get("path"))
        self._is_struct = pa.types.is_struct(kind)
        if not (self._has_bytes or self._has_paths):
            raise DataError(
                f"data {self._spec!r}: column {self._column!r} has the type {kind}; expected encoded images as binary, "
                "paths of files, or a struct with a binary field 'bytes' or a text field 'path'"
            )

    def __len__(self) -> int:
        return int(self._group_ends[-1]) if len(self._group_ends) else 0

    def _at(self, row: int) -> tuple[int, int]:
        """The number of the table that a row is in, and its own number there."""
        number = int(np.searchsorted(self._file_ends, row, side="right"))
        return number, row - (int(self._file_ends[number - 1]) if number else 0)

    def name(self, row: int) -> str:
        """See Store."""
        number, own = self._at(row)
        return f"{self._names[number]} row {own}" if len(self._paths) > 1 else f"row {own}"

    def place(self, row: int) -> str:
        """See Store."""
        number, own = self._at(row)
        return f"row {own} of {self._paths[number]}" if len(self._paths) > 1 else ""

    def labels(self, column: str) -> tuple[Classes | None, str]:
        """The labels of all rows; None, and why there are none, where there is no such column."""
        import pyarrow as pa
        import pyarrow.parquet as pq

        lacking = [name for name, schema in zip(self._names, self._schemas, strict=True) if column not in schema.names]
        if lacking:
            place = f" in {lacking[0]}" if len(self._paths) > 1 else ""
            names = ", ".join(self._schemas[0].names)
            return None, f"no column {column!r}{place}; columns: {names}; --label-column names another"
        pieces = []
        for path in self._paths:
            with pq.ParquetFile(path) as file:
                pieces.append(file.read(columns=[column]).column(column))
        values = [
            piece.cast(piece.type.value_type) if pa.types.is_dictionary(piece.type) else piece for piece in pieces
        ]
        kind = values[0].type
        for name, piece in zip(self._names, values, strict=True):
            both_integers = pa.types.is_integer(kind) and pa.types.is_integer(piece.type)
            if piece.type != kind and not both_integers and not (_is_text(kind) and _is_text(piece.type)):
                raise DataError(f"data {self._spec!r}: column {column!r} is {piece.type} in {name}, not {kind}")
        nulls = np.concatenate([piece.is_null().to_numpy() for piece in values])
        if nulls.any():
            raise DataError(
                f"data {self._spec!r}: label of row {int(nulls.argmax())} is null; expected an integer or a text"
            )
        if _is_text(kind) or pa.types.is_boolean(kind):
            texts = [
                str(one).lower() if isinstance(one, bool) else one for piece in values for one in piece.to_pylist()
            ]
            return numbered_by_text(texts, f"the values of column {column!r}, sorted"), ""
        if not pa.types.is_integer(kind):
            raise DataError(
                f"data {self._spec!r}: column {column!r} has the type {kind}; expected integers, texts or booleans"
            )
        integers = np.concatenate([piece.to_numpy().astype(np.int64) for piece in values])
        return numbered(
            self._spec, integers, *class_names(self._spec, self._names, self._schemas, column, integers)
        ), ""

    def readers(self, rows: np.ndarray) -> Iterator[tuple[int, Reader]]:
        """See Store."""
        if self._held is not None:
            for row in rows.tolist():
                yield row, self._reader(row, *(None if held is None else held[row].as_py() for held in self._held))
            return
        groups = np.searchsorted(self._group_ends, rows, side="right")
        for group in np.unique(groups):
            start = int(self._group_ends[group - 1]) if group else 0
            yield from self._readers_of_group(int(group), start, rows[groups == group])

    def sizes(self, rows: np.ndarray) -> np.ndarray:
        """See Store; of an image that is a file of its own, that file's."""
        import pyarrow.parquet as pq

        found = np.full(len(rows), -1, dtype=np.int64)
        groups = np.searchsorted(self._group_ends, rows, side="right")
        for group in np.unique(groups):
            number, own = self._groups[group]
            with pq.ParquetFile(self._paths[number]) as file:
                slices = file.iter_batches(batch_size=_SLICE, row_groups=[own], columns=[self._column])
                folder = self._paths[number].parent
                sizes = np.concatenate([self._sizes(part.column(self._column), folder) for part in slices])
            start = int(self._group_ends[group - 1]) if group else 0
            found[groups == group] = sizes[rows[groups == group] - start]
        return found

    def _sizes(self, column: Any, folder: Path) -> np.ndarray:
        """The sizes in bytes of the images of a column; -1 where there is none."""
        import pyarrow.compute as pc

        encoded, paths = self._fields(column)
        sizes = np.full(len(column), -1, dtype=np.int64)
        if encoded is not None:
            sizes[:] = pc.binary_length(encoded).fill_null(-1).to_numpy(zero_copy_only=False)
        if paths is not None:
            for row in np.flatnonzero(sizes < 0).tolist():
                file = folder / (paths[row].as_py() or "")
                sizes[row] = file.stat().st_size if file.is_file() else -1
        return sizes

    def _readers_of_group(self, group: int, start: int, rows: np.ndarray) -> Iterator[tuple[int, Reader]]:
        import pyarrow as pa
        import pyarrow.parquet as pq

        number, own = self._groups[group]
        with pq.ParquetFile(self._paths[number]) as file:
            slices = file.iter_batches(batch_size=_SLICE, row_groups=[own], columns=[self._column])
            while start <= rows[-1]:
                try:
                    encoded, paths = self._fields(next(slices).column(self._column))
                except (pa.ArrowException, OSError) as error:
                    told = error_words(error)
                    raise DataError(f"data {self._spec!r}: images from row {start} cannot be read: {told}") from error
                end = start + len(encoded if encoded is not None else paths)
                for row in rows[(rows >= start) & (rows < end)].tolist():
                    found = [None if one is None else one[row - start].as_py() for one in (encoded, paths)]
                    yield row, self._reader(row, *found)
                start = end

    def _fields(self, column: Any) -> tuple[Any, Any]:
        """The encoded bytes and the paths of a column; None for what it lacks."""
        if not self._is_struct:
            return (column, None) if self._has_bytes else (None, column)
        import pyarrow.compute as pc

        return (
            pc.struct_field(column, "bytes") if self._has_bytes else None,
            pc.struct_field(column, "path") if self._has_paths else None,
        )

    def _reader(self, row: int, encoded: bytes | None, path: str | None) -> Reader:
        folder = self._paths[self._at(row)[0]].parent
        return partial(_content, f"data {self._spec!r}: image of row {row}", encoded, path, folder)

    def hold(self) -> None:
        """Read all encoded images into memory; processes that are forked from this one share it."""
        import psutil
        import pyarrow as pa
        import pyarrow.parquet as pq

        if self._held is not None:
            return
        free = psutil.virtual_memory().available
        if self._bytes_needed > 0.8 * free:
            raise DataError(
                f"data {self._spec!r}: {memory_size(self._bytes_needed)} of encoded images must be held in memory, of "
                f"which {memory_size(free)} are free; folder:DIR and webdataset:GLOB read images one by one"
            )
        columns: list[Any] = []
        try:
            for path in self._paths:
                with pq.ParquetFile(path) as file:
                    columns += file.read(columns=[self._column]).column(self._column).chunks
        except (pa.ArrowException, OSError) as error:
            raise DataError(f"data {self._spec!r}: images cannot be read: {error_words(error)}") from error
        encoded, paths = zip(*(self._fields(column) for column in columns), strict=True)
        self._held = tuple(
            # One array with 64-bit offsets, in which a row is found at once.
            None if found[0] is None else pa.chunked_array(found).cast(kind).combine_chunks()
            for found, kind in ((encoded, pa.large_binary()), (paths, pa.large_string()))
        )


def _content(where: str, encoded: bytes | None, path: str | None, folder: Path) -> bytes:
    """The encoded bytes of a row, from the table or from the file that it names."""
    if encoded is not None:
        return encoded
    if not path:
        raise DataError(f"{where} is null")
    if not (folder / path).is_file():
        raise DataError(f"{where} cannot be read: there is no file {str(folder / path)!r}")
    return (folder / path).read_bytes()


def _is_text(kind: Any) -> bool:
    import pyarrow as pa

    return kind is not None and (pa.types.is_string(kind) or pa.types.is_large_string(kind))


def _is_binary(kind: Any) -> bool:
    import pyarrow as pa

    return kind is not None and (pa.types.is_binary(kind) or pa.types.is_large_binary(kind))
