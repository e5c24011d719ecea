"""Teachers: trained networks, read once by the driver and shipped to the workers in values.

A teacher sees what the student sees: the same batch, resized to its own side.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from raynas.errors import ConfigError, StoreError
from raynas.models.normalisation import IMAGENET_MEAN, IMAGENET_STD
from raynas.models.roles import roles_of
from raynas.models.teachers import Teacher
from raynas.registry import named_code
from raynas.space.architecture import Architecture
from raynas.space.build import builder
from raynas.space.tokens import Phase, retokenizable
from raynas.storage.files import exists, is_folder
from raynas.storage.run_folder import holds_run, reading
from raynas.storage.sources import existing_path, read_source
from raynas.training.best_epoch import top1_of
from raynas.training.checkpoints import CHECKPOINTS, check_weights
from raynas.training.folder import load_training
from raynas.training.timm_weights import name_and_file, read_given_weights, timm_model

FORMS = "the folder of a training, a checkpoint in one, timm:NAME:FILE or random:NAME"
_DEFAULT_CLASSES = 10


def read_teacher(spec: str, *, num_classes: int | None = None) -> Teacher:
    """Read a teacher: the folder of a training, a checkpoint in one, timm:NAME:FILE or random:NAME.

    Of a training, its last weights are taken, the moving average where there is one; a checkpoint is named by its file.
    `timm:NAME:FILE` takes any model of timm with the weights of a local file. `random:NAME` has fresh weights, of seed
    0: of an architecture's name, such as random:resnet20, or of random:timm:NAME.

    Args:
        spec: A text of one of these forms.
        num_classes: Number of classes of the images; None: they have no classes.

    Raises:
        ConfigError: The form or a name is unknown; the teacher has another number of classes than the images.
        StoreError: A file is missing, damaged, or holds the weights of another architecture.
        SpaceError: No space has the architecture of random:NAME.
    """
    kind, _, rest = spec.strip().partition(":")
    path = existing_path(spec.strip())
    if path is not None:
        teacher = _of_training(path)
    elif kind == "timm" and rest:
        teacher = _of_timm(*name_and_file(f"teacher {spec!r}", rest))
    elif kind == "random" and rest:
        return _random(rest, num_classes or _DEFAULT_CLASSES)
    else:
        raise ConfigError(f"there is no teacher {spec!r}: it is {FORMS}")
    if num_classes is not None and teacher.num_classes != num_classes:
        raise ConfigError(f"teacher {spec!r} has {teacher.num_classes} classes, but the images have {num_classes}")
    return teacher


# -- where teachers come from ------------------------------------------------------------------------------------------
def _of_training(path: Path) -> Teacher:
    folder, checkpoint = path, "last"
    if exists(path) and not is_folder(path):
        found = [name for name, file in CHECKPOINTS.items() if file == path.name]
        folder = path.absolute().parent.parent
        if not found or not holds_run(folder):
            raise StoreError(
                f"teacher {str(path)!r} is no checkpoint in the folder of a training, where run.yaml says of which "
                f"network it is; a teacher is {FORMS}"
            )
        checkpoint = found[0]
    training = load_training(folder)
    model, state, phase = training.loaded(checkpoint)
    with reading(folder):
        return _taught(training.description["model"], model, state, phase)


def _taught(about: Mapping[str, Any], model: nn.Module, state: Mapping[str, Any], phase: Phase | None) -> Teacher:
    last = state["history"][-1] if state["history"] and not state["step"] else None
    with named_code():  # it is loaded by now
        source = read_source(json.dumps(about["architecture"]), space=about["space"])
    return Teacher(
        name=source.space.text(source.architecture),
        make=partial(_built, builder(source.space), source.architecture, dict(about["settings"]), phase),
        weights=_arrays(model.state_dict()),
        img_size=about["img_size"],
        num_classes=about["num_classes"],
        top1=last and top1_of(last),
        knows_classes=last is None or top1_of(last) is not None,
    )


def _of_timm(name: str, file: Path) -> Teacher:
    weights = read_given_weights(file)
    model = timm_model(name)
    head = _head_name(model)
    if head is None or weights.get(f"{head}.weight") is None:
        check_weights(model, weights, str(file))  # says what else is there
        raise ConfigError(f"teacher timm:{name} has no layer that gives out logits")
    num_classes = len(weights[f"{head}.weight"])
    model = timm_model(name, num_classes=num_classes)
    check_weights(model, weights, str(file))
    return _timm_teacher(f"timm:{name}", name, model, num_classes, _arrays(weights))


def _random(name: str, num_classes: int) -> Teacher:
    kind, _, rest = name.partition(":")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        if kind == "timm" and rest:
            model = timm_model(rest, num_classes=num_classes)
            return _timm_teacher(
                f"random:{name}", rest, model, num_classes, _arrays(model.state_dict()), is_random=True
            )
        source = read_source(name)
        space, img_size = source.space, source.img_size or source.space.search_img_size
        settings = {"img_size": img_size, "num_classes": num_classes, **space.training}
        make = partial(_built, builder(space), source.architecture, settings, None)
        weights = _arrays(make().state_dict())
    text = f"random:{space.text(source.architecture)}"
    return Teacher(text, make, weights, img_size, num_classes, is_random=True)


def _timm_teacher(
    label: str,
    name: str,
    model: nn.Module,
    num_classes: int,
    weights: dict[str, np.ndarray],
    *,
    is_random: bool = False,
) -> Teacher:
    about: Mapping[str, Any] = getattr(model, "default_cfg", None) or {}
    return Teacher(
        name=label,
        make=partial(timm_model, name, num_classes=num_classes),
        weights=weights,
        img_size=int(about.get("input_size", (3, 224, 224))[-1]),
        num_classes=num_classes,
        mean=tuple(about.get("mean", IMAGENET_MEAN)),
        std=tuple(about.get("std", IMAGENET_STD)),
        is_random=is_random,
    )


# -- networks ----------------------------------------------------------------------------------------------------------
def _built(
    make: Callable[..., nn.Module], architecture: Architecture, settings: Mapping[str, Any], phase: Phase | None
) -> nn.Module:
    model = make(architecture, **settings)
    if phase is not None:
        retokenizable(model, "the teacher").retokenize(phase.stride, phase.dilation)
    return model


def _head_name(model: nn.Module) -> str | None:
    heads = roles_of(model).head
    return next((name for name, module in model.named_modules() if heads and module is heads[0]), None)


def _arrays(weights: Mapping[str, torch.Tensor]) -> dict[str, np.ndarray]:
    """Weights as arrays, in float32 where they are not integers."""
    return {name: (v.float() if v.is_floating_point() else v).cpu().numpy() for name, v in weights.items()}
