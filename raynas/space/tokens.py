"""Progressive re-tokenization (Chen 2022, arXiv 2202.11921): training starts with few large tokens and ends with all.

A schedule is a list of phases, each with the stride and the dilation of the patch convolution from an epoch on; weights
stay what they are. The paper shows one schedule in a figure, for a kernel of 4 and 300 epochs, and says neither how to
pad nor how to choose dilations. Ours: the largest dilation that keeps the kernel within the patch, padding that makes
the grid exactly the image side over the stride, and a position embedding averaged over the tokens that one replaces.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import pairwise
from typing import Any, Protocol, runtime_checkable

from raynas.errors import ConfigError
from raynas.hooks import offered
from raynas.space.architecture import Architecture
from raynas.space.search_space import SearchSpace

BASE_STRIDE = 4
"""Stride of the patch embedding when it is not re-tokenized; other strides are multiples of it."""

PUBLISHED = ((0, 16), (80, 8), (132, 4))
"""Epoch and stride of the phases in the paper's figure."""

PUBLISHED_EPOCHS = 300

_FORM = "EPOCH:STRIDE[:DILATION], comma separated, such as 0:16:5,80:8:2,132:4:1, or as-vit for the published one"
_PHASE = re.compile(r"([0-9]{1,9}):([0-9]{1,9})(?::([0-9]{1,9}))?")


@dataclass(frozen=True)
class Phase:
    """Tokens of one size, from an epoch on.

    Args:
        epoch: The first epoch of the phase, counted from 0.
        stride: Step of the patch convolution in pixels, which is the side of a token.
        dilation: Dilation of the patch convolution; None: `default_dilation` of the model's kernel.
    """

    epoch: int
    stride: int
    dilation: int | None = None

    def __str__(self) -> str:
        return f"{self.epoch}:{self.stride}" + (f":{self.dilation}" if self.dilation is not None else "")


@runtime_checkable
class Retokenizable(Protocol):
    """A model that can make tokens of another size with the same weights."""

    def patch_kernel(self) -> int:
        """Side of the kernel of the patch convolution in pixels, which no dilation may stretch beyond a patch."""
        ...

    def retokenize(self, stride: int, dilation: int | None = None) -> None:
        """Make tokens of another size from now on; no parameter changes.

        Args:
            stride: Step of the patch convolution in pixels, which is the side of a token.
            dilation: Dilation of the patch convolution; None: `default_dilation` of its kernel.

        Raises:
            ConfigError: The image cannot be cut into such tokens.
        """
        ...


def retokenizable(model: object, whose: str) -> Retokenizable:
    """A model that can be re-tokenized, as such.

    Args:
        model: Any model.
        whose: Which model it is, for the message.

    Raises:
        ConfigError: It has not what `Retokenizable` declares.
    """
    found = offered(model, Retokenizable)
    if found is None:
        raise ConfigError(f"{whose} cannot be re-tokenized, without methods `retokenize` and `patch_kernel`")
    return found


def default_dilation(kernel: int, stride: int) -> int:
    """The largest dilation with which a kernel of this side stays within a patch; 1 where it is larger than that.

    >>> [default_dilation(4, stride) for stride in (16, 8, 4)]
    [5, 2, 1]
    """
    return max(1, (stride - 1) // max(1, kernel - 1))


def parse_schedule(text: str, epochs: int) -> tuple[Phase, ...]:
    """Read a schedule such as 0:16:5,80:8:2,132:4:1, or the published one, scaled to a number of epochs.

    Of the published schedule, phases that would not last one epoch are left out, and dilations are those of the model's
    kernel; they are the figure's where the kernel is 4, as there.

    Args:
        text: The phases as EPOCH:STRIDE or EPOCH:STRIDE:DILATION, comma separated, or "as-vit".
        epochs: Number of epochs of the whole training.

    Raises:
        ConfigError: The text has another form. `check_schedule` says whether the schedule can be run.
    """
    if text.strip().lower().replace("_", "-") == "as-vit":
        starts = [int(epoch * epochs / PUBLISHED_EPOCHS + 0.5) for epoch, _ in PUBLISHED]
        ends = [*starts[1:], max(epochs, 1)]
        strides = [stride for _, stride in PUBLISHED]
        return tuple(
            Phase(start, stride) for start, end, stride in zip(starts, ends, strides, strict=True) if start < end
        )
    phases = []
    for part in text.split(","):
        if (match := _PHASE.fullmatch(part.strip())) is None:
            raise ConfigError(f"re-tokenization {text!r}: {part.strip()!r} is no phase; expected {_FORM}")
        epoch, stride, dilation = match.groups()
        phases.append(Phase(int(epoch), int(stride), None if dilation is None else int(dilation)))
    return tuple(phases)


def check_schedule(phases: Sequence[Phase], *, img_size: int, kernel: int, epochs: int) -> tuple[Phase, ...]:
    """Refuse a schedule that cannot be run, before anything is.

    Args:
        phases: The schedule, in the order of its epochs.
        img_size: Side of the images in pixels.
        kernel: Side of the patch convolution's kernel.
        epochs: Number of epochs of the whole training.

    Returns:
        The phases with all dilations filled in.

    Raises:
        ConfigError: No phases; epochs that do not ascend from 0 or lie beyond the training; a stride that is no
            multiple of 4 or does not divide the image side; a dilation below 1.
    """
    if not phases:
        raise ConfigError("re-tokenization needs at least one phase")
    if phases[0].epoch != 0:
        raise ConfigError(f"re-tokenization starts at epoch 0, not {phases[0].epoch} as in {phases[0]}")
    for before, phase in pairwise(phases):
        if phase.epoch <= before.epoch:
            raise ConfigError(f"re-tokenization: epoch {phase.epoch} follows epoch {before.epoch}; epochs must ascend")
    for phase in phases:
        if phase.epoch >= epochs:
            raise ConfigError(
                f"re-tokenization: phase {phase} starts at epoch {phase.epoch}, "
                f"but training has {epochs} epochs, numbered from 0"
            )
        if phase.stride < BASE_STRIDE or phase.stride % BASE_STRIDE:
            raise ConfigError(
                f"re-tokenization: stride of phase {phase} is {phase.stride}; it must be a multiple of {BASE_STRIDE}"
            )
        if img_size < phase.stride or img_size % phase.stride:
            fitting = [stride for stride in range(BASE_STRIDE, img_size + 1, BASE_STRIDE) if img_size % stride == 0]
            raise ConfigError(
                f"re-tokenization: images of {img_size} pixels have no whole grid at stride {phase.stride} "
                f"of phase {phase}; strides that fit: {', '.join(map(str, fitting)) or 'none'}"
            )
        if phase.dilation is not None and phase.dilation < 1:
            raise ConfigError(f"re-tokenization: dilation of phase {phase} is {phase.dilation}; it must be at least 1")
    return tuple(
        replace(phase, dilation=default_dilation(kernel, phase.stride)) if phase.dilation is None else phase
        for phase in phases
    )


def phase_at(phases: Sequence[Phase], epoch: int) -> Phase:
    """The phase that an epoch belongs to; the phases' epochs ascend from 0."""
    return max((phase for phase in phases if phase.epoch <= epoch), key=lambda phase: phase.epoch)


def phase_macs(
    space: SearchSpace, architecture: Architecture, phases: Sequence[Phase], *, img_size: int, num_classes: int
) -> tuple[int, ...]:
    """Multiply-adds of one forward pass of one image in each phase.

    They come from the space's closed form where it takes a `stride`, and else from a count on the re-tokenized model.

    Args:
        space: The space that the architecture comes from.
        architecture: The architecture whose passes are counted.
        phases: Sizes of tokens to count for.
        img_size: Side of the images in pixels.
        num_classes: Number of outputs of the network.

    Raises:
        ConfigError: The space's models cannot be re-tokenized.
    """
    if space.macs is not None and "stride" in inspect.signature(space.macs).parameters:
        closed_form: Any = space.macs
        return tuple(closed_form(architecture, img_size, num_classes, stride=phase.stride) for phase in phases)
    from raynas.space.build import build, counted  # torch is needed only without a closed form

    def model(phase: Phase) -> Any:
        made: Any = build(space, architecture, img_size=img_size, num_classes=num_classes)
        retokenizable(made, f"models of the space {space.name!r}").retokenize(phase.stride, phase.dilation)
        return made

    return tuple(counted(partial(model, phase), "macs", img_size) for phase in phases)
