"""Teachers as values and at work, and which of their stages guide which blocks."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from hashlib import blake2b
from typing import Any, Self

import numpy as np
import torch
from torch import nn

from raynas.errors import ConfigError
from raynas.models.feature_maps import resized, with_feature_maps
from raynas.models.normalisation import IMAGENET_MEAN, IMAGENET_STD
from raynas.models.roles import roles_of

Pair = tuple[int, int]
"""A block of the student and a stage of the teacher, both counted from 0."""


@dataclass(frozen=True)
class Teacher:
    """A network with its weights, in values.

    Args:
        name: What the network is, without paths: resnet20, timm:resnet18, random:resnet20.
        make: Builds the network, without these weights.
        weights: Values of all parameters and buffers, by their names in the network.
        img_size: Side in pixels of the images that the network takes.
        num_classes: Number of the network's outputs.
        mean, std: Mean and standard deviation of each channel by which the network's images are normalised.
        is_random: Whether the network was never trained.
        top1: The network's accuracy after training, from 0 to 1; None if unknown.
        knows_classes: Whether its outputs were trained, as those of a pre-training without labels were not.
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
    knows_classes: bool = True

    @cached_property
    def hash(self) -> str:
        """16 hexadecimal digits that change with all that changes what it says of an image."""
        digest = blake2b(repr((self.name, self.img_size, self.mean, self.std)).encode(), digest_size=8)
        for name in sorted(self.weights):
            digest.update(name.encode() + np.ascontiguousarray(self.weights[name]).tobytes())
        return digest.hexdigest()

    @property
    def label(self) -> str:
        """The name and the hash, for tables and keys."""
        return f"{self.name} {self.hash}"

    def description(self) -> dict[str, Any]:
        """What run.yaml says of the teacher."""
        names = ("name", "hash", "img_size", "num_classes", "is_random", "top1")
        return {name: getattr(self, name) for name in names}


class FrozenTeacher(nn.Module):
    """A teacher at work: always in eval mode, without gradients.

    Args:
        teacher: The network's code and weights.
        device, dtype: Device and type of the weights at work.
    """

    def __init__(self, teacher: Teacher, device: torch.device, dtype: torch.dtype = torch.float32) -> None:
        super().__init__()
        # Copied, since what comes out of an object store is read-only.
        weights = {name: torch.tensor(value) for name, value in teacher.weights.items()}
        with torch.random.fork_rng(devices=[]):
            model = teacher.make()
        model.load_state_dict(weights)
        self.model = model.to(device, dtype).eval().requires_grad_(False)
        self._blocks = roles_of(self.model).blocks
        self._size = teacher.img_size, teacher.img_size
        scale, shift = renormalisation(teacher.mean, teacher.std)
        self._scale, self._shift = (torch.tensor(values).to(device, dtype)[:, None, None] for values in (scale, shift))
        self._is_usual = (teacher.mean, teacher.std) == (IMAGENET_MEAN, IMAGENET_STD)

    @property
    def num_stages(self) -> int:
        """Number of stages whose feature maps the network has."""
        return len(self._blocks)

    def train(self, mode: bool = True) -> Self:
        """Nothing changes: a teacher does not learn, and does not count images either."""
        return self

    def prepared(self, images: torch.Tensor) -> torch.Tensor:
        """Images as the network takes them, from ones of any side that are normalised as those of ImageNet."""
        images = resized(images, self._size)
        return images if self._is_usual else images * self._scale + self._shift

    @torch.no_grad()
    def forward(self, images: torch.Tensor, stages: Sequence[int] = ()) -> tuple[torch.Tensor, list[torch.Tensor]]:
        """Logits (B, num_classes), and the feature maps (B, C, h, w) of some stages.

        Args:
            images: (B, 3, S, S) of any side, normalised by the mean and std of ImageNet.
            stages: Numbers of the stages whose feature maps are wanted, from 0, in any order; -1 is the last.
        """
        images = self.prepared(images)
        return with_feature_maps(self.model, images, [self._blocks[stage] for stage in stages])


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


def renormalisation(mean: Sequence[float], std: Sequence[float]) -> tuple[np.ndarray, np.ndarray]:
    """Scale and shift, one of each a channel, that take an image from the mean and std of ImageNet to others."""
    before_mean, before_std = np.array(IMAGENET_MEAN), np.array(IMAGENET_STD)
    after_mean, after_std = np.array(mean), np.array(std)
    return before_std / after_std, (before_mean - after_mean) / after_std
