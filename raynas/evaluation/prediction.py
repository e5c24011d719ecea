"""Predictions for images without labels, by the passes of an evaluation. N images, K classes."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import closing
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import torch

from raynas.data.files import FileImages
from raynas.data.inspection import check_readable, inspect
from raynas.data.options import DataOptions
from raynas.errors import ConfigError
from raynas.evaluation.config import PredictConfig
from raynas.evaluation.images import ChosenImages, opened_for
from raynas.evaluation.passes import PassSetting, passes
from raynas.evaluation.run import EvaluationListener
from raynas.evaluation.source import TrainedNetwork
from raynas.evaluation.writing import csv_text


@dataclass(frozen=True, repr=False)
class PredictionReport:
    """What a trained network takes images for.

    Args:
        source: The folder of the network.
        model: The architecture as its space writes it, or the name of an export.
        images: The folder of the images.
        paths: The path of each image in that folder, in their order.
        classes: (N, top_k) the most probable classes, int64, the first one first.
        probabilities: (N, top_k) their probabilities by softmax, float32.
        all_probabilities: (N, K) those of all classes, float32; None unless they were asked for.
        class_names: Names of the K classes in their order; their numbers, as texts, where they have no names.
        skipped: Why images that were skipped cannot be read, by their names.
    """

    source: str
    model: str
    images: str
    paths: tuple[str, ...]
    classes: np.ndarray
    probabilities: np.ndarray
    all_probabilities: np.ndarray | None
    class_names: tuple[str, ...]
    skipped: Mapping[str, str] = field(default_factory=dict)

    def __repr__(self) -> str:
        return f"PredictionReport({self.source!r}, {len(self.paths):,} images of {self.images!r})"

    def table(self) -> pa.Table:
        """One row for each image: path, prediction, probability, prediction_2, probability_2, ..., classes by names."""
        return pa.table(self._columns())

    def csv(self) -> str:
        """`table` as CSV: a header, then one record for each image."""
        columns = self._columns()
        return csv_text(list(columns), zip(*columns.values(), strict=True))

    def _columns(self) -> dict[str, Any]:
        columns: dict[str, Any] = {"path": list(self.paths)}
        for place in range(self.classes.shape[1]):
            suffix = f"_{place + 1}" if place else ""
            columns[f"prediction{suffix}"] = [self.class_names[number] for number in self.classes[:, place]]
            columns[f"probability{suffix}"] = self.probabilities[:, place]
        if self.all_probabilities is not None:
            is_known_by_name = len(set(self.class_names)) == len(self.class_names)
            for number, name in enumerate(self.class_names):
                known = name if is_known_by_name else f"{number} {name}"
                columns[f"probability of {known}"] = self.all_probabilities[:, number]
        return columns


class ImagesToPredict(NamedTuple):
    """Images without labels.

    Args:
        chosen: The images.
        skipped: Why images that were skipped cannot be read, by their names.
    """

    chosen: ChosenImages
    skipped: Mapping[str, str]


def choose_files(images: str, config: PredictConfig, network: TrainedNetwork) -> ImagesToPredict:
    """Find the images of a folder, and look at them.

    Args:
        images: The folder, or one image.
        config: What was asked for.
        network: The network that is to see them.

    Raises:
        ConfigError: More classes are asked for than the network has.
        DataError: There are no images, or some cannot be read.
    """
    if config.top_k > network.num_classes:
        raise ConfigError(f"top_k is {config.top_k}, and {network.source} knows {network.num_classes} classes")
    data, skipped = opened_for(network, f"files:{images}", DataOptions.of(config))
    check_readable(inspect(data))
    return ImagesToPredict(ChosenImages(data, images, np.arange(len(data))), skipped)


def predict_images(
    network: TrainedNetwork, images: ImagesToPredict, config: PredictConfig, listener: EvaluationListener
) -> PredictionReport:
    """Predict the classes of images, prepared as evaluations prepare them.

    Args:
        network: The network, which is moved to the device.
        images: The images.
        config: What was asked for.
        listener: Receives progress.

    Raises:
        ConfigError: The device is not there, or does not compute in the precision; or a pass can never be in memory.
        DataError: An image cannot be read.
    """
    data, rows = images.chosen.data, images.chosen.rows
    assert isinstance(data, FileImages)
    setting = PassSetting.of(network, config)
    of_network = passes(network, data, rows, config, setting, listener.on_progress)
    listener.on_start(network, images.chosen)
    n, classes, whole = len(rows), network.num_classes, None
    best = torch.empty((n, config.top_k), dtype=torch.int64, device=setting.device)
    shares = torch.empty((n, config.top_k), device=setting.device)
    if config.all_probabilities:
        whole = torch.empty((n, classes))
    with closing(of_network):
        for positions, logits in of_network:
            # As argmax does, this takes the first of equal ones.
            order = logits.sort(dim=1, descending=True, stable=True).indices[:, : config.top_k]
            of_pass = logits.softmax(1)
            best[positions], shares[positions] = order, of_pass.gather(1, order)
            if whole is not None:
                whole[positions.cpu()] = of_pass.cpu()
    return PredictionReport(
        source=network.source,
        model=network.text,
        images=images.chosen.spec,
        paths=tuple(data.path(row) for row in range(n)),
        classes=best.cpu().numpy(),
        probabilities=shares.cpu().numpy(),
        all_probabilities=None if whole is None else whole.numpy(),
        class_names=network.class_names or tuple(map(str, range(classes))),
        skipped=images.skipped,
    )
