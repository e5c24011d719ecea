"""What a training optimises, and what changes from epoch to epoch; the loop knows nothing else of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, Protocol

import torch
import torch.nn.functional as F
from torch import nn

from raynas.space.tokens import Phase, phase_at


class Loss(NamedTuple):
    """What is minimised, and the terms that a report shows of it.

    Args:
        total: A number, with its gradient.
        terms: Numbers by name, without gradient and before they are weighted; the name of a column of metrics.parquet.
    """

    total: torch.Tensor
    terms: Mapping[str, torch.Tensor] = {}


class Recipe(Protocol):
    """Supplies the loss and its targets; made anew on every worker from plain values."""

    def auxiliary(self, model: nn.Module) -> nn.Module | None:
        """What is trained beside the model and left behind with the training, such as adapters to a teacher.

        Called once, before anything else. Its parameters are optimised and stored in checkpoints, and their gradients
        are exchanged among workers, as those of the model are.

        Args:
            model: On its device; the one that every later call gets, save for `start_epoch`, which also gets the moving
                average.
        """
        ...

    def start_epoch(self, model: nn.Module, epoch: int) -> None:
        """Change the model for an epoch (from 0); called before its first step, and again when a run is resumed."""
        ...

    def loss(self, model: nn.Module, images: torch.Tensor, labels: torch.Tensor) -> Loss:
        """The mean loss over a piece of a batch.

        Args:
            model: To be called.
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

    def auxiliary(self, model: nn.Module) -> None:
        """Nothing is trained beside the model."""

    def start_epoch(self, model: nn.Module, epoch: int) -> None:
        """Set the patch stride of the epoch."""
        if self._phases:
            phase = phase_at(self._phases, epoch)
            model.retokenize(phase.stride, phase.dilation)  # type: ignore[operator]

    def loss(self, model: nn.Module, images: torch.Tensor, labels: torch.Tensor) -> Loss:
        """See Recipe."""
        images, targets = self.mixed(images, labels)
        return Loss(self.cross_entropy(model(images), targets))

    def mixed(self, images: torch.Tensor, labels: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Images after Mixup or CutMix, with shares of the classes (b, classes); or as they are, with class numbers."""
        if self._mixup is None:
            return images, labels
        mixed: tuple[torch.Tensor, torch.Tensor] = self._mixup(images, labels)
        return mixed

    def cross_entropy(self, logits: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        """The mean over a piece, with targets from `mixed`, in which Mixup has smoothed the labels already."""
        smoothing = self._label_smoothing if self._mixup is None else 0.0
        return F.cross_entropy(logits, targets, label_smoothing=smoothing)
