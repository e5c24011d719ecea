"""Runs that score sub-networks of a trained supernet by inherited weights: their scores, and what they are made of."""

from __future__ import annotations

import json
from collections.abc import Mapping
from contextlib import closing
from dataclasses import dataclass
from hashlib import blake2b
from typing import Any

import numpy as np

from raynas.data.contents import contained
from raynas.data.dataset import ImageDataset, check_labelled, rows_named
from raynas.data.opening import absolute, open_both, open_dataset
from raynas.data.options import DataOptions
from raynas.errors import ConfigError, DataError
from raynas.scoring.inherited import ACCURACY, BATCH_SIZE, InheritedTask
from raynas.searching.config import RunConfig
from raynas.searching.scores import Score, cost_scores
from raynas.searching.supernet_source import SupernetSource, read_supernet
from raynas.space.architecture import Architecture
from raynas.space.cost import counted_costs
from raynas.space.registered import spaces
from raynas.space.results import Constraint, ScoreIdentity, parse_bounds
from raynas.space.search_space import SearchSpace
from raynas.training.config import TrainConfig
from raynas.training.image_choice import ChosenImages, chosen_rows
from raynas.training.image_record import changed, found_again, knows, read_record
from raynas.training.images import eval_loader, eval_pixels


@dataclass(frozen=True)
class InheritedScoring:
    """Makes the task of scoring sub-networks by inherited weights; a `raynas.searching.plan.TaskMaker`.

    Args:
        space: The space of the supernet.
        largest: The architecture of its network.
        settings: Keywords with which the network is built, img_size and num_classes among them.
        weights: The network's parameters and buffers by name.
        weights_hash: A hash of them.
        images: Pixels (N, 3, img_size, img_size), uint8, of the images to evaluate on.
        labels: Class numbers of the images (N,), int64.
        precision: Precision of the evaluation, as `InheritedTask` takes it.
        constraints: The run's bounds.
    """

    space: SearchSpace
    largest: Architecture
    settings: Mapping[str, Any]
    weights: Mapping[str, np.ndarray]
    weights_hash: str
    images: np.ndarray
    labels: np.ndarray
    precision: str
    constraints: tuple[Constraint, ...] = ()

    def __call__(self, device: str, threads: int) -> InheritedTask:
        """The task on a device."""
        return InheritedTask(
            self.space,
            self.largest,
            self.settings,
            self.weights,
            self.images,
            self.labels,
            precision=self.precision,
            counted=counted_costs(self.space),
            constraints=self.constraints,
            device=device,
            threads=threads,
        )

    @property
    def img_size(self) -> int:
        """Side of the images in pixels."""
        return int(self.settings["img_size"])

    def scores(self) -> tuple[Score, ...]:
        """Accuracy and loss, then the costs."""
        img_size, num_classes = self.img_size, int(self.settings["num_classes"])
        of_images = blake2b(self.images.tobytes(), digest_size=8)
        of_images.update(self.labels.astype("<i8").tobytes())
        settings = {"weights": self.weights_hash, "largest": self.largest.key, "batch_size": BATCH_SIZE}
        scores = [
            Score(
                output.name,
                ScoreIdentity(
                    space=self.space.name,
                    img_size=img_size,
                    num_classes=num_classes,
                    model_version=self.space.model_version,
                    proxy=output.name,
                    settings=json.dumps(settings, sort_keys=True, separators=(",", ":")),
                    init="inherited",
                    dtype=self.precision,
                    input_hash=of_images.hexdigest(),
                ),
                output.higher_is_better,
                0,
            )
            for output in ACCURACY
        ]
        return (*scores, *cost_scores(self.space, img_size, num_classes, counted_in=1))


@dataclass(frozen=True)
class OpenedSupernet:
    """A trained supernet, read, with the images to evaluate its members on.

    Args:
        scoring: Makes the task.
        config: The configuration of the run, with what the training of the supernet says filled in.
        left_out: How many images of the hold-out are not evaluated on, by what they were also among.
    """

    scoring: InheritedScoring
    config: RunConfig
    left_out: Mapping[str, int]


def open_supernet(config: RunConfig, space: SearchSpace | None = None) -> OpenedSupernet:
    """Read the supernet of a run, choose the images to evaluate on, and check that nothing has seen them.

    Args:
        config: What was asked for; `supernet` names the folder of a training, or timm:NAME:FILE.
        space: The space itself, where it is not a registered one.

    Raises:
        ConfigError: Settings that have no meaning here, a network without members, or no images to evaluate them on.
        StoreError: The network cannot be read.
        DataError: Images that cannot be read, or that were trained on.
    """
    assert config.supernet is not None
    source = read_supernet(config.supernet, space)
    space, settings, trained_as = source.space, source.settings, source.train_config
    for name in ("img_size", "num_classes"):
        if getattr(config, name) not in (None, settings[name]):
            raise ConfigError(
                f"{name} is {getattr(config, name)}, but the network in {source.text} has {settings[name]}"
            )
    data = None if trained_as is None else absolute(trained_as.data)
    if config.data is not None and absolute(config.data) not in (data, config.holdout and absolute(config.holdout)):
        raise ConfigError(
            f"data is {config.data!r}, but sub-networks of {source.text} are evaluated on the images of --holdout, or "
            f"on what the training left out{'' if data is None else f' of {data!r}'}"
        )
    images, labels, left_out = _images(config, source)
    weights, weights_hash = _as_arrays(source.weights)
    scoring = InheritedScoring(
        space,
        source.largest,
        settings,
        weights,
        weights_hash,
        images,
        labels,
        "auto" if trained_as is None else trained_as.precision,
        parse_bounds(config.constraints, config.bands),
    )
    resolved = config.resolved(
        **({} if trained_as is None else DataOptions.of(trained_as).model_dump()),
        supernet=source.text,
        space=spaces.reference(space),
        img_size=settings["img_size"],
        num_classes=settings["num_classes"],
        data=data or absolute(config.holdout or ""),
        holdout=config.holdout and absolute(config.holdout),
        test_data=config.test_data and absolute(config.test_data),
        objectives=config.objectives or ("top1",),
    )
    return OpenedSupernet(scoring, resolved, left_out)


def _as_arrays(weights: Mapping[str, Any]) -> tuple[dict[str, np.ndarray], str]:
    """Parameters and buffers by name, and a hash of them."""
    digest = blake2b(digest_size=8)
    arrays = {}
    for name, tensor in weights.items():
        arrays[name] = tensor.detach().cpu().contiguous().numpy()
        digest.update(name.encode())
        digest.update(arrays[name].tobytes())
    return arrays, digest.hexdigest()


def _images(config: RunConfig, source: SupernetSource) -> tuple[np.ndarray, np.ndarray, dict[str, int]]:
    """Pixels and labels to evaluate on, and how many images of the hold-out are left out, by where they were found.

    Raises:
        ConfigError: There is no hold-out, or its classes are not those of the network.
        DataError: Images cannot be read, are others than the training's, or were trained on.
    """
    trained_as = source.train_config
    if config.holdout is None and (trained_as is None or trained_as.val_data is not None):
        reason = (
            f"nothing says what {source.text} was trained on"
            if trained_as is None
            else f"{source.text} was evaluated on {trained_as.val_data}, which may be kept for the end"
        )
        raise ConfigError(f"{reason}: name images to evaluate its members on with --holdout")
    options = DataOptions.of(config if trained_as is None else trained_as)
    own = options.model_copy(update={"skipped_images": ()})
    data, rows, held_out = (None, None, None) if trained_as is None else _of_training(trained_as, source)
    left_out: dict[str, int] = {}
    if config.holdout is not None:
        dataset = open_dataset(config.holdout, own, like=data)
        check_labelled(dataset)
        held_out = np.arange(len(dataset))
    else:
        assert data is not None
        dataset = data
    assert held_out is not None
    if data is not None and rows is not None and (seen := contained(dataset, held_out, data, rows)).any():
        if config.holdout is not None:
            raise DataError(
                f"holdout {config.holdout!r}: {seen.sum():,} of {len(seen):,} images are among those that the supernet "
                f"was trained on, such as {dataset.name(int(held_out[seen][0]))}"
            )
        left_out["trained on"] = int(seen.sum())
        held_out = held_out[~seen]
    if config.test_data is not None:
        test = open_dataset(config.test_data, own)
        if (seen := contained(dataset, held_out, test, np.arange(len(test)))).any():
            left_out[f"in {config.test_data}"] = int(seen.sum())
            held_out = held_out[~seen]
    if not len(held_out):
        raise DataError("no image is left to evaluate sub-networks on: all of the hold-out are also elsewhere")
    num_classes = int(source.settings["num_classes"])
    if dataset.num_classes and dataset.num_classes != num_classes:
        raise ConfigError(
            f"the network in {source.text} has {num_classes} outputs, but {dataset.source!r} has {dataset.num_classes} "
            "classes"
        )
    crop = 1.0 if trained_as is None else trained_as.eval_crop
    pixels, labels = read_pixels(dataset, held_out, int(source.settings["img_size"]), crop)
    return pixels, labels, left_out


def _of_training(config: TrainConfig, source: SupernetSource) -> tuple[ImageDataset, np.ndarray, np.ndarray]:
    """The images of a training, the rows that it trained on, and those that it left out.

    Raises:
        DataError: The images are others by now.
    """
    assert source.training is not None
    options = DataOptions.of(config)
    data, val_data = open_both(config.data, config.val_data, options, val_left_out=config.skipped_val_images)
    record = read_record(source.training.folder)
    if record is not None and knows(record.train, data) and knows(record.val, val_data):
        rows = rows_named(data, record.train.names)  # of which any may be gone: no sub-network is evaluated on them
        val_rows = found_again(record.val, val_data, (), "put them back").rows
        changed(record.val, val_data, val_rows)
        return data, np.sort(rows[rows >= 0]), np.sort(val_rows)
    rows, val_rows = chosen_rows(config, data, val_data)
    labels, val_labels = data.labels(rows), val_data.labels(val_rows)
    chosen = ChosenImages(data, val_data, rows, val_rows, labels, val_labels, options, config.skipped_val_images, {})
    if chosen.hash != source.training.description["identity"]["data"]["images"]:
        raise DataError(f"data {config.data!r} are not the images that the network in {source.text} was trained on")
    return data, rows, val_rows


def read_pixels(
    dataset: ImageDataset, rows: np.ndarray, img_size: int, eval_crop: float = 1.0
) -> tuple[np.ndarray, np.ndarray]:
    """Images as a training evaluates them, before they are normalised, and their classes.

    Args:
        dataset: The images.
        rows: (N,) indices of those that are read.
        img_size: Side of the result in pixels.
        eval_crop: How they are brought to it, see `raynas.training.config.TrainConfig`.

    Returns:
        Pixels (N, 3, img_size, img_size) uint8 and classes (N,) int64.

    Raises:
        DataError: An image cannot be read.
    """
    dataset.hold()
    loader = eval_loader(
        dataset, rows, (eval_pixels(img_size, eval_crop),), batch_size=256, worker=(0, 1), processes=0, pin_memory=False
    )
    pixels, labels = np.empty((len(rows), 3, img_size, img_size), np.uint8), np.empty(len(rows), np.int64)
    with closing(loader):
        for batch in loader:
            assert batch.labels is not None
            places = batch.positions.numpy()
            pixels[places], labels[places] = batch.images.numpy(), batch.labels.numpy()
    return pixels, labels
