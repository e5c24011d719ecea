"""What came of an evaluation, and the files that hold it."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from raynas.errors import ConfigError, StoreError, error_words
from raynas.notebook import html_table
from raynas.storage.files import exists, is_folder, make_folder, names_in, write_atomically, write_json, write_text
from raynas.storage.parquet import write_parquet

SUMMARY, CLASSES = "evaluation.json", "classes.csv"
"""Names of the files in a folder that holds an evaluation."""


@dataclass(frozen=True)
class ClassAccuracy:
    """How the images of one class were classified.

    Args:
        number: The class as the network numbers it.
        name: What it is called; empty if unknown.
        images: How many images belong to it.
        correct: How many of them were put into it.
        predicted: How many images were put into it, rightly or not.
    """

    number: int
    name: str
    images: int
    correct: int
    predicted: int

    @property
    def accuracy(self) -> float | None:
        """The share of its images that were put into it; None where it has none."""
        return self.correct / self.images if self.images else None

    def plain(self) -> dict[str, Any]:
        """A row of a table."""
        return {**asdict(self), "accuracy": self.accuracy}


@dataclass(frozen=True)
class Predictions:
    """What was predicted of each image, in the order of the data; N images.

    Args:
        names: What people know each image by.
        labels: (N,) the class of each image, int64.
        predictions: (N,) the most probable class, int64.
        probabilities: (N,) its probability by softmax, float32.
    """

    names: tuple[str, ...]
    labels: np.ndarray
    predictions: np.ndarray
    probabilities: np.ndarray

    def table(self) -> pa.Table:
        """One row for each image: name, label, prediction, probability."""
        columns = {"name": pa.array(self.names, pa.string()), "label": pa.array(self.labels, pa.int64())}
        columns |= {"prediction": pa.array(self.predictions, pa.int64())}
        return pa.table({**columns, "probability": pa.array(self.probabilities, pa.float32())})


@dataclass(frozen=True, repr=False)
class EvaluationReport:
    """What a trained network is worth on some images.

    Args:
        source: What was evaluated: a folder.
        model: The architecture as its space writes it, or the name of an export.
        weights: What is known of the weights: `checkpoint`, `epochs`, `moving_average`.
        data: The images, as `--data` takes them.
        images: How many there were.
        img_size: Image side in pixels.
        eval_crop: How images were prepared, see `raynas.training.config.TrainConfig`.
        device: Name of the kind of device, "cpu" or "cuda".
        precision: "float32", "bfloat16" or "float16".
        loss: Mean cross-entropy in nats, without label smoothing.
        top1: Share of the images whose most probable class is theirs.
        top1_low: Lower bound of Wilson's 95 % interval of `top1`.
        top1_high: Upper bound of that interval.
        top5: Share of the images whose class is among the five most probable; None with at most five classes.
        seconds: Seconds of the evaluation, with the reading of images.
        images_per_s: Images evaluated in a second.
        classes: Every class of the network, in the order of their numbers.
        predictions: What was predicted of each image.
    """

    source: str
    model: str
    weights: Mapping[str, Any]
    data: str
    images: int
    img_size: int
    eval_crop: float
    device: str
    precision: str
    loss: float
    top1: float
    top1_low: float
    top1_high: float
    top5: float | None
    seconds: float
    images_per_s: float
    classes: tuple[ClassAccuracy, ...]
    predictions: Predictions

    def __repr__(self) -> str:
        return f"EvaluationReport({self.source!r}, top-1 {self.top1:.4f} on {self.images:,} images of {self.data!r})"

    def _repr_html_(self) -> str:
        return html_table(repr(self), [one.plain() for one in self.classes])

    def plain(self) -> dict[str, Any]:
        """All but the predictions, in values that JSON holds; a loss that is no number is null."""
        names = [name for name in self.__dataclass_fields__ if name not in ("classes", "predictions")]
        values = {name: getattr(self, name) for name in names}
        values["weights"] = dict(self.weights)
        values["loss"] = self.loss if math.isfinite(self.loss) else None
        return {**values, "classes": [one.plain() for one in self.classes]}


def check_places(out: Path | None, predictions: Path | None) -> None:
    """Refuse places at which an evaluation cannot be written, before it is made.

    Args:
        out: A .json or .csv file, or a folder, which is new or empty.
        predictions: A .parquet file.

    Raises:
        ConfigError: The file of predictions is called otherwise.
        StoreError: A folder is not empty or is a file, or a file is a folder.
    """
    if predictions is not None and predictions.suffix != ".parquet":
        raise ConfigError(f"predictions are a Parquet file: call it {predictions}.parquet")
    if out is not None and out.suffix not in (".json", ".csv") and exists(out):
        if not is_folder(out):
            raise StoreError(f"{out} is a file; --out takes a folder, or a file that ends with .json or .csv")
        if there := names_in(out):
            raise StoreError(f"{out} is not empty: {', '.join(sorted(there)[:5])}; name another folder with --out")
    for file in (out if out is not None and out.suffix in (".json", ".csv") else None, predictions):
        if file is not None and is_folder(file):
            raise StoreError(f"{file} is a folder, and is to be a file")


def write_report(report: EvaluationReport, out: Path) -> None:
    """Write an evaluation: all of it into a .json file, its classes into a .csv file, or both into a folder.

    Raises:
        StoreError: It cannot be written.
    """
    folder = out.parent if out.suffix in (".json", ".csv") else out
    _make_folder(folder)
    if out.suffix != ".csv":
        write_json(out if out.suffix == ".json" else out / SUMMARY, report.plain())
    if out.suffix != ".json":
        write_text(out if out.suffix == ".csv" else out / CLASSES, _csv(report))


def write_predictions(report: EvaluationReport, file: Path) -> None:
    """Write one row for each image into a Parquet file: its name, label, prediction and the prediction's probability.

    Raises:
        StoreError: It cannot be written.
    """
    _make_folder(file.parent)
    try:
        with write_atomically(file) as opened:
            write_parquet(opened, report.predictions.table())
    except OSError as error:
        raise StoreError(f"cannot write {file}: {error_words(error)}") from error


def _make_folder(folder: Path) -> None:
    try:
        make_folder(folder)
    except OSError as error:
        raise StoreError(f"cannot write {folder}: {error_words(error)}") from error


def _csv(report: EvaluationReport) -> str:
    text = io.StringIO()
    rows = [one.plain() for one in report.classes]
    writer = csv.DictWriter(text, list(rows[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()
