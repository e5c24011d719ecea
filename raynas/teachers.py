"""Teachers: trained networks, read once by the driver and shipped to the workers in values.

A teacher sees what the student sees: the same batch, resized to its own side.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from functools import cached_property, partial
from hashlib import blake2b
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from raynas.data import IMAGENET_MEAN, IMAGENET_STD
from raynas.errors import ConfigError, StoreError
from raynas.models.build import builder
from raynas.models.feature_maps import resized, with_feature_maps
from raynas.models.roles import roles_of
from raynas.retokenization import Phase
from raynas.source import existing_path, read_source
from raynas.space import Architecture
from raynas.training.checkpoints import CHECKPOINTS, check_weights, read_weights
from raynas.training.folder import counted_top1, load_training

FORMS = "the folder of a training, a checkpoint in one, timm:NAME:FILE or random:NAME"

_DEFAULT_CLASSES = 10

Pair = tuple[int, int]
"""A block of the student and a stage of the teacher, both counted from 0."""


@dataclass(frozen=True)
class Teacher:
    """A network with its weights, in values.

    Args:
        name: What it is, without paths: resnet20, timm:resnet18, random:resnet20.
        make: Builds it, without these weights.
        weights: By name, its buffers among them.
        img_size: Side of the images that it is shown.
        num_classes: Its outputs.
        mean, std: By which its images are normalised, of each channel.
        is_random: It was never trained.
        top1: Accuracy after its training; None if unknown.
    """

    name: str
    make: Callable[[], nn.Module]
    weights: Mapping[str, np.ndarray]
    img_size: int
    num_classes: int
    mean: tuple[float, ...] = IMAGENET_MEAN
    std: tuple[float, ...] = IMAGENET_STD
    is_random: bool = False
    top1: float | None = None

    @cached_property
    def hash(self) -> str:
        """16 hexadecimal digits that change with all that changes what it says of an image."""
        digest = blake2b(repr((self.name, self.img_size, self.mean, self.std)).encode(), digest_size=8)
        for name in sorted(self.weights):
            digest.update(name.encode() + np.ascontiguousarray(self.weights[name]).tobytes())
        return digest.hexdigest()

    @property
    def label(self) -> str:
        """For tables and keys: its name and its hash."""
        return f"{self.name} {self.hash}"

    def described(self) -> dict[str, Any]:
        """For run.yaml."""
        names = ("name", "hash", "img_size", "num_classes", "is_random", "top1")
        return {name: getattr(self, name) for name in names}


class FrozenTeacher:
    """A teacher at work: in eval mode, without gradients.

    Args:
        teacher: In values.
        device, dtype: Of its weights.
    """

    def __init__(self, teacher: Teacher, device: torch.device, dtype: torch.dtype = torch.float32) -> None:
        # Copied, since what comes out of an object store is read-only.
        weights = {name: torch.tensor(value) for name, value in teacher.weights.items()}
        with torch.random.fork_rng(devices=[]):
            model = teacher.make()
        model.load_state_dict(weights)
        self.model = model.to(device, dtype).eval().requires_grad_(False)
        self._blocks = roles_of(self.model).blocks
        self._size = teacher.img_size, teacher.img_size
        scale, shift = _renormalisation(teacher)
        self._scale, self._shift = (values.to(device, dtype)[:, None, None] for values in (scale, shift))
        self._is_usual = (teacher.mean, teacher.std) == (IMAGENET_MEAN, IMAGENET_STD)

    @property
    def num_stages(self) -> int:
        """Whose feature maps it has."""
        return len(self._blocks)

    @torch.no_grad()
    def __call__(self, images: torch.Tensor, stages: Sequence[int] = ()) -> tuple[torch.Tensor, list[torch.Tensor]]:
        """Logits (B, num_classes), and the feature maps (B, C, h, w) of some stages.

        Args:
            images: (B, 3, S, S) of any side, normalised by the mean and std of ImageNet.
            stages: From 0, in any order; -1 is the last.
        """
        images = resized(images, self._size)
        if not self._is_usual:
            images = images * self._scale + self._shift
        return with_feature_maps(self.model, images, [self._blocks[stage] for stage in stages])


def read_teacher(spec: str, *, num_classes: int | None = None) -> Teacher:
    """Read a teacher: the folder of a training, a checkpoint in one, timm:NAME:FILE or random:NAME.

    Of a training, its last weights are taken, the moving average where there is one; a checkpoint is named by its file.
    `timm:NAME:FILE` takes any model of timm with the weights of a local file. `random:NAME` has fresh weights, of seed
    0: of an architecture's name, such as random:resnet20, or of random:timm:NAME.

    Args:
        spec: One of these.
        num_classes: Of the images; None: they have no classes.

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
        teacher = _of_timm(*_name_and_file(spec, rest))
    elif kind == "random" and rest:
        return _random(rest, num_classes or _DEFAULT_CLASSES)
    else:
        raise ConfigError(f"there is no teacher {spec!r}: it is {FORMS}")
    if num_classes is not None and teacher.num_classes != num_classes:
        raise ConfigError(f"teacher {spec!r} has {teacher.num_classes} classes, but the images have {num_classes}")
    return teacher


def parse_pairs(text: str) -> tuple[Pair, ...]:
    """Read BLOCK:STAGE,..., such as 0:0,6:1,11:2: blocks of the student with stages of the teacher.

    Raises:
        ConfigError: The text has another form, or names a pair twice.
    """
    pairs = []
    for part in text.split(","):
        block, colon, stage = (piece.strip() for piece in part.partition(":"))
        if not (colon and block.isdecimal() and stage.isdecimal()):
            raise ConfigError(f"pairs are BLOCK:STAGE,..., such as 0:0,6:1,11:2, not {text!r}")
        pairs.append((int(block), int(stage)))
    if len(set(pairs)) < len(pairs):
        raise ConfigError(f"pairs {text!r} name a pair twice")
    return tuple(pairs)


def evenly_spaced_pairs(blocks: int, stages: int) -> tuple[Pair, ...]:
    """Every stage of a teacher with a block of the student, from its first to its last; of one stage, the last block.

    With 12 blocks and 3 stages these are the pairs of locality guidance, 0:0, 6:1 and 11:2.
    """
    if stages == 1:
        return ((blocks - 1, 0),)
    return tuple((int(stage * (blocks - 1) / (stages - 1) + 0.5), stage) for stage in range(stages))


# -- where teachers come from ------------------------------------------------------------------------------------------


def _of_training(path: Path) -> Teacher:
    folder, checkpoint = path, "last"
    if path.is_file():
        found = [name for name, file in CHECKPOINTS.items() if file == path.name]
        folder = path.absolute().parent.parent
        if not found or not (folder / "run.yaml").exists():
            raise StoreError(
                f"teacher {str(path)!r} is no checkpoint in the folder of a training, where run.yaml says of which "
                f"network it is; a teacher is {FORMS}"
            )
        checkpoint = found[0]
    training = load_training(folder)
    model, state, phase = training.loaded(checkpoint)
    about = training.description["model"]
    last = state["history"][-1] if state["history"] and not state["step"] else None
    source = read_source(training.architecture.to_json(), space=about["space"])
    return Teacher(
        name=source.space.text(source.architecture),
        make=partial(_built, builder(source.space), source.architecture, dict(about["settings"]), phase),
        weights=_arrays(model.state_dict()),
        img_size=about["img_size"],
        num_classes=about["num_classes"],
        top1=last and counted_top1(last),
    )


def _name_and_file(spec: str, rest: str) -> tuple[str, Path]:
    name, colon, file = rest.partition(":")
    if not colon or not file:
        raise ConfigError(f"teacher {spec!r} has no file of weights: nothing is downloaded. A teacher is {FORMS}")
    path = Path(file).expanduser()
    if not path.is_file():
        raise StoreError(f"teacher {spec!r}: there is no file {file!r}")
    return name, path


def _of_timm(name: str, file: Path) -> Teacher:
    weights = read_weights(file)
    model = _timm_model(name)
    head = _head_name(model)
    if head is None or weights.get(f"{head}.weight") is None:
        check_weights(model, weights, str(file))  # says what else is there
        raise ConfigError(f"teacher timm:{name} has no layer that gives out logits")
    num_classes = len(weights[f"{head}.weight"])
    model = _timm_model(name, num_classes=num_classes)
    check_weights(model, weights, str(file))
    return _timm_teacher(f"timm:{name}", name, model, num_classes, _arrays(weights))


def _random(name: str, num_classes: int) -> Teacher:
    kind, _, rest = name.partition(":")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        if kind == "timm" and rest:
            model = _timm_model(rest, num_classes=num_classes)
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
        make=partial(_timm_model, name, num_classes=num_classes),
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
        model.retokenize(phase.stride, phase.dilation)  # type: ignore[operator]
    return model


def _timm_model(name: str, **settings: Any) -> nn.Module:
    import timm

    if not timm.is_model(name):
        near = get_close_matches(name, timm.list_models(), n=3)
        raise ConfigError(f"timm has no model {name!r}.{' Did you mean ' + ', '.join(near) + '?' if near else ''}")
    model: nn.Module = timm.create_model(name, pretrained=False, **settings)
    return model


def _head_name(model: nn.Module) -> str | None:
    heads = roles_of(model).head
    return next((name for name, module in model.named_modules() if heads and module is heads[0]), None)


def _arrays(weights: Mapping[str, torch.Tensor]) -> dict[str, np.ndarray]:
    """In float32 where they are not integers."""
    return {name: (v.float() if v.is_floating_point() else v).cpu().numpy() for name, v in weights.items()}


def _renormalisation(teacher: Teacher) -> tuple[torch.Tensor, torch.Tensor]:
    """Scale and shift that take an image from the mean and std of ImageNet to the teacher's."""
    before_mean, before_std = np.array(IMAGENET_MEAN), np.array(IMAGENET_STD)
    mean, std = np.array(teacher.mean), np.array(teacher.std)
    return torch.tensor(before_std / std), torch.tensor((before_mean - mean) / std)
