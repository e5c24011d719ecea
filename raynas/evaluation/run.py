"""The evaluation itself: what a network's passes over labelled images come to. N images in all, K classes."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from contextlib import closing
from time import perf_counter
from typing import NamedTuple

import numpy as np
import torch

from raynas.evaluation.config import EvaluateConfig
from raynas.evaluation.images import ChosenImages, EvaluatedImages
from raynas.evaluation.passes import Pass, PassSetting, passes
from raynas.evaluation.report import ClassAccuracy, EvaluationReport, Predictions
from raynas.evaluation.source import TrainedNetwork
from raynas.models.classified import evaluated_classes
from raynas.stats.calibration import CalibrationError, calibration_error
from raynas.stats.proportion import wilson_interval

_TOP = 5


class EvaluationListener:
    """Receives the progress of an evaluation, or of predictions; the base class ignores it."""

    def on_start(self, network: TrainedNetwork, images: ChosenImages) -> None:
        """All is checked, and the images are about to be evaluated."""

    def on_progress(self, done: int, total: int, images_per_s: float) -> None:
        """Some images were evaluated."""


def evaluate_network(
    network: TrainedNetwork,
    images: EvaluatedImages,
    config: EvaluateConfig,
    listener: EvaluationListener,
    *,
    is_stopped: Callable[[], bool] = lambda: False,
) -> EvaluationReport | None:
    """Evaluate a network on images as trainings do at the end of an epoch.

    Args:
        network: The network, which is moved to the device.
        images: The images.
        config: What was asked for.
        listener: Receives progress.
        is_stopped: Whether to end early, which is asked after each pass.

    Returns:
        What came of it; None where it was stopped.

    Raises:
        ConfigError: The device is not there, or does not compute in the precision; or a pass can never be in memory.
        DataError: An image cannot be read.
    """
    setting = PassSetting.of(network, config)
    of_network = passes(network, images.data, images.rows, config, setting, listener.on_progress)
    listener.on_start(network, images)
    started = perf_counter()
    with closing(of_network):
        found = _counted(of_network, network, images.labels, setting.device, is_stopped)
    if found is None:
        return None
    seconds = perf_counter() - started
    n = len(images.rows)
    low, high = wilson_interval(found.top1, n)
    error = _calibration(found, images.labels)
    return EvaluationReport(
        source=network.source,
        model=network.text,
        weights=network.weights,
        data=images.spec,
        images=n,
        img_size=network.img_size,
        eval_crop=setting.eval_crop,
        device=setting.device.type,
        precision=setting.precision,
        loss=found.loss,
        top1=found.top1,
        top1_low=float(low),
        top1_high=float(high),
        top5=found.top5,
        ece=error.value if error else None,
        ece_low=error.low if error else None,
        ece_high=error.high if error else None,
        ece_by_chance=error.by_chance if error else None,
        seconds=seconds,
        images_per_s=n / seconds,
        classes=class_accuracies(images.labels, found.predictions, network.num_classes, network.class_names),
        predictions=Predictions(
            tuple(images.data.name(int(row)) for row in images.rows),
            images.labels,
            found.predictions,
            found.probabilities,
            found.label_probabilities,
        ),
        note=images.note,
    )


def class_accuracies(
    labels: np.ndarray, predictions: np.ndarray, num_classes: int, names: tuple[str, ...]
) -> tuple[ClassAccuracy, ...]:
    """How the images of every class were classified.

    Args:
        labels: (N,) class numbers.
        predictions: (N,) class numbers.
        num_classes: How many classes there are.
        names: Names of the classes; empty if unknown.
    """
    images, predicted, correct = (
        np.bincount(numbers, minlength=num_classes).tolist()
        for numbers in (labels, predictions, labels[labels == predictions])
    )
    return tuple(
        ClassAccuracy(number, names[number] if names else "", images[number], correct[number], predicted[number])
        for number in range(num_classes)
    )


class _Found(NamedTuple):
    loss: float
    top1: float
    top5: float | None
    predictions: np.ndarray
    probabilities: np.ndarray
    label_probabilities: np.ndarray


def _counted(
    of_network: Iterable[Pass],
    network: TrainedNetwork,
    labels: np.ndarray,
    device: torch.device,
    is_stopped: Callable[[], bool],
) -> _Found | None:
    n = len(labels)
    classes = torch.from_numpy(labels).to(device)
    predictions = torch.empty(n, dtype=torch.int64, device=device)
    probabilities, of_labels = torch.empty(n, device=device), torch.empty(n, device=device)
    sums = {name: torch.zeros((), dtype=torch.float64, device=device) for name in ("loss", "top1")}
    among_five = torch.zeros((), dtype=torch.int64, device=device)
    has_top5 = network.num_classes > _TOP
    for positions, logits in of_network:
        own = classes[positions]
        for name, value in evaluated_classes(logits, own).items():
            sums[name] = sums[name] + value
        if has_top5:
            among_five += (logits.topk(_TOP, dim=1).indices == own[:, None]).sum()
        shares = logits.softmax(1)
        # A tie of probabilities may be none of logits, by which accuracy is counted.
        predictions[positions] = logits.argmax(1)
        probabilities[positions] = shares.amax(1)
        of_labels[positions] = shares.gather(1, own[:, None])[:, 0]
        if is_stopped():
            return None
    return _Found(
        loss=float(sums["loss"]) / n,
        top1=float(sums["top1"]) / n,
        top5=float(among_five) / n if has_top5 else None,
        predictions=predictions.cpu().numpy(),
        probabilities=probabilities.cpu().numpy(),
        label_probabilities=of_labels.cpu().numpy(),
    )


def _calibration(found: _Found, labels: np.ndarray) -> CalibrationError | None:
    """The calibration over the images that have probabilities; None where none has, as of a network that diverged."""
    known = np.isfinite(found.probabilities)
    if not known.any():
        return None
    return calibration_error(found.probabilities[known], (found.predictions == labels)[known])
