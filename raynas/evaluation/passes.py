"""Passes of a trained network over images, which evaluations and predictions share. B images of a pass, K classes."""

from __future__ import annotations

from collections.abc import Callable, Generator
from contextlib import AbstractContextManager, closing, nullcontext
from dataclasses import dataclass
from time import perf_counter
from typing import Any, NamedTuple

import numpy as np
import torch

from raynas.cores import usable_cores
from raynas.data.batch import check_memory
from raynas.data.dataset import ImageDataset
from raynas.errors import ConfigError, error_words
from raynas.evaluation.config import PassConfig
from raynas.evaluation.source import TrainedNetwork
from raynas.models.process_state import kept_process_state, own_threads
from raynas.training.config import precision_on
from raynas.training.images import Loader, Transform, eval_loader, eval_transform

Progress = Callable[[int, int, float], None]
"""Is told how many images are done, of how many, and how many a second."""


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


def check_device(config: PassConfig) -> None:
    """Refuse a device that is not there, or does not compute in the precision that is asked for.

    Raises:
        ConfigError: It is so.
    """
    precision_on(config.precision or "auto", device_of(config.device).type)


@dataclass(frozen=True)
class PassSetting:
    """How a network computes on images, with all defaults filled in.

    Args:
        device: Where it computes.
        precision: "float32", "bfloat16" or "float16".
        img_size: Image side in pixels.
        eval_crop: How images are prepared, see `raynas.training.config.TrainConfig`.
    """

    device: torch.device
    precision: str
    img_size: int
    eval_crop: float

    @classmethod
    def of(cls, network: TrainedNetwork, config: PassConfig) -> PassSetting:
        """What was asked for, and else what the network's source says.

        Raises:
            ConfigError: The device is not there, or does not compute in the precision.
        """
        device = device_of(config.device)
        precision = precision_on(config.precision or network.precision, device.type)
        return cls(device, precision, network.img_size, config.eval_crop or network.eval_crop)

    @property
    def transform(self) -> Transform:
        """What makes of an image what the network sees of it."""
        return eval_transform(self.img_size, self.eval_crop)

    def mixed(self) -> AbstractContextManager[Any]:
        """A context within which the network computes in the precision; it can be entered again and again."""
        if self.precision == "float32":
            return nullcontext()
        return torch.autocast(self.device.type, dtype=getattr(torch, self.precision))


class Pass(NamedTuple):
    """What a network makes of some images.

    Args:
        positions: (B,) places of the images among the rows that were asked for, on the device.
        logits: (B, K) logits, float32, on the device.
    """

    positions: torch.Tensor
    logits: torch.Tensor


def passes(
    network: TrainedNetwork,
    data: ImageDataset,
    rows: np.ndarray,
    config: PassConfig,
    setting: PassSetting,
    progress: Progress,
) -> Generator[Pass, None, None]:
    """Take a network over images, as trainings do at the end of an epoch.

    Args:
        network: The network, which is moved to the device.
        data: The images.
        rows: (N,) rows of those to take.
        config: What was asked for.
        setting: What it comes to.
        progress: Is told of each pass once it is used.

    Returns:
        The passes, which are computed one at a time as they are asked for; to be closed where not all are.

    Raises:
        ConfigError: A pass can never be in memory.
        DataError: An image cannot be read.
    """
    check_memory(min(config.batch_size, len(rows)), setting.img_size, "batch_size or img_size")
    processes = config.loader_processes
    if processes is None:
        cores = usable_cores()
        processes = min(16, max(1, cores - 1)) if setting.device.type == "cuda" else int(cores > 1)
    data.hold()
    loader = eval_loader(
        data,
        rows,
        (setting.transform,),
        needs_labels=False,
        batch_size=config.batch_size,
        worker=(0, 1),
        processes=processes,
        pin_memory=setting.device.type == "cuda",
    )
    return _passes(network, loader, len(rows), config, setting, progress)


@torch.no_grad()
def _passes(
    network: TrainedNetwork, loader: Loader, n: int, config: PassConfig, setting: PassSetting, progress: Progress
) -> Generator[Pass, None, None]:
    done, started, mixed = 0, perf_counter(), setting.mixed()
    with closing(loader), kept_process_state():
        torch.set_num_threads(config.threads or own_threads())
        model = network.model.to(setting.device).eval()
        for prepared in loader:
            batch = prepared.to(setting.device)
            with mixed:
                logits = model(batch.images)
            yield Pass(batch.positions, logits.float())
            done += len(batch)
            progress(done, n, done / (perf_counter() - started))
