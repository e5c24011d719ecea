"""The evaluation itself: passes of a network over images. B images of a pass, N in all, K classes."""

from __future__ import annotations

from contextlib import AbstractContextManager, closing, nullcontext
from time import perf_counter
from typing import Any, NamedTuple

import numpy as np
import torch

from raynas.cores import usable_cores
from raynas.data.batch import check_memory
from raynas.errors import ConfigError, error_words
from raynas.evaluation.config import EvaluateConfig
from raynas.evaluation.images import EvaluatedImages
from raynas.evaluation.report import ClassAccuracy, EvaluationReport, Predictions
from raynas.evaluation.source import TrainedNetwork
from raynas.models.classified import evaluated_classes
from raynas.models.process_state import kept_process_state, own_threads
from raynas.stats.proportion import wilson_interval
from raynas.training.config import precision_on
from raynas.training.images import Loader, eval_loader, eval_transform

_TOP = 5


class EvaluationListener:
    """Receives the progress of an evaluation; the base class ignores it."""

    def on_start(self, network: TrainedNetwork, images: EvaluatedImages) -> None:
        """All is checked, and the images are about to be evaluated."""

    def on_progress(self, done: int, total: int, images_per_s: float) -> None:
        """Some images were evaluated."""


def device_of(name: str) -> torch.device:
    """A device by the setting of an evaluation.

    Raises:
        ConfigError: There is none such.
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise ConfigError(f"device is {name!r}; it is auto, cpu, cuda or cuda:N ({error_words(error)})") from None
    if device.type not in ("cpu", "cuda"):
        raise ConfigError(f"device is {name!r}; it is auto, cpu, cuda or cuda:N")
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise ConfigError(f"device is {name!r}, and torch finds {torch.cuda.device_count()} GPUs")
    return device


def check_device(config: EvaluateConfig) -> None:
    """Refuse a device that is not there, or does not compute in the precision that is asked for.

    Raises:
        ConfigError: It is so.
    """
    precision_on(config.precision or "auto", device_of(config.device).type)


def evaluate_network(
    network: TrainedNetwork, images: EvaluatedImages, config: EvaluateConfig, listener: EvaluationListener
) -> EvaluationReport:
    """Evaluate a network on images as trainings do at the end of an epoch.

    Args:
        network: The network, which is moved to the device.
        images: The images.
        config: What was asked for.
        listener: Receives progress.

    Raises:
        ConfigError: The device is not there, or does not compute in the precision; or a pass can never be in memory.
        DataError: An image cannot be read.
    """
    device = device_of(config.device)
    precision = precision_on(config.precision or network.precision, device.type)
    eval_crop = network.eval_crop if config.eval_crop is None else config.eval_crop
    processes = config.loader_processes
    if processes is None:
        cores = usable_cores()
        processes = min(16, max(1, cores - 1)) if device.type == "cuda" else int(cores > 1)
    check_memory(min(config.batch_size, len(images.rows)), network.img_size, "batch_size or img_size")
    images.data.hold()
    loader = eval_loader(
        images.data,
        images.rows,
        (eval_transform(network.img_size, eval_crop),),
        needs_labels=False,
        batch_size=config.batch_size,
        worker=(0, 1),
        processes=processes,
        pin_memory=device.type == "cuda",
    )
    listener.on_start(network, images)
    started = perf_counter()
    with closing(loader), kept_process_state():
        torch.set_num_threads(config.threads or own_threads())
        found = _passes(network, images.labels, loader, device, _mixed(device, precision), listener)
    seconds = perf_counter() - started
    n = len(images.rows)
    low, high = wilson_interval(found.top1, n)
    return EvaluationReport(
        source=network.source,
        model=network.text,
        weights=network.weights,
        data=images.spec,
        images=n,
        img_size=network.img_size,
        eval_crop=eval_crop,
        device=device.type,
        precision=precision,
        loss=found.loss,
        top1=found.top1,
        top1_low=float(low),
        top1_high=float(high),
        top5=found.top5,
        seconds=seconds,
        images_per_s=n / seconds,
        classes=class_accuracies(images.labels, found.predictions, network.num_classes, network.class_names),
        predictions=Predictions(
            tuple(images.data.name(int(row)) for row in images.rows),
            images.labels,
            found.predictions,
            found.probabilities,
        ),
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


@torch.no_grad()
def _passes(
    network: TrainedNetwork,
    labels: np.ndarray,
    loader: Loader,
    device: torch.device,
    mixed: AbstractContextManager[Any],
    listener: EvaluationListener,
) -> _Found:
    model, n = network.model.to(device).eval(), len(labels)
    classes = torch.from_numpy(labels).to(device)
    predictions = torch.empty(n, dtype=torch.int64, device=device)
    probabilities = torch.empty(n, device=device)
    sums = {name: torch.zeros((), dtype=torch.float64, device=device) for name in ("loss", "top1")}
    among_five = torch.zeros((), dtype=torch.int64, device=device)
    has_top5 = network.num_classes > _TOP
    done, started = 0, perf_counter()
    for prepared in loader:
        batch = prepared.to(device)
        with mixed:
            logits = model(batch.images)
        logits, own = logits.float(), classes[batch.positions]
        for name, value in evaluated_classes(logits, own).items():
            sums[name] = sums[name] + value
        if has_top5:
            among_five += (logits.topk(_TOP, dim=1).indices == own[:, None]).sum()
        share = logits.softmax(1).amax(1)
        # A tie of probabilities may be none of logits, by which accuracy is counted.
        predictions[batch.positions] = logits.argmax(1)
        probabilities[batch.positions] = share
        done += len(batch)
        listener.on_progress(done, n, done / (perf_counter() - started))
    return _Found(
        loss=float(sums["loss"]) / n,
        top1=float(sums["top1"]) / n,
        top5=float(among_five) / n if has_top5 else None,
        predictions=predictions.cpu().numpy(),
        probabilities=probabilities.cpu().numpy(),
    )


def _mixed(device: torch.device, precision: str) -> AbstractContextManager[Any]:
    """A context within which the network computes in a precision; it can be entered again and again."""
    return nullcontext() if precision == "float32" else torch.autocast(device.type, dtype=getattr(torch, precision))
