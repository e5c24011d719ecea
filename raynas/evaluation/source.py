"""A trained network and how its training prepared images, from the folder of a training, of several or an export."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from raynas.errors import ConfigError, RaynasError, error_line
from raynas.evaluation.config import PassConfig
from raynas.exporting.folder import check_img_size, holds_export, load_export
from raynas.registry import named_code
from raynas.space.registered import spaces
from raynas.space.search_space import SearchSpace
from raynas.storage.run_folder import reading
from raynas.storage.sources import existing_path, read_source
from raynas.training.folder import Training, load_training


@dataclass(frozen=True)
class TrainedNetwork:
    """A network that can be evaluated.

    Args:
        model: The network, in eval mode, on the CPU.
        source: The folder that it was taken from.
        text: The architecture as its space writes it, or the name of an export.
        weights: What is known of its weights.
        img_size: Image side in pixels.
        num_classes: Number of the head's outputs.
        class_names: Names of the classes in their order; empty if unknown.
        is_renumbered: Whether the training numbered its classes anew.
        pixel_range: What is black and white in images of more than 8 bits; None: by the file.
        eval_crop: How the training prepared images that it evaluated.
        precision: The setting of the training.
        training: The training that was read; None for an export.
    """

    model: nn.Module
    source: str
    text: str
    weights: Mapping[str, Any]
    img_size: int
    num_classes: int
    class_names: tuple[str, ...]
    is_renumbered: bool
    pixel_range: tuple[float, float] | None
    eval_crop: float
    precision: str
    training: Training | None


def read_network(
    source: str, config: PassConfig, *, space: str | SearchSpace | None = None, pick: Sequence[str] = ()
) -> TrainedNetwork:
    """Read a network with its trained weights, and see that it takes images of the side that is asked for.

    Args:
        source: The folder of a training, of finalists or variants, whose most accurate is taken, or of an export.
        config: What was asked for.
        space: The space of the network, where it is not registered or not the one that the folder names.
        pick: Constraints that choose among finalists or variants, such as num_params<=3e6.

    Raises:
        ConfigError: The source has no trained weights or no classes; the network does not take such images.
        StoreError: The folder is damaged.
        SpaceError: The network cannot be built.
    """
    path = existing_path(source)
    if path is not None and holds_export(path):
        if config.checkpoint is not None or pick:
            raise ConfigError(f"{path} is an export, which holds one network: --checkpoint and --pick are of runs")
        found = _of_export(path, config.img_size, spaces.get(space) if isinstance(space, str) else space)
    else:
        taken = read_source(source, space=space, pick=pick)
        if taken.kind != "training" or taken.folder is None:
            raise ConfigError(
                f"there are no trained weights in {source!r}: evaluate the folder of a training, of finalists or "
                "variants, or of an export"
            )
        found = _of_training(load_training(taken.folder), taken.space, config)
    _try(found)
    return found


def _of_export(folder: Path, img_size: int | None, space: SearchSpace | None) -> TrainedNetwork:
    model, about = load_export(folder, space=space, img_size=img_size)
    with reading(folder):
        rules = about["preprocessing"]
        weights = dict(about["weights"])
        if not weights["trained"]:
            raise ConfigError(f"the weights of {folder} were never trained")
        bounds, side = rules["pixel_range"], rules.get("shorter_side")  # exports of before had none
        return TrainedNetwork(
            model=model,
            source=str(folder),
            text=str(about["name"]),
            weights=weights,
            img_size=img_size or about["img_size"],
            num_classes=about["num_classes"],
            class_names=tuple(map(str, about["class_names"] or ())),
            is_renumbered=False,
            pixel_range=bounds and (float(bounds[0]), float(bounds[1])),
            eval_crop=1.0 if side is None else about["img_size"] / side,
            precision="auto",
            training=None,
        )


def _of_training(training: Training, space: SearchSpace, config: PassConfig) -> TrainedNetwork:
    checkpoint = config.checkpoint or "last"
    if config.img_size is not None:
        check_img_size(space, config.img_size)
    with named_code():
        model, state, _ = training.loaded(checkpoint, space=space, img_size=config.img_size)
    with reading(training.folder):
        about, settings = training.description["model"], training.description["config"]
        if state["history"] and state["history"][-1].get("val_top1") is None:
            name = (training.description.get("objective") or {}).get("name")
            raise ConfigError(f"{training.folder} was trained without classes, by the objective {name!r}")
        bounds = settings.get("pixel_range")
        return TrainedNetwork(
            model=model,
            source=str(training.folder),
            text=str(about["text"]),
            weights={
                "checkpoint": checkpoint,
                "epochs": state["epoch"],
                "moving_average": state.get("ema") is not None,
            },
            img_size=config.img_size or about["img_size"],
            num_classes=about["num_classes"],
            class_names=tuple(map(str, about.get("label_names") or ())),
            is_renumbered=bool(settings.get("renumber_labels")),
            pixel_range=bounds and (float(bounds[0]), float(bounds[1])),
            eval_crop=float(settings.get("eval_crop", 1.0)),
            precision=str(settings.get("precision", "auto")),
            training=training,
        )


def _try(found: TrainedNetwork) -> None:
    """Refuse a network that does not make logits of an image of its side."""
    side = found.img_size
    try:
        with torch.no_grad():
            logits = found.model(torch.zeros(1, 3, side, side))
    except RaynasError:
        raise
    except Exception as error:  # torch's, or that of code of the user's own
        raise ConfigError(
            f"the network of {found.source} takes no images of {side} x {side} pixels: {error_line(error)}"
        ) from None
    if not isinstance(logits, torch.Tensor) or logits.shape != (1, found.num_classes):
        shape = tuple(getattr(logits, "shape", ()))
        raise ConfigError(f"the network of {found.source} gives {shape} of an image, not {found.num_classes} logits")
