"""Images in Parquet tables."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from raynas.data.dataset import checked_labels, checked_rows, without_labels
from raynas.data.decoding import decoded
from raynas.errors import DataError, error_words
from raynas.wording import gibibytes

if TYPE_CHECKING:
    from PIL import Image


class ParquetImages:
    """A table with a column `image` (encoded bytes, or a struct with a field `bytes`) and, if any, `label` (integers).

    Labels are held in memory; images are read row group by row group, and only where rows are asked for. Label names,
    comma separated, are taken from the schema metadata under `label_names`.
    """

    def __init__(self, spec: str, where: str) -> None:
        import pyarrow as pa
        import pyarrow.parquet as pq

        self.source = spec
        if not Path(where).is_file():
            raise DataError(f"data {spec!r}: there is no file {where!r}")
        try:
            self._file = pq.ParquetFile(where)
            schema = self._file.schema_arrow
            columns = f"columns: {', '.join(schema.names) or 'none'}"
            if "image" not in schema.names:
                raise DataError(f"data {spec!r}: no column 'image'; {columns}")
            self.lacks_labels = "" if "label" in schema.names else f"no column 'label'; {columns}"
            labels = None if self.lacks_labels else self._file.read(columns=["label"]).column("label")
        except (pa.ArrowException, OSError) as error:
            raise DataError(f"data {spec!r}: cannot be read as Parquet: {error_words(error)}") from error
        if not self._file.metadata.num_rows:
            raise DataError(f"data {spec!r}: the table has no rows")

        image_type = schema.field("image").type
        self._is_struct = pa.types.is_struct(image_type) and image_type.get_field_index("bytes") >= 0
        encoded = image_type.field("bytes").type if self._is_struct else image_type
        if not (pa.types.is_binary(encoded) or pa.types.is_large_binary(encoded)):
            raise DataError(
                f"data {spec!r}: column 'image' has the type {image_type}; "
                "expected encoded images as binary, or a struct with a binary field 'bytes'"
            )
        names = (schema.metadata or {}).get(b"label_names", b"").decode()
        self.label_names = tuple(name.strip() for name in names.split(",")) if names else ()
        if labels is None:
            self._labels, self.num_classes = without_labels(self._file.metadata.num_rows), 0
        else:
            if not pa.types.is_integer(labels.type):
                raise DataError(f"data {spec!r}: column 'label' has the type {labels.type}; expected integers")
            if labels.null_count:
                row = labels.is_null().index(True).as_py()
                raise DataError(f"data {spec!r}: label of row {row} is null; expected an integer from 0")
            self._labels, self.num_classes = checked_labels(spec, labels.to_numpy(), len(self.label_names))
        sizes = [self._file.metadata.row_group(i).num_rows for i in range(self._file.num_row_groups)]
        self._group_ends = np.cumsum(sizes)
        self._held: Any = None

    def __len__(self) -> int:
        return len(self._labels)

    def read(self, indices: Sequence[int]) -> tuple[list[Image.Image], np.ndarray]:
        """See ImageDataset."""
        rows = checked_rows(self, indices)
        if self._held is not None:
            return [self._decoded(row, self._held[row].as_py()) for row in rows.tolist()], self._labels[rows]
        groups = np.searchsorted(self._group_ends, rows, side="right")
        images: dict[int, Image.Image] = {}
        for group in np.unique(groups):
            start = int(self._group_ends[group - 1]) if group else 0
            images |= self._read_group(int(group), start, np.unique(rows[groups == group]))
        return [images[row] for row in rows.tolist()], self._labels[rows]

    def labels(self, indices: Sequence[int] | np.ndarray) -> np.ndarray:
        """See ImageDataset."""
        labels: np.ndarray = self._labels[checked_rows(self, indices)]
        return labels

    def hold(self) -> None:
        """Read all encoded images into memory; processes that are forked from this one share it."""
        import psutil
        import pyarrow as pa
        import pyarrow.compute as pc

        if self._held is not None:
            return
        groups = [self._file.metadata.row_group(i) for i in range(self._file.num_row_groups)]
        needed = sum(group.total_byte_size for group in groups)
        free = psutil.virtual_memory().available
        if needed > 0.8 * free:
            raise DataError(
                f"data {self.source!r}: {gibibytes(needed)} of encoded images must be held in memory, of which "
                f"{gibibytes(free)} are free; folder:DIR reads images one by one"
            )
        try:
            column = self._file.read(columns=["image"]).column("image")
        except (pa.ArrowException, OSError) as error:
            raise DataError(f"data {self.source!r}: images cannot be read: {error_words(error)}") from error
        column = pc.struct_field(column, "bytes") if self._is_struct else column
        # One array with 64-bit offsets, in which a row is found at once.
        self._held = column.cast(pa.large_binary()).combine_chunks()

    def _read_group(self, group: int, start: int, rows: np.ndarray) -> dict[int, Image.Image]:
        import pyarrow as pa

        images: dict[int, Image.Image] = {}
        # In slices, since a file may be one single group.
        slices = self._file.iter_batches(batch_size=1024, row_groups=[group], columns=["image"])
        while start <= rows[-1]:
            try:
                column = next(slices).column("image")
            except (pa.ArrowException, OSError) as error:
                raise DataError(
                    f"data {self.source!r}: images from row {start} cannot be read: {error_words(error)}"
                ) from error
            column = column.field("bytes") if self._is_struct else column
            for row in rows[(rows >= start) & (rows < start + len(column))].tolist():
                images[row] = self._decoded(row, column[row - start].as_py())
            start += len(column)
        return images

    def _decoded(self, row: int, encoded: bytes | None) -> Image.Image:
        if not encoded:
            raise DataError(f"data {self.source!r}: image of row {row} is {'null' if encoded is None else 'empty'}")
        return decoded(io.BytesIO(encoded), f"data {self.source!r}: image of row {row}")
