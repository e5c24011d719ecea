"""Images for training: an order and a variation of every image that follow from the seed alone.

The images of a step are the same whoever computes them. They are cut into microbatches, one for each pass of each
worker; every one holds an image together with the one that Mixup and CutMix mix it with, so that the mixture does not
depend on the cut either. What an image looks like in an epoch follows from hash(seed, epoch, row): neither processes
that prepare images, nor workers, nor a resumed run change it.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from multiprocessing.sharedctypes import RawValue
from typing import Any, NamedTuple

import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset

from raynas.data.dataset import ImageDataset
from raynas.errors import ConfigError, DataError, error_line
from raynas.models.normalisation import IMAGENET_MEAN, IMAGENET_STD
from raynas.models.process_state import seed_generators
from raynas.seeds import seed_from
from raynas.training.batch import Batch

Transform = Callable[[Any], torch.Tensor]


def train_transform(img_size: int, augmentation: dict[str, Any], *, interpolation: str = "bicubic") -> Transform:
    """timm's transform from an RGB image to a varied, normalised tensor (3, img_size, img_size).

    Args:
        img_size: Image side in pixels.
        augmentation: What `TrainConfig.augmentation` returns.
        interpolation: How crops are resized, as timm names it; "random" draws bilinear or bicubic for each image.

    Raises:
        ConfigError: timm does not know the text of auto_augment.
    """
    from timm.data import create_transform

    try:
        transform: Transform = create_transform(
            img_size,
            is_training=True,
            scale=(augmentation["min_scale"], 1.0),
            ratio=(1.0, 1.0) if augmentation["min_scale"] == 1.0 else (3 / 4, 4 / 3),
            hflip=augmentation["hflip"],
            color_jitter=augmentation["color_jitter"],
            auto_augment=augmentation["auto_augment"] or None,
            interpolation=interpolation,
            mean=IMAGENET_MEAN,
            std=IMAGENET_STD,
            re_prob=augmentation["erasing"],
            re_mode="pixel",
        )
    except (AssertionError, KeyError, ValueError, IndexError) as error:
        raise ConfigError(
            f"auto_augment {augmentation['auto_augment']!r} is not what timm reads, such as rand-m9-mstd0.5-inc1 "
            f"({error_line(error)})"
        ) from None
    return transform


def shorter_side(img_size: int, eval_crop: float) -> int | None:
    """The shorter side of an image in pixels before its centre is cut out; None where it is squeezed to a square.

    Args:
        img_size: Image side in pixels.
        eval_crop: `TrainConfig.eval_crop`.
    """
    return None if eval_crop == 1.0 else round(img_size / eval_crop)


def eval_transform(img_size: int, eval_crop: float = 1.0) -> Transform:
    """timm's transform from an RGB image to a normalised tensor (3, img_size, img_size), without variation.

    Args:
        img_size: Image side in pixels.
        eval_crop: Below 1, the shorter side becomes round(img_size / eval_crop) pixels (bicubic), and the centre is cut
            out; 1 squeezes the image to a square.
    """
    from timm.data import create_transform

    transform: Transform = create_transform(
        img_size, interpolation="bicubic", mean=IMAGENET_MEAN, std=IMAGENET_STD, **_fitting(img_size, eval_crop)
    )
    return transform


def eval_pixels(img_size: int, eval_crop: float = 1.0) -> Transform:
    """What `eval_transform` does to an image before it makes numbers of the pixels: uint8 (3, img_size, img_size)."""
    from timm.data import create_transform

    # With a prefetcher, timm leaves normalising to it.
    transform: Transform = create_transform(
        img_size, interpolation="bicubic", use_prefetcher=True, **_fitting(img_size, eval_crop)
    )
    return transform


def _fitting(img_size: int, eval_crop: float) -> dict[str, Any]:
    """How timm brings an image to its side."""
    side = shorter_side(img_size, eval_crop)
    if side is None:
        return {"crop_pct": 1.0, "crop_mode": "squash"}
    # timm rounds img_size / crop_pct down, where 1e-6 sees to it that the side is not missed by a rounding error.
    return {"crop_pct": img_size / (side + 1e-6), "crop_mode": "center"}


class _Visit(NamedTuple):
    """An image in an epoch, and its place in the step, or among all that are evaluated."""

    epoch: int
    row: int
    position: int


class _Sample(NamedTuple):
    """An image that is prepared."""

    views: tuple[torch.Tensor, ...]
    label: int
    position: int


class _Prepared(Dataset[_Sample | DataError]):
    """Images by visit; runs in the processes that prepare images."""

    def __init__(
        self, dataset: ImageDataset, rows: np.ndarray, first_rows: np.ndarray, views: Sequence[Transform], seed: int
    ) -> None:
        self.images = dataset
        self._rows = rows
        self._first_rows = first_rows
        self._views = tuple(views)
        self._seed = seed

    def __len__(self) -> int:
        return len(self._rows)

    def __getitem__(self, visit: _Visit) -> _Sample | DataError:
        try:
            (image,), (label,) = self.images.read([int(self._rows[visit.row])])
        except DataError as error:
            return error  # raised, it would come from another process with a page of traceback in its text
        seed_generators(self._seed, visit.epoch, int(self._first_rows[visit.row]))
        return _Sample(tuple(transform(image) for transform in self._views), int(label), visit.position)


def microbatches(batch: np.ndarray, n: int) -> list[np.ndarray]:
    """Cut a batch of rows into n microbatches of nearly equal size, in each of which reversal pairs the same rows.

    Reversed, as by timm's Mixup, row i of the batch meets row B - 1 - i; so it does in its microbatch.

    Args:
        batch: (B,) the rows of a step's images. Where B is odd, the row in the middle meets itself, in the last one.
        n: Number of microbatches, at most B / 2.
    """
    half = len(batch) // 2
    parts = np.array_split(np.arange(half), n)
    middles = [batch[half:half]] * (n - 1) + [batch[half : len(batch) - half]]
    return [
        np.concatenate([batch[part], middle, batch[::-1][part][::-1]])
        for part, middle in zip(parts, middles, strict=True)
    ]


def positions_of_worker(batch_size: int, rank: int, world: int, passes: int) -> list[np.ndarray]:
    """For each pass of a worker, the places (b,) of its images in a step.

    Args:
        batch_size: How many images the step has over all workers.
        rank: The number of the worker, from 0.
        world: How many workers there are.
        passes: Number of passes in which a worker computes its part.
    """
    return microbatches(np.arange(batch_size), world * passes)[rank * passes : (rank + 1) * passes]


class _Order:
    """The rows of every remaining microbatch of one worker, in the order of training."""

    def __init__(
        self, n: int, batch_size: int, seed: int, epochs: range, first_step: int, worker: tuple[int, int, int]
    ):
        self._n = n
        self._batch_size = batch_size
        self._seed = seed
        self._epochs = epochs
        self._first_step = first_step
        self._worker = worker

    def __iter__(self) -> Iterator[list[_Visit]]:
        own = positions_of_worker(self._batch_size, *self._worker)
        for epoch in self._epochs:
            order = np.random.default_rng(seed_from(self._seed, "order", epoch)).permutation(self._n)
            for step in range(self._first_step if epoch == self._epochs.start else 0, self._n // self._batch_size):
                batch = order[step * self._batch_size : (step + 1) * self._batch_size]
                for positions in own:
                    yield [_Visit(epoch, int(batch[position]), int(position)) for position in positions]


def train_loader(
    dataset: ImageDataset,
    rows: np.ndarray,
    views: Sequence[Transform],
    *,
    first_rows: np.ndarray | None = None,
    needs_labels: bool = True,
    batch_size: int,
    seed: int,
    epochs: range,
    first_step: int,
    worker: tuple[int, int, int],
    processes: int,
    pin_memory: bool,
) -> Loader:
    """All microbatches that one worker computes from a step on to the end of training, in one stream.

    Across the ends of epochs, images are prepared ahead without a pause.

    Args:
        dataset: The images.
        rows: Indices of those to train on; an epoch is a random order of them, without the rest of the division.
        views: How each view of an image is made, such as by `train_transform`.
        first_rows: What the variations of each of them follow from, beside seed and epoch: the indices that they had
            when the training began; None: they have them still.
        needs_labels: Whether batches have labels.
        batch_size: How many images a step has over all workers; an even number.
        seed: What orders and variations follow from.
        epochs: Numbers of the epochs that are left.
        first_step: The step in the first of them to begin with.
        worker: The rank of the worker, the number of workers, and in how many passes a worker computes its part.
        processes: How many processes prepare images; 0: this one does.
        pin_memory: Whether batches are put where they can be copied to a GPU without waiting.
    """
    return Loader(
        _Prepared(dataset, rows, rows if first_rows is None else first_rows, views, seed),
        needs_labels,
        batch_sampler=_Order(len(rows), batch_size, seed, epochs, first_step, worker),
        num_workers=processes,
        pin_memory=pin_memory,
        prefetch_factor=4 if processes else None,
    )


def eval_loader(
    dataset: ImageDataset,
    rows: np.ndarray,
    views: Sequence[Transform],
    *,
    needs_labels: bool = True,
    batch_size: int,
    worker: tuple[int, int],
    processes: int,
    pin_memory: bool,
) -> Loader:
    """One worker's part of the images to evaluate on; may be iterated again and again.

    Arguments are those of `train_loader`, with rank and number of workers in `worker`.
    """
    rank, world = worker
    mine = range(rank, len(rows), world)
    visits = [[_Visit(0, row, row) for row in mine[i : i + batch_size]] for i in range(0, len(mine), batch_size)]
    return Loader(
        _Prepared(dataset, rows, rows, views, 0),
        needs_labels,
        batch_sampler=visits,
        num_workers=processes,
        pin_memory=pin_memory,
        persistent_workers=processes > 0,
    )


class Loader:
    """Batches, prepared by processes that end with it.

    Args:
        dataset: The images, by visit.
        needs_labels: Whether batches have labels.
        settings: Further arguments of torch's DataLoader.

    Attributes:
        images: The data set that they are taken from.
    """

    def __init__(self, dataset: _Prepared, needs_labels: bool, **settings: Any) -> None:
        self.images = dataset.images
        self._is_over = RawValue("b", 0)
        helping, collated = partial(_helping, self._is_over), partial(_collated, needs_labels)
        self._loader = DataLoader(dataset, collate_fn=collated, worker_init_fn=helping, **settings)

    def __iter__(self) -> Iterator[Batch]:
        """Yield the batches, and raise what a process met.

        Raises:
            DataError: An image cannot be read.
        """
        for batch in self._loader:
            if isinstance(batch, DataError):
                raise batch
            yield batch

    def close(self) -> None:
        """Let the processes be ended, as Python does when it exits."""
        self._is_over.value = 1


def _collated(needs_labels: bool, samples: Sequence[_Sample | DataError]) -> Batch | DataError:
    good = []
    for sample in samples:
        if isinstance(sample, DataError):
            return sample
        good.append(sample)
    views = tuple(torch.stack(view) for view in zip(*(sample.views for sample in good), strict=True))
    labels = torch.tensor([sample.label for sample in good]) if needs_labels else None
    return Batch(views, labels, torch.tensor([sample.position for sample in good]))


def _helping(is_over: Any, process: int) -> None:
    """Called in a process that prepares images."""
    torch.set_num_threads(1)

    def on_sigterm(signum: int, frame: Any) -> None:
        if is_over.value:
            os._exit(0)

    # A signal to all processes of a training is for the one that trains, which needs its images for a last checkpoint.
    signal.signal(signal.SIGTERM, on_sigterm)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
