"""Runs that score sub-networks of a trained supernet by inherited weights: their scores, and what they are made of."""

from __future__ import annotations

import json
from collections.abc import Mapping
from contextlib import closing
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path
from typing import Any

import numpy as np

from raynas.data.contents import contained
from raynas.data.dataset import ImageDataset, check_labelled
from raynas.data.opening import open_dataset
from raynas.data.options import DataOptions
from raynas.errors import ConfigError, DataError
from raynas.models.elastic.supernet import Supernet
from raynas.scoring.inherited import ACCURACY, BATCH_SIZE, InheritedTask
from raynas.searching.config import RunConfig
from raynas.searching.scores import Score, cost_scores
from raynas.space.architecture import Architecture
from raynas.space.build import builder, built
from raynas.space.cost import counted_costs
from raynas.space.registered import spaces
from raynas.space.results import Constraint, ScoreIdentity, parse_bounds
from raynas.space.search_space import SearchSpace
from raynas.storage.run_folder import reading
from raynas.training.checkpoints import check_weights, checkpoint_folder, read_last, trained_weights
from raynas.training.config import TrainConfig
from raynas.training.folder import Training, load_training
from raynas.training.image_choice import ChosenImages, absolute, chosen_rows
from raynas.training.images import eval_loader, eval_pixels

_REFUSED = ("proxies", "teacher", "width_divisor")
"""Settings of runs that score untrained networks, which have no meaning here."""


@dataclass(frozen=True)
class InheritedScoring:
    """Makes the task of scoring sub-networks by inherited weights; a `raynas.searching.plan.TaskMaker`.

    Args:
        space: The space of the supernet.
        largest: The architecture of its network.
        settings: Keywords with which the network is built, img_size and num_classes among them.
        weights: Its parameters and buffers by name.
        weights_hash: A hash of them.
        images: Pixels (N, 3, img_size, img_size), uint8, of the images to evaluate on.
        labels: Their classes (N,), int64.
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

    def scores(self) -> tuple[Score, ...]:
        """Accuracy and loss, then the costs."""
        img_size, num_classes = (int(self.settings[name]) for name in ("img_size", "num_classes"))
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
        config: What was asked for; `supernet` names the folder of a training.
        space: The space itself, where it is not a registered one.

    Raises:
        ConfigError: Settings that have no meaning here, or a training of something else than a supernet.
        StoreError: The training cannot be read, or has no weights.
        DataError: Images that cannot be read, or that were trained on.
    """
    assert config.supernet is not None
    training = load_training(Path(config.supernet))
    if given := [name for name in _REFUSED if getattr(config, name)]:
        raise ConfigError(
            f"{', '.join(given)} cannot be given where {config.supernet} is searched: a run scores either untrained "
            "networks or sub-networks of a supernet"
        )
    kind = (training.description.get("objective") or {}).get("name")
    if kind != "supernet":
        raise ConfigError(
            f"{training.folder} is a training of one network ({kind}), and no supernet: `raynas supernet train` "
            "trains one"
        )
    with reading(training.folder):
        model, trained_as = training.description["model"], training.description["config"]
        settings = dict(model["settings"])
        space = space or spaces.get(model["space"])
    for name in ("img_size", "num_classes"):
        if getattr(config, name) not in (None, settings[name]):
            raise ConfigError(
                f"{name} is {getattr(config, name)}, but the supernet in {training.folder} was trained with "
                f"{settings[name]}"
            )
    largest = training.architecture
    space.validate(largest)
    weights, weights_hash = _weights(training, space, largest, settings)
    train_config = TrainConfig.make(TrainConfig.of_stored(dict(trained_as)))
    if config.data is not None and absolute(config.data) != absolute(train_config.data):
        raise ConfigError(
            f"data is {config.data!r}, but sub-networks of {training.folder} are evaluated on what its training left "
            f"out of {train_config.data!r}, or on the images of --holdout"
        )
    images, labels, left_out = _images(config, train_config, training, int(settings["img_size"]))
    options = DataOptions.of(train_config)
    scoring = InheritedScoring(
        space,
        largest,
        settings,
        weights,
        weights_hash,
        images,
        labels,
        train_config.precision,
        parse_bounds(config.constraints, config.bands),
    )
    resolved = config.resolved(
        **options.model_dump(),
        supernet=str(Path(config.supernet).absolute()),
        space=spaces.reference(space),
        img_size=settings["img_size"],
        num_classes=settings["num_classes"],
        data=absolute(train_config.data),
        holdout=config.holdout and absolute(config.holdout),
        test_data=config.test_data and absolute(config.test_data),
        objectives=config.objectives or ("top1",),
    )
    return OpenedSupernet(scoring, resolved, left_out)


def _weights(
    training: Training, space: SearchSpace, largest: Architecture, settings: Mapping[str, Any]
) -> tuple[dict[str, np.ndarray], str]:
    """Parameters and buffers by name, and a hash of them; refuses those that are not of the supernet."""
    import torch

    state = trained_weights(read_last(training.folder))
    with torch.device("meta"):
        whole = built(builder(space), largest, **settings)
    check_weights(whole, state, str(checkpoint_folder(training.folder)))
    Supernet(space, largest, whole, settings).check_members()
    digest = blake2b(digest_size=8)
    weights = {}
    for name, tensor in state.items():
        weights[name] = tensor.detach().cpu().contiguous().numpy()
        digest.update(name.encode())
        digest.update(weights[name].tobytes())
    return weights, digest.hexdigest()


def _images(
    config: RunConfig, train_config: TrainConfig, training: Training, img_size: int
) -> tuple[np.ndarray, np.ndarray, dict[str, int]]:
    """Pixels and labels to evaluate on, and how many images of the hold-out are left out, by where they were found.

    Raises:
        DataError: Images cannot be read, are others than the training's, or were trained on.
    """
    options = DataOptions.of(train_config)
    data = open_dataset(train_config.data, options)
    rows, held_out = chosen_rows(train_config, data, data)
    chosen = ChosenImages(data, data, rows, held_out, data.labels(rows), data.labels(held_out), options, (), {})
    if chosen.hash != training.description["identity"]["data"]["images"]:
        raise DataError(
            f"data {train_config.data!r} are not the images that the supernet in {training.folder} was trained on"
        )
    left_out: dict[str, int] = {}
    dataset = data
    if config.holdout is not None:
        dataset = open_dataset(config.holdout, options.model_copy(update={"skipped_images": ()}), like=data)
        check_labelled(dataset)
        held_out = np.arange(len(dataset))
    seen = contained(dataset, held_out, data, rows)
    if seen.any():
        if config.holdout is not None:
            raise DataError(
                f"holdout {config.holdout!r}: {seen.sum():,} of {len(seen):,} images are among those that the supernet "
                f"was trained on, such as {dataset.name(int(held_out[seen][0]))}"
            )
        left_out["trained on"] = int(seen.sum())
        held_out = held_out[~seen]
    if config.test_data is not None:
        test = open_dataset(config.test_data, options.model_copy(update={"skipped_images": ()}))
        seen = contained(dataset, held_out, test, np.arange(len(test)))
        if seen.any():
            left_out[f"in {config.test_data}"] = int(seen.sum())
            held_out = held_out[~seen]
    if not len(held_out):
        raise DataError("no image is left to evaluate sub-networks on: all of the hold-out are also elsewhere")
    pixels, labels = read_pixels(dataset, held_out, img_size, train_config.eval_crop)
    return pixels, labels, left_out


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
