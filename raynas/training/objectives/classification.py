"""Classification: cross-entropy with label smoothing, Mixup and CutMix (timm's)."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from raynas.models.classified import evaluated_classes
from raynas.models.step_draws import StepContext
from raynas.training.batch import Batch
from raynas.training.best_epoch import BestEpoch
from raynas.training.config import ResolvedTraining
from raynas.training.objectives.objective import Loss, Objective, PreparedObjective, Setup, objectives


class ClassTargets:
    """What logits are compared with: class numbers, or the shares of the classes in a mixed image.

    Args:
        num_classes: Number of the model's outputs.
        label_smoothing: Probability spread over all classes.
        mixup, cutmix: Alphas of Mixup and of CutMix, 0: none; one of the two is taken for each step.
    """

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


@objectives.register("classification")
class Classification(Objective):
    """Cross-entropy of the logits with the classes.

    Args:
        model: The network, which gives logits (b, num_classes).
        settings: Keywords of `ClassTargets`, which is kept as `targets` and mixes a batch and its labels.
    """

    name = "classification"
    evaluation_columns = ("loss", "top1")
    best = BestEpoch("val_top1", higher_is_better=True)

    def __init__(self, model: nn.Module, **settings: Any) -> None:
        super().__init__(model)
        self.targets = ClassTargets(**settings)

    @classmethod
    def prepare(cls, setup: Setup) -> PreparedObjective:
        """See Objective."""
        config = setup.config
        setup.refuse_teacher(cls.name)
        return PreparedObjective(
            kind=cls,
            make=partial(cls, **ClassTargets.settings(config)),
            identity={"label_smoothing": config.label_smoothing},
        )

    def forward(self, batch: Batch) -> Loss:
        """See Objective."""
        images, targets = self.targets.mixed(batch, self.context)
        return Loss(self.targets.cross_entropy(self.model(images), targets))

    def evaluate(self, model: nn.Module, batch: Batch) -> Mapping[str, torch.Tensor]:
        """See Objective."""
        assert batch.labels is not None
        return evaluated_classes(model(batch.images), batch.labels)
