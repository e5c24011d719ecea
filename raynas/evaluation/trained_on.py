"""Whether images that a network is evaluated on are those that it was trained on."""

from __future__ import annotations

import numpy as np

from raynas.data.dataset import ImageDataset
from raynas.data.opening import absolute, open_both
from raynas.data.options import DataOptions
from raynas.errors import RaynasError
from raynas.evaluation.source import TrainedNetwork
from raynas.storage.run_folder import reading
from raynas.training.config import TrainConfig
from raynas.training.folder import Training
from raynas.training.image_choice import chosen_rows
from raynas.training.image_record import read_record

_WAY_ON = "without --data, only images are taken that were not trained on"


def note_on_trained(network: TrainedNetwork, spec: str, data: ImageDataset, rows: np.ndarray) -> str:
    """A line on images that the network has seen in its training; empty where the data are others, or by an export.

    Args:
        network: The network.
        spec: The data that it is evaluated on, as they are named.
        data: The same, opened.
        rows: (N,) indices of the images in them.

    Returns:
        How many of the images were trained on, or that they may have been where the training no longer tells.

    Raises:
        StoreError: The folder of the training is damaged.
    """
    training = network.training
    if training is None:
        return ""
    with reading(training.folder):
        config = TrainConfig.make(TrainConfig.of_stored(training.description["config"]))
    if absolute(spec) != absolute(config.data):
        return ""
    names = _names_of_trained(training, config)
    if names is None:
        return f"{spec} is what the network was trained on, so accuracy on other images may be lower; {_WAY_ON}"
    count = sum(data.name(row) in names for row in rows.tolist())
    if not count:
        return ""
    return (
        f"the network was trained on {count:,} of these {len(rows):,} images, so accuracy on other images may be "
        f"lower; {_WAY_ON}"
    )


def _names_of_trained(training: Training, config: TrainConfig) -> frozenset[str] | None:
    """Names of the images that were trained on: those of the training's record, or drawn again where it has none.

    None where neither is possible, as of data that are gone.
    """
    record = read_record(training.folder)
    if record is not None:
        return frozenset(record.train.names)
    try:
        data, val_data = open_both(
            config.data, config.val_data, DataOptions.of(config), val_left_out=config.skipped_val_images
        )
        rows, _ = chosen_rows(config, data, val_data)
    except RaynasError:
        return None
    return frozenset(map(data.name, rows.tolist()))
