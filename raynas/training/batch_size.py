"""Whether the images of a step can be divided over workers and passes, and held in memory."""

from __future__ import annotations

from raynas.data.batch import check_memory
from raynas.errors import ConfigError
from raynas.training.config import TrainConfig


def check_batches(config: TrainConfig, n: int, img_size: int, *, in_pairs: bool) -> None:
    """Refuse a batch size that the images, the workers or the memory do not go with.

    Args:
        config: The settings of the training.
        n: How many images there are to train on.
        img_size: Image side in pixels.
        in_pairs: Whether images are mixed in pairs, so that a batch has an even number of them.

    Raises:
        ConfigError: The batch size cannot be used; the message names one that can.
    """
    if in_pairs and config.batch_size % 2:
        raise ConfigError(f"batch_size is {config.batch_size}; it must be even, since images are mixed in pairs")
    if n < config.batch_size:
        rest = n % 2 if in_pairs else 0
        smaller = f": --batch-size {n - rest} is the largest for them" if n > 1 else ""
        smaller += ", as it must be even: images are mixed in pairs" if n > 1 and rest else ""
        raise ConfigError(f"batch_size is {config.batch_size}, but there are only {n} images to train on{smaller}")
    known = config.min_workers if config.workers is None else config.workers  # the machine may say later
    check_workers(config, known or 1)
    images = config.batch_size // ((known or 1) * config.accumulation)  # of one pass
    check_memory(images, img_size, "batch_size or img_size", is_here=config.workers == 0)


def check_workers(config: TrainConfig, workers: int) -> None:
    """Refuse a batch size of which some worker, or a pass of it, would have fewer than two images.

    Args:
        config: The settings of the training.
        workers: How many workers share a step.

    Raises:
        ConfigError: It is too small, or there are fewer workers than the least number.
    """
    parts = workers * config.accumulation
    if config.batch_size < 2 * parts:
        raise ConfigError(
            f"batch_size {config.batch_size} cannot be divided over {workers} workers with accumulation "
            f"{config.accumulation}: it must be at least {2 * parts}"
        )
    if config.min_workers is not None and config.min_workers > workers:
        raise ConfigError(f"min_workers is {config.min_workers}, more than the {workers} workers")
