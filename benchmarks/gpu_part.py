"""What the parts of `gpu.py` share: how long they have, and where their rows go."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import torch
from timing import provenance

Row = dict[str, Any]


@dataclass(frozen=True)
class Part:
    """One part's work: how large, how long, and where its rows go.

    Args:
        name: Of the part.
        until: When it should end, by `time.monotonic`, which is one clock for all processes of a machine.
        out: Folder of the results.
        data: Of the trainings.
        is_quick: As small as it gets, on a CPU.
    """

    name: str
    until: float
    out: Path
    data: str
    is_quick: bool

    @property
    def device(self) -> str:
        """Where it computes."""
        return "cuda" if torch.cuda.is_available() else "cpu"

    @property
    def left_s(self) -> float:
        """Seconds left."""
        return self.until - time.monotonic()

    @property
    def file(self) -> Path:
        """Where its rows are."""
        return self.out / f"gpu_{self.name}.parquet"

    def keep(self, rows: Sequence[Row], says: str | None = None) -> None:
        """Write the rows so far; with what it says of itself, the part is done."""
        names = dict.fromkeys(name for row in rows for name in row)
        table = pa.Table.from_pylist([{name: row.get(name) for name in names} for row in rows])
        done = {} if says is None else {"says": says}
        new = self.file.with_suffix(".new")
        command = f"python benchmarks/gpu.py --only {self.name} --data {self.data.partition(':')[0]}"
        about = {**provenance(), "command": command + " --quick" * self.is_quick, **done}
        pq.write_table(table.replace_schema_metadata(about), new)
        new.replace(self.file)
        if says is not None:
            print(f"{self.name}: {says}", flush=True)

    @property
    def said(self) -> str | None:
        """What the part said when it was done; None where it is not."""
        if not self.file.exists():
            return None
        says = (pq.read_schema(self.file).metadata or {}).get(b"says")
        return None if says is None else str(says, "utf-8")
