"""The folder of an analysis, read: its tables are Parquet files."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa

from raynas.errors import StoreError, error_words
from raynas.notebook import MOST_ROWS, html_table
from raynas.storage.files import exists, is_folder, names_in, read_bytes
from raynas.storage.parquet import read_parquet
from raynas.storage.paths import as_path
from raynas.storage.run_folder import read_description, read_summary

KIND = "analysis"
PICTURES = "pictures"

CKA = pa.schema(
    [
        ("network", pa.string()),
        ("point", pa.string()),
        ("other_network", pa.string()),
        ("other_point", pa.string()),
        ("cka", pa.float64()),
    ]
)
ATTENTION = pa.schema(
    [
        ("network", pa.string()),
        ("block", pa.int32()),
        ("head", pa.int32()),
        ("distance", pa.float64()),
        ("distance_14", pa.float64()),
        ("entropy", pa.float64()),
    ]
)
LAYERS = pa.schema(
    [
        ("network", pa.string()),
        ("point", pa.string()),
        ("tokens", pa.int32()),
        ("channels", pa.int32()),
        ("effective_rank", pa.float64()),
        ("token_similarity", pa.float64()),
    ]
)
"""Tables of an analysis: likeness of points; attention of heads, distances in sides of a patch and times 14, entropies
in nats; and what tokens are like at each point. A network is "model" or "against"; blocks and heads count from 1."""

TABLES: Mapping[str, pa.Schema] = {"cka": CKA, "attention": ATTENTION, "layers": LAYERS}


@dataclass(frozen=True)
class Analysis:
    """An analysis, finished or not.

    Args:
        folder: The folder that was read.
        description: run.yaml.
        summary: summary.json.
        cka, attention, layers: The tables of these names; empty where they are not written yet.
    """

    folder: Path
    description: Mapping[str, Any]
    summary: Mapping[str, Any]
    cka: pa.Table
    attention: pa.Table
    layers: pa.Table

    def _repr_html_(self) -> str:
        title = f"Analysis({str(self.folder)!r}, {self.summary.get('status', 'unknown')})"
        return html_table(title, self.layers.slice(0, MOST_ROWS).to_pylist(), len(self.layers))

    def pictures(self) -> list[tuple[str, bytes]]:
        """Names and PNG files of pictures, in the order of their names."""
        there = self.folder / PICTURES
        names = [name for name in (names_in(there) if is_folder(there) else []) if name.endswith(".png")]
        return [(name.removesuffix(".png"), read_bytes(there / name)) for name in sorted(names)]


def load_analysis(folder: str | Path) -> Analysis:
    """Read the folder of an analysis.

    Raises:
        StoreError: It holds none, or a table is damaged.
    """
    folder = as_path(folder)
    description = read_description(folder, kind=KIND)
    tables = {}
    for name, schema in TABLES.items():
        path = folder / f"{name}.parquet"
        try:
            tables[name] = read_parquet(path) if exists(path) else schema.empty_table()
        except (pa.ArrowException, OSError) as error:
            raise StoreError(f"{path} is damaged: {error_words(error)}") from error
    return Analysis(folder, description, read_summary(folder), **tables)
