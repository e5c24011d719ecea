"""A run folder of a search, read as tables."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from raynas.notebook import MOST_ROWS, Table, flat_scores, html_table
from raynas.registry import named_code
from raynas.space.registered import spaces
from raynas.space.search_space import SearchSpace
from raynas.storage.paths import as_path
from raynas.wording import plural

if TYPE_CHECKING:
    import pyarrow as pa


@dataclass(frozen=True, repr=False)
class Run:
    """A run folder, read.

    Args:
        folder: The run folder.
        description: run.yaml: `config`, `identity`, `directions`, `versions`, `machine`.
        summary: summary.json; empty if the run was killed before it wrote one.
        evaluations: One row per architecture and score, an Arrow table with the schema of
            `raynas.storage.result_store.SCHEMA`.
    """

    folder: Path
    description: Mapping[str, Any]
    summary: Mapping[str, Any]
    evaluations: pa.Table

    def __repr__(self) -> str:
        status, evaluations = self.summary.get("status", "unknown"), self.summary.get("evaluations", 0)
        return f"Run({str(self.folder)!r}, {status}, {plural(evaluations, 'evaluation', 'evaluations')})"

    def _repr_html_(self) -> str:
        found = self.summary.get("family") or self.summary.get("best")
        if found:
            return html_table(repr(self), [flat_scores(entry) for entry in found])
        table = self.table.drop_columns(["architecture_key"])
        return html_table(repr(self), table.slice(0, MOST_ROWS).to_pylist(), len(table))

    @property
    def table(self) -> pa.Table:
        """One row per architecture in the order of asking, a column per score, null where it has no value."""
        from raynas.storage.result_store import values_by_architecture

        return values_by_architecture(self.evaluations, list(self.description["identity"]["scores"]))

    @property
    def space(self) -> SearchSpace:
        """The space that was searched.

        Raises:
            RaynasError: It is not registered; or it is code in a file that the folder names, and nobody else has.
        """
        with named_code():
            return spaces.get(str(self.description["config"]["space"]))

    @property
    def best(self) -> list[Mapping[str, Any]]:
        """The best architectures with their scores, or the Pareto front."""
        return Table(self.summary.get("best", []))

    @property
    def family(self) -> list[Mapping[str, Any]]:
        """The states of a growth from the start on, with their scores and what each step changed; else nothing."""
        return Table(self.summary.get("family") or [])


def load_run(folder: str | Path) -> Run:
    """Read a run folder, finished or not.

    Raises:
        StoreError: It holds no run of ask and tell (a search, a scoring, a growth).
    """
    from raynas.storage.result_store import read_evaluations
    from raynas.storage.run_folder import read_description, read_summary

    folder = as_path(folder)
    return Run(folder, read_description(folder, kind="search"), read_summary(folder), read_evaluations(folder))


def default_folder(space: str) -> Path:
    """runs/<space>-<date>-<time>."""
    return Path("runs") / f"{space}-{datetime.now():%Y%m%d-%H%M%S}"
