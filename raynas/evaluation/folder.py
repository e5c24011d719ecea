"""The run folder of an evaluation, read: neither torch nor Ray is imported."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa

from raynas.errors import StoreError, error_words
from raynas.evaluation.report import EvaluationReport, Predictions
from raynas.storage.files import exists, is_folder, names_in, read_bytes
from raynas.storage.parquet import read_parquet
from raynas.storage.paths import as_path
from raynas.storage.run_folder import read_description, read_summary, reading
from raynas.storage.text_files import read_json

KIND = "evaluation"
SUMMARY, CLASSES, PREDICTIONS, PICTURES = "evaluation.json", "classes.csv", "predictions.parquet", "pictures"
"""Names of the files in the folder of an evaluation, and of the folder of its pictures."""


@dataclass(frozen=True)
class StoredEvaluation:
    """The folder of an evaluation, finished or not.

    Args:
        folder: The folder that was read.
        description: run.yaml.
        summary: summary.json.
        report: What came of it; None as long as it is not finished.
    """

    folder: Path
    description: Mapping[str, Any]
    summary: Mapping[str, Any]
    report: EvaluationReport | None

    def pictures(self) -> dict[int, bytes]:
        """PNG files of images, by their positions among the predictions."""
        there = self.folder / PICTURES
        names = [name for name in (names_in(there) if is_folder(there) else []) if name.endswith(".png")]
        numbered = {name.removesuffix(".png"): name for name in names}
        return {int(one): read_bytes(there / name) for one, name in numbered.items() if one.isdecimal()}


def read_evaluation(folder: str | Path) -> StoredEvaluation:
    """Read the folder of an evaluation, finished or not.

    Raises:
        StoreError: It holds none, or a file is damaged.
    """
    folder = as_path(folder)
    description, summary = read_description(folder, kind=KIND), read_summary(folder)
    if not exists(folder / SUMMARY):
        return StoredEvaluation(folder, description, summary, None)
    path = folder / PREDICTIONS
    try:
        table = read_parquet(path)
    except (pa.ArrowException, OSError) as error:
        raise StoreError(f"{path} is damaged: {error_words(error)}") from error
    with reading(folder):
        report = EvaluationReport.of_stored(read_json(folder / SUMMARY), Predictions.of_table(table))
    return StoredEvaluation(folder, description, summary, report)


def load_evaluation(folder: str | Path) -> EvaluationReport:
    """What came of an evaluation, from its run folder.

    Raises:
        StoreError: The folder holds no evaluation, or one that is not finished; or a file is damaged.
    """
    found = read_evaluation(folder)
    if found.report is None:
        raise StoreError(f"the evaluation in {found.folder} is not finished")
    return found.report
