"""Classification: cross-entropy with label smoothing, Mixup and CutMix: timm's, or those of labels of patches."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any, ClassVar

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from raynas.models.classified import evaluated_classes
from raynas.models.outputs import after_stem, outputs_from
from raynas.models.step_draws import StepContext
from raynas.training.batch import Batch
from raynas.training.best_epoch import BestEpoch
from raynas.training.config import ResolvedTraining
from raynas.training.objectives.objective import (
    AUXILIARY,
    MODEL,
    Loss,
    Objective,
    Part,
    PreparedObjective,
    Setup,
    objectives,
)
from raynas.training.objectives.token_labels import TokenLabels


class ClassTargets:
    """What logits are compared with: class numbers, or the shares of the classes in a mixed image.

    Args:
        num_classes: Number of the model's outputs.
        label_smoothing: Probability spread over all classes.
        mixup, cutmix: Alphas of Mixup and of CutMix, 0: none; one of the two is taken for each step.
    """

    columns: ClassVar[tuple[str, ...]] = ()

    def __init__(
        self, num_classes: int, *, label_smoothing: float = 0.0, mixup: float = 0.0, cutmix: float = 0.0
    ) -> None:
        self._label_smoothing = label_smoothing
        self._mixup: Any = None
        if mixup > 0 or cutmix > 0:
            from timm.data import Mixup

            self._mixup = Mixup(mixup, cutmix, label_smoothing=label_smoothing, num_classes=num_classes)

    @staticmethod
    def settings(config: ResolvedTraining) -> dict[str, Any]:
        """The keywords with which a configuration makes it."""
        augmentation = config.augmentation()
        mixtures = {name: augmentation[name] for name in ("mixup", "cutmix")}
        return {"num_classes": config.num_classes, "label_smoothing": config.label_smoothing, **mixtures}

    def mixed(self, batch: Batch, context: StepContext) -> tuple[torch.Tensor, torch.Tensor]:
        """Images after Mixup or CutMix, with shares of the classes (b, classes); or as they are, with class numbers.

        The mixture is of the whole step, whichever worker computes it: an image and its partner are in one pass, as
        `images.microbatches` cuts them.
        """
        assert batch.labels is not None
        if self._mixup is None:
            return batch.images, batch.labels
        np.random.seed(context.seed_of("mix") % 2**32)  # noqa: NPY002
        mixed: tuple[torch.Tensor, torch.Tensor] = self._mixup(batch.images, batch.labels)
        return mixed

    def cross_entropy(self, logits: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        """The mean over a batch, with targets from `mixed`, in which Mixup has smoothed the labels already."""
        smoothing = self._label_smoothing if self._mixup is None else 0.0
        return F.cross_entropy(logits, targets, label_smoothing=smoothing)

    def loss(self, outputs: tuple[torch.Tensor, ...], targets: torch.Tensor) -> Loss:
        """The cross-entropy of the logits, which are all that there is of outputs."""
        return Loss(self.cross_entropy(outputs[0], targets))


@objectives.register("classification")
class Classification(Objective):
    """Cross-entropy of the logits with the classes.

    Args:
        model: The network, which gives logits (b, num_classes).
        token_labels: How patches are labelled too, which the network then gives tokens of; None: they are not.
        settings: Keywords of `ClassTargets`.

    Attributes:
        targets: What mixes a batch and its labels, and says the loss.
        patch_head: The head that learns labels of patches; None: there is none.
    """

    name = "classification"
    takes_token_labels = True
    evaluation_columns = ("loss", "top1")
    best = BestEpoch("val_top1", higher_is_better=True)

    def __init__(self, model: nn.Module, *, token_labels: TokenLabels | None = None, **settings: Any) -> None:
        super().__init__(model)
        self.targets: Any = token_labels or ClassTargets(**settings)
        self.patch_head = None if token_labels is None else token_labels.head(model)

    @classmethod
    def prepare(cls, setup: Setup) -> PreparedObjective:
        """See Objective."""
        config = setup.config
        setup.refuse_teacher(cls.name)
        tokens = TokenLabels.of(setup)
        return PreparedObjective(
            kind=cls,
            make=partial(cls, token_labels=tokens, **ClassTargets.settings(config)),
            resolved={} if tokens is None else tokens.resolved,
            identity={
                "label_smoothing": config.label_smoothing,
                **({} if tokens is None else {"token_labels": True}),
            },
        )

    def parts(self) -> Mapping[str, Part]:
        """See Objective."""
        return {"model": MODEL, **({} if self.patch_head is None else {"patch_head": AUXILIARY})}

    @property
    def columns(self) -> tuple[str, ...]:
        """Where patches are labelled, `class_loss` and `patch_loss`, whose sum the loss is; otherwise none."""
        return tuple(self.targets.columns)

    def forward(self, batch: Batch) -> Loss:
        """See Objective."""
        images, targets = self.targets.mixed(batch, self.context)
        outputs: tuple[torch.Tensor, ...]
        if self.patch_head is None:
            outputs = (self.model(images),)
        else:
            outputs = outputs_from(self.model, after_stem(self.model, images), self.patch_head)
        loss: Loss = self.targets.loss(outputs, targets)
        return loss

    def evaluate(self, model: nn.Module, batch: Batch) -> Mapping[str, torch.Tensor]:
        """See Objective."""
        assert batch.labels is not None
        return evaluated_classes(model(batch.images), batch.labels)
