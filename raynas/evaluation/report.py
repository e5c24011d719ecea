"""What came of an evaluation. N images, K classes."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Self

import numpy as np
import pyarrow as pa

from raynas.notebook import html_table


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
    """What was predicted of each image, in the order of the data.

    Args:
        names: What people know each image by.
        labels: (N,) the class of each image, int64.
        predictions: (N,) the most probable class, int64.
        probabilities: (N,) its probability by softmax, float32.
        label_probabilities: (N,) the probability of the image's own class, float32.
    """

    names: tuple[str, ...]
    labels: np.ndarray
    predictions: np.ndarray
    probabilities: np.ndarray
    label_probabilities: np.ndarray

    def table(self) -> pa.Table:
        """One row for each image: name, label, prediction, probability, label_probability."""
        columns = {"name": pa.array(self.names, pa.string()), "label": pa.array(self.labels, pa.int64())}
        columns |= {"prediction": pa.array(self.predictions, pa.int64())}
        columns |= {"probability": pa.array(self.probabilities, pa.float32())}
        return pa.table({**columns, "label_probability": pa.array(self.label_probabilities, pa.float32())})

    @classmethod
    def of_table(cls, table: pa.Table) -> Self:
        """What `table` gave."""
        numbers = {name: table[name].to_numpy() for name in table.column_names if name != "name"}
        return cls(
            tuple(table["name"].to_pylist()),
            numbers["label"],
            numbers["prediction"],
            numbers["probability"],
            numbers["label_probability"],
        )

    @property
    def is_correct(self) -> np.ndarray:
        """(N,) whether the most probable class is the image's own, bool."""
        return np.asarray(self.labels == self.predictions)

    def most_wrong(self, count: int) -> np.ndarray:
        """Positions of the images that are in another class with the highest probabilities, at most `count`."""
        wrong = np.flatnonzero(~self.is_correct & np.isfinite(self.probabilities))
        return wrong[np.argsort(-self.probabilities[wrong], kind="stable")][:count]

    def least_certain(self, count: int) -> np.ndarray:
        """Positions of the images whose most probable class has the lowest probabilities, at most `count`."""
        known = np.flatnonzero(np.isfinite(self.probabilities))
        return known[np.argsort(self.probabilities[known], kind="stable")][:count]


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
        ece: Expected calibration error, see `raynas.stats.calibration.calibration_error`; None where no image has a
            probability that is a number.
        ece_low: Lower bound of its 95 % interval.
        ece_high: Upper bound of that interval.
        ece_by_chance: What it would be in the mean for a network that is calibrated, on as many images.
        seconds: Seconds of the evaluation, with the reading of images.
        images_per_s: Images evaluated in a second.
        classes: Every class of the network, in the order of their numbers.
        predictions: What was predicted of each image.
        note: What is to be known before the accuracy is believed: that the network was trained on some of the images.
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
    ece: float | None
    ece_low: float | None
    ece_high: float | None
    ece_by_chance: float | None
    seconds: float
    images_per_s: float
    classes: tuple[ClassAccuracy, ...]
    predictions: Predictions
    note: str = ""

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

    @classmethod
    def of_stored(cls, values: Mapping[str, Any], predictions: Predictions) -> Self:
        """What `plain` gave, with what was predicted of each image.

        Raises:
            LookupError, TypeError: The values are others.
        """
        classes = tuple(
            ClassAccuracy(**{name: one[name] for name in ClassAccuracy.__dataclass_fields__})
            for one in values["classes"]
        )
        values = {"note": "", **values}  # which evaluations of before lack
        known = {name: values[name] for name in cls.__dataclass_fields__ if name not in ("classes", "predictions")}
        loss = math.nan if known["loss"] is None else known["loss"]
        return cls(**{**known, "loss": loss}, classes=classes, predictions=predictions)
