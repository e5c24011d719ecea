"""Files of evaluations and predictions: where they may be written, and writing them."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from raynas.errors import ConfigError, StoreError, error_words
from raynas.evaluation.folder import CLASSES, PICTURES, PREDICTIONS, SUMMARY
from raynas.evaluation.report import EvaluationReport
from raynas.storage.files import exists, is_folder, make_folder, write_atomically, write_json, write_text
from raynas.storage.parquet import write_parquet

_FILES = (".json", ".csv")


def is_file_name(out: Path) -> bool:
    """Whether a place for an evaluation is a file, and no run folder."""
    return out.suffix in _FILES


def check_file(file: Path, ending: str, *, is_replaced: bool = False) -> None:
    """Refuse a place at which a file cannot be written, or at which there is one.

    Args:
        file: The file.
        ending: How its name is to end, such as .csv.
        is_replaced: Whether a file that is there may be replaced.

    Raises:
        ConfigError: It is called otherwise.
        StoreError: It is there, or it is a folder.
    """
    if file.suffix != ending:
        raise ConfigError(f"{file} is to be a {ending} file: call it {file}{ending}")
    if is_folder(file):
        raise StoreError(f"{file} is a folder, and is to be a file")
    if not is_replaced and exists(file):
        raise StoreError(f"{file} is there already: --overwrite replaces it")


def write_report(report: EvaluationReport, out: Path) -> None:
    """Write an evaluation into a file: all of it as .json, or its classes as .csv.

    Raises:
        StoreError: It cannot be written.
    """
    _make_folder(out.parent)
    if out.suffix == ".json":
        write_json(out, report.plain())
    else:
        write_text(out, classes_csv(report))


def write_folder(report: EvaluationReport, pictures: Iterable[tuple[int, bytes]], folder: Path) -> None:
    """Write an evaluation into its run folder.

    Args:
        report: The evaluation.
        pictures: Positions of images among the predictions, with PNG files of them.
        folder: The folder.

    Raises:
        StoreError: It cannot be written.
    """
    try:
        make_folder(folder / PICTURES)
        for position, content in pictures:
            with write_atomically(folder / PICTURES / f"{position:08d}.png") as file:
                file.write(content)
    except OSError as error:
        raise StoreError(f"cannot write {folder}: {error_words(error)}") from error
    write_predictions(report, folder / PREDICTIONS)
    write_text(folder / CLASSES, classes_csv(report))
    write_json(folder / SUMMARY, report.plain())


def write_predictions(report: EvaluationReport, file: Path) -> None:
    """Write one row for each image into a Parquet file, see `raynas.evaluation.report.Predictions`.

    Raises:
        StoreError: It cannot be written.
    """
    _make_folder(file.parent)
    try:
        with write_atomically(file) as opened:
            write_parquet(opened, report.predictions.table())
    except OSError as error:
        raise StoreError(f"cannot write {file}: {error_words(error)}") from error


def write_csv(text: str, file: Path) -> None:
    """Write a text of `csv_text` into a file, whose folder is made where it is not there.

    Raises:
        StoreError: It cannot be written.
    """
    _make_folder(file.parent)
    write_text(file, text)


def classes_csv(report: EvaluationReport) -> str:
    """The classes of an evaluation, one a line."""
    rows = [one.plain() for one in report.classes]
    return csv_text(list(rows[0]), [list(row.values()) for row in rows])


def csv_text(names: Sequence[str], rows: Iterable[Sequence[Any]]) -> str:
    """A table as RFC 4180 has it, with lines that end as those of this system's other files: by a line feed alone.

    Args:
        names: Names of the columns.
        rows: The rows.
    """
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(names)
    writer.writerows(rows)
    return text.getvalue()


def _make_folder(folder: Path) -> None:
    try:
        make_folder(folder)
    except OSError as error:
        raise StoreError(f"cannot write {folder}: {error_words(error)}") from error
