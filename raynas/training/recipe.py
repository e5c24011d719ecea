"""What a training optimises, and what changes from epoch to epoch; the loop knows nothing else of it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

import torch
import torch.nn.functional as F
from torch import nn

from raynas.retokenization import Phase, phase_at


class Recipe(Protocol):
    """Supplies the loss and its targets; made anew on every worker from plain values."""

    def start_epoch(self, model: nn.Module, epoch: int) -> None:
        """Change the model for an epoch (from 0); called before its first step, and again when a run is resumed."""
        ...

    def loss(self, model: nn.Module, images: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        """The mean loss over a piece of a batch.

        Args:
            model: To be called as it is; gradients of several workers meet in it.
            images: (b, 3, img_size, img_size), normalised; may be overwritten.
            labels: (b,) class numbers.
        """
        ...


class Classification:
    """Cross-entropy with label smoothing, Mixup and CutMix (timm's), with or without progressive re-tokenization.

    Args:
        num_classes: Outputs of the model.
        label_smoothing: Probability spread over all classes.
        mixup, cutmix: Their alphas; one of them is taken for each batch.
        phases: Patch strides and dilations by epoch (Chen 2022, arXiv 2202.11921); weights stay as they are.
    """

    def __init__(
        self,
        num_classes: int,
        *,
        label_smoothing: float = 0.0,
        mixup: float = 0.0,
        cutmix: float = 0.0,
        phases: Sequence[Phase] = (),
    ) -> None:
        self._label_smoothing = label_smoothing
        self._phases = tuple(phases)
        self._mixup: Any = None
        if mixup > 0 or cutmix > 0:
            from timm.data import Mixup

            self._mixup = Mixup(mixup, cutmix, label_smoothing=label_smoothing, num_classes=num_classes)

    def start_epoch(self, model: nn.Module, epoch: int) -> None:
        """Set the patch stride of the epoch."""
        if self._phases:
            phase = phase_at(self._phases, epoch)
            model.retokenize(phase.stride, phase.dilation)  # type: ignore[operator]

    def loss(self, model: nn.Module, images: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        """See Recipe."""
        if self._mixup is None:
            return F.cross_entropy(model(images), labels, label_smoothing=self._label_smoothing)
        images, targets = self._mixup(images, labels)
        return F.cross_entropy(model(images), targets)
