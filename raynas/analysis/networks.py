"""Networks that are analysed, from trainings, exports, or files of timm's weights."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from raynas.analysis.config import AnalysisConfig
from raynas.errors import ConfigError
from raynas.exporting.folder import check_img_size, holds_export, load_export
from raynas.models.normalisation import IMAGENET_MEAN, IMAGENET_STD
from raynas.models.teachers import FrozenTeacher
from raynas.registry import named_code
from raynas.space.registered import spaces
from raynas.storage.sources import existing_path, read_source
from raynas.training.folder import load_training
from raynas.training.teachers import read_teacher


@dataclass(frozen=True)
class AnalysedNetwork:
    """A network with its weights.

    Args:
        name: What it is called.
        model: The network, in eval mode, on the CPU.
        img_size: Image side in pixels.
        eval_crop: How images are prepared, see `TrainConfig.eval_crop`.
        mean, std: Mean and deviation of each channel by which images are normalised.
        weights: What is known of its weights, in words.
    """

    name: str
    model: nn.Module
    img_size: int
    eval_crop: float = 1.0
    mean: tuple[float, ...] = IMAGENET_MEAN
    std: tuple[float, ...] = IMAGENET_STD
    weights: str = ""


def read_analysed(source: str, config: AnalysisConfig, *, space: str | None = None) -> AnalysedNetwork:
    """Read a network.

    Args:
        source: The folder of a training, of finalists or variants, or of an export; timm:NAME:FILE or random:NAME.
        config: What was asked for.
        space: The space of the network, where it is not registered.

    Raises:
        RaynasError: It cannot be read, or takes no images of the side that is asked for.
    """
    path = existing_path(source)
    if path is None:
        teacher = read_teacher(source)
        if config.img_size not in (None, teacher.img_size):
            raise ConfigError(f"img_size is {config.img_size}, and {teacher.name} takes images of {teacher.img_size}")
        model = FrozenTeacher(teacher, torch.device("cpu")).model
        weights = "random, never trained" if teacher.is_random else teacher.hash
        return AnalysedNetwork(teacher.name, model, teacher.img_size, 1.0, teacher.mean, teacher.std, weights)
    if holds_export(path):
        model, about = load_export(path, space=None if space is None else spaces.get(space), img_size=config.img_size)
        side: Any = about["preprocessing"].get("shorter_side")
        crop = 1.0 if side is None else about["img_size"] / side
        return AnalysedNetwork(
            str(about["name"]), model, config.img_size or int(about["img_size"]), crop, weights="of the export"
        )
    taken = read_source(source, space=space)
    if taken.kind != "training" or taken.folder is None:
        raise ConfigError(
            f"there are no trained weights in {source!r}: it is to be the folder of a training, of finalists or "
            "variants, or of an export, timm:NAME:FILE or random:NAME"
        )
    training = load_training(taken.folder)
    if config.img_size is not None:
        check_img_size(taken.space, config.img_size)
    with named_code():
        model, state, _ = training.loaded(config.checkpoint, space=taken.space, img_size=config.img_size)
    objective = (training.description.get("objective") or {}).get("name") or "classification"
    return AnalysedNetwork(
        f"{training.description['model']['text']} ({taken.folder.name})",
        model,
        config.img_size or int(training.description["model"]["img_size"]),
        float(training.description["config"].get("eval_crop", 1.0)),
        weights=f"{config.checkpoint} of {objective}, {state['epoch']} epochs",
    )
