"""Which images a network is evaluated on, and of which of its classes they are."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from raynas.data.dataset import ImageDataset
from raynas.data.inspection import check_readable, inspect
from raynas.data.labels import Classes, matched
from raynas.data.opening import needs_inspection, open_both, open_dataset
from raynas.data.options import AS_THEY_ARE, DataOptions
from raynas.errors import ConfigError, DataError
from raynas.evaluation.config import EvaluateConfig
from raynas.evaluation.source import TrainedNetwork
from raynas.evaluation.trained_on import note_on_trained
from raynas.storage.run_folder import reading
from raynas.training.config import TrainConfig
from raynas.training.image_choice import chosen_rows, spread_over_classes


@dataclass(frozen=True)
class ChosenImages:
    """Images that a network is taken over.

    Args:
        data: The data set.
        spec: How it is called.
        rows: (N,) indices of the images in it, in ascending order.
    """

    data: ImageDataset
    spec: str
    rows: np.ndarray


@dataclass(frozen=True)
class EvaluatedImages(ChosenImages):
    """Labelled images.

    Args:
        data: The data set.
        spec: How it is called.
        rows: (N,) indices of the images in it, in ascending order.
        labels: (N,) their classes as the network numbers them, int64.
        note: What is to be known of them before an accuracy is believed: that the network was trained on them.
    """

    labels: np.ndarray
    note: str = ""


def choose_images(config: EvaluateConfig, network: TrainedNetwork) -> EvaluatedImages:
    """Open the data set, choose images, match their classes with the network's, and look at them.

    Raises:
        ConfigError: Nothing says on which images; or options go with other data.
        DataError: The data cannot be opened or read, have no labels, or other classes than the network.
    """
    found = _of_training(config, network) if config.data is None else _of_data(config, config.data, network)
    if config.max_images is not None and config.max_images < len(found.rows):
        kept = spread_over_classes(found.labels, config.max_images, config.seed, leaves_one=False)
        found = replace(found, rows=found.rows[kept], labels=found.labels[kept])
    if needs_inspection(found.data):
        check_readable(inspect(found.data, found.rows))
    if config.data is None:
        return found
    return replace(found, note=note_on_trained(network, config.data, found.data, found.rows))


def _of_training(config: EvaluateConfig, network: TrainedNetwork) -> EvaluatedImages:
    """The images that the training evaluated on."""
    if network.training is None:
        raise ConfigError("say with --data on which images: an export does not know those of its training")
    if given := _given(config):
        raise ConfigError(f"{', '.join(given)} go with --data; without it, images are read as the training did")
    folder = network.training.folder
    with reading(folder):
        stored: Mapping[str, Any] = network.training.description["config"]
        told = TrainConfig.make(TrainConfig.of_stored(stored))
    data, val_data = open_both(told.data, told.val_data, DataOptions.of(told), val_left_out=told.skipped_val_images)
    _check_labelled(val_data)
    _, rows = chosen_rows(told, data, val_data)
    return EvaluatedImages(val_data, told.val_data or f"{told.data}, held out", rows, val_data.labels(rows))


def _of_data(config: EvaluateConfig, spec: str, network: TrainedNetwork) -> EvaluatedImages:
    options = DataOptions.of(config)
    data, _ = opened_for(network, spec, options)
    _check_labelled(data)
    if data.classes is None:  # known with the images alone
        if data.num_classes > network.num_classes:
            raise DataError(
                f"data {spec!r} has {data.num_classes} classes, and the network of {network.source} has "
                f"{network.num_classes}"
            )
        rows = np.arange(min(len(data), config.max_images or len(data)))
        return EvaluatedImages(data, spec, rows, data.labels(rows))
    labels = network_labels(data.classes, spec, network, is_renumbered=options.renumber_labels)
    return EvaluatedImages(data, spec, np.arange(len(data)), labels)


def opened_for(network: TrainedNetwork, spec: str, options: DataOptions) -> tuple[ImageDataset, Mapping[str, str]]:
    """Open images as a network takes them, without those that cannot be read where they are to be skipped.

    Args:
        network: The network, whose training says what is black and white, where the options do not.
        spec: The data.
        options: How images are read.

    Returns:
        The data set; and why images that were skipped cannot be read, by their names.

    Raises:
        DataError: The data cannot be opened, or no image in them can be read.
    """
    if options.pixel_range is None:
        options = options.resolved(pixel_range=network.pixel_range)
    data = open_dataset(spec, options)
    if not (options.skip_unreadable and needs_inspection(data)):
        return data, {}
    broken = inspect(data, everything=True).unreadable
    return (open_dataset(spec, options, left_out=tuple(sorted(broken))) if broken else data), broken


def _check_labelled(data: ImageDataset) -> None:
    """Refuse images without labels, and say what takes them."""
    if data.lacks_labels:
        raise DataError(
            f"data {data.source!r}: {data.lacks_labels}; `raynas predict SOURCE --images DIR` takes images without "
            "labels"
        )


def network_labels(classes: Classes, spec: str, network: TrainedNetwork, *, is_renumbered: bool) -> np.ndarray:
    """Labels as the network numbers its classes: by the names of classes where both have them, else by their numbers.

    Args:
        classes: The labels of the data.
        spec: The data, for messages.
        network: The network.
        is_renumbered: Whether the classes of the data were numbered anew.

    Returns:
        (rows,) int64.

    Raises:
        DataError: The classes are not those of the network.
    """
    known, names = network.class_names, classes.names
    of_network = Classes(np.empty(0, np.int64), network.num_classes, known, "the network")
    where = network.source
    if known and names:
        if len(set(known)) == len(known) and len(set(names)) == len(names):
            classes = replace(classes, is_by_text=True)  # names decide, whatever the data number by
    elif (classes.is_by_text or is_renumbered or network.is_renumbered) and classes.num_classes != network.num_classes:
        raise DataError(
            f"data {spec!r} has {classes.num_classes} classes and the network of {where} has {network.num_classes}, "
            "and no names say which are which"
        )
    elif network.is_renumbered and not is_renumbered and classes.sizes.min(initial=0) == 0:
        raise DataError(f"the training of {where} numbered its classes anew: --renumber-labels does so here")
    return matched(spec, classes, of_network, where).labels


def _given(config: EvaluateConfig) -> list[str]:
    return [name for name in DataOptions.model_fields if getattr(config, name) != getattr(AS_THEY_ARE, name)]
