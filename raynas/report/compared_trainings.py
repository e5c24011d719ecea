"""What trainings are compared by: accuracies with their uncertainty, losses, costs, epoch by epoch."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from raynas.report.comparable import Comparable, Course, Network, Value
from raynas.report.embedding import short_number
from raynas.report.training import uncertainty
from raynas.stats.proportion import wilson_interval
from raynas.stats.thinning import spread
from raynas.training.best_epoch import BestEpoch
from raynas.training.folder import Training, load_training

_MAX_EPOCHS = 400
_LEVEL = 0.95
_OF_IMAGES = ("images", "val_fraction", "max_images", "max_val_images")


def comparable_training(folder: Path) -> Comparable:
    """What a training is compared by, a pre-training or one of a supernet also.

    Raises:
        StoreError: The folder cannot be read.
    """
    training = load_training(folder)
    description, summary = training.description, training.summary
    model, rows = description["model"], training.metrics.to_pylist()
    best = BestEpoch.of(description)
    form, better = "share" if best.is_accuracy else "number", "max" if best.higher_is_better else "min"
    images = int((summary.get("images") or {}).get("val") or 0)
    basis = [best.column, [(description["identity"].get("data") or {}).get(name) for name in _OF_IMAGES]]

    def value_of(row: Mapping[str, Any] | None) -> Value:
        value = None if row is None or math.isnan(best.value(row)) else best.value(row)
        low, high = _interval(value, images) if best.is_accuracy else (None, None)
        return Value(value, form, better, low, high, basis)

    best_row, last = best.best_of(rows), rows[-1] if rows else None
    values = {
        f"final {best.title}": value_of(last),
        f"best {best.title}": value_of(best_row),
        "best epoch": Value(None if best_row is None else best_row["epoch"] + 1, "whole"),
        "validation loss": Value(None if last is None else last.get("val_loss"), better="min", basis=basis),
        "epochs": Value(f"{len(rows):,} of {int(description['config']['epochs']):,}"),
        "parameters": Value(model["num_params"], "count"),
        "MACs": Value(model["macs"], "count"),
        "training images a second": Value(_speed(rows)),
    }
    if best.column == "val_loss":
        del values["validation loss"]
    costs = {name: float(model[name]) for name in ("num_params", "macs")}
    text = model.get("text")
    return Comparable(
        f"training by {best.title}",
        ("training", "trainings"),
        values,
        settings={"architecture": text} if text else {},
        courses=_courses(training, best),
        network=Network(str(model["space"]), model["architecture"], text, int(model["img_size"]), costs),
    )


def _interval(value: float | None, images: int) -> tuple[float | None, float | None]:
    if value is None or not images:
        return None, None
    low, high = wilson_interval(value, images, _LEVEL)
    return float(low), float(high)


def _speed(rows: Sequence[Mapping[str, Any]]) -> float | None:
    """Images a second of all epochs together."""
    trained = sum(float(row["train_s"]) for row in rows)
    return sum(float(row["images_per_s"]) * float(row["train_s"]) for row in rows) / trained if trained else None


def _courses(training: Training, best: BestEpoch) -> list[Course]:
    rows = training.metrics.to_pylist()
    if not rows:
        return []
    kept = _drawn_rows(len(rows))
    at, seconds = ([rows[i]["epoch"] + 1 for i in kept], [float(rows[i]["seconds"] or 0.0) for i in kept])
    band = uncertainty(best, training.metrics, training.summary) or {}
    form, better = "share" if best.is_accuracy else "number", "max" if best.higher_is_better else "min"
    low, high = ([band[end][i] for i in kept] if _fits(band, len(rows)) else None for end in ("low", "high"))
    courses = [
        Course(
            best.title,
            "epoch",
            at,
            [short_number(best.value(rows[i])) for i in kept],
            seconds,
            form=form,
            better=better,
            low=low,
            high=high,
        )
    ]
    for name, column in (("validation loss", "val_loss"), ("training loss", "train_loss")):
        values = [rows[i].get(column) for i in kept]
        if column != best.column and any(value is not None for value in values):
            shown = [None if value is None else short_number(value) for value in values]
            courses.append(Course(name, "epoch", at, shown, seconds, better="min"))
    return courses


def _fits(band: Mapping[str, Any], epochs: int) -> bool:
    """Whether an interval is known of every epoch: of very many, the page of a training leaves some out."""
    return bool(band) and len(band["low"]) == epochs


def _drawn_rows(length: int) -> list[int]:
    """Numbers of the epochs that are drawn."""
    return [int(number) for number in spread(np.arange(length), _MAX_EPOCHS)]
