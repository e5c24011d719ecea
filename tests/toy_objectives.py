"""Objectives of one's own, for tests of the training loop; found by FILE.py:NAME as those of users are."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import nn

from raynas.models.elastic.units import UnitOrder
from raynas.models.step_draws import StepContext
from raynas.training.batch import Batch
from raynas.training.best_epoch import BestEpoch
from raynas.training.images import Transform, train_transform
from raynas.training.objectives.classification import Classification
from raynas.training.objectives.objective import (
    AUXILIARY,
    COPY,
    MODEL,
    Loss,
    Objective,
    ParameterRule,
    Part,
    PreparedObjective,
    Setup,
    objectives,
)


class Centre(nn.Module):
    """A mean that follows what each worker sees."""

    mean: torch.Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(8))


@objectives.register("two_views")
class TwoViews(Objective):
    """Draws the model's view of an image to what a slowly following copy says of another one; needs no labels."""

    name = "two_views"
    needs_labels = False
    couples_images = True
    evaluation_columns = ("loss",)
    best = BestEpoch("val_loss", higher_is_better=False)

    def __init__(self, model: nn.Module) -> None:
        super().__init__(model)
        self.projector = nn.Sequential(nn.Linear(10, 8), nn.BatchNorm1d(8))
        self.momentum = copy.deepcopy(model)
        self.centre = Centre()

    @classmethod
    def prepare(cls, setup: Setup) -> PreparedObjective:
        return PreparedObjective(kind=cls, make=cls)

    def parts(self) -> Mapping[str, Part]:
        centre = Part(is_optimized=False, is_averaged=True)
        return {"model": MODEL, "projector": AUXILIARY, "momentum": COPY, "centre": centre}

    @property
    def columns(self) -> tuple[str, ...]:
        return ("alignment", "spread")

    def train_views(self, img_size: int, augmentation: Mapping[str, Any]) -> tuple[Transform, ...]:
        return tuple(train_transform(img_size, dict(augmentation)) for _ in range(2))

    def start_step(self, context: StepContext) -> None:
        super().start_step(context)
        with torch.no_grad():
            for follows, parameter in zip(self.momentum.parameters(), self.model.parameters(), strict=True):
                follows.lerp_(parameter, 0.5 * (1 - context.number / context.steps))

    def forward(self, batch: Batch) -> Loss:
        assert batch.labels is None
        first, second = batch.views
        seen = self.projector(self.model(first))
        with torch.no_grad():
            aim = self.momentum(second)[:, :8]
        alignment = (seen - aim).pow(2).mean()
        spread = (seen - self.centre.mean).pow(2).mean()
        self.centre.mean = self.centre.mean.lerp(aim.mean(0), 0.5)
        return Loss(alignment - 0.1 * spread, {"alignment": alignment.detach(), "spread": spread.detach()})

    def evaluate(self, model: nn.Module, batch: Batch) -> Mapping[str, torch.Tensor]:
        return {"loss": model(batch.images).float().pow(2).mean(1).sum()}


@objectives.register("alternating")
class Alternating(Classification):
    """Every other step, another layer stands behind the head."""

    name = "alternating"
    uses_all_parameters = False

    def __init__(self, model: nn.Module, **settings: Any) -> None:
        super().__init__(model, **settings)
        self.layers = nn.ModuleList([nn.Linear(10, 10) for _ in range(2)])

    def parts(self) -> Mapping[str, Part]:
        return {"model": MODEL, "layers": AUXILIARY}

    def forward(self, batch: Batch) -> Loss:
        images, targets = self.targets.mixed(batch, self.context)
        logits = self.layers[self.context.number % 2](self.model(images))
        return Loss(self.targets.cross_entropy(logits, targets))


@objectives.register("permuting")
class Permuting(Classification):
    """Puts the hidden units of the MLPs of a plain ViT into another order before the second epoch."""

    name = "permuting"

    def unit_orders(self, epoch: int) -> Sequence[UnitOrder]:
        if epoch != 1:
            return ()
        found = []
        for number, block in enumerate(self.model.blocks):  # type: ignore[arg-type]
            mlp = f"model.blocks.{number}.mlp"
            order = torch.randperm(len(block.mlp.fc1.weight), generator=torch.Generator().manual_seed(number))
            for name, dim in (("fc1.weight", 0), ("fc1.bias", 0), ("fc2.weight", 1)):
                found.append(UnitOrder(f"{mlp}.{name}", dim, order))
        return found


@objectives.register("head_only")
class HeadOnly(Classification):
    """Learns quickly in the head, not at all elsewhere."""

    name = "head_only"

    def parameter_rule(self, name: str, parameter: nn.Parameter) -> ParameterRule:
        return ParameterRule(lr_scale=10.0 if name.startswith("model.head.") else 0.0, weight_decay=0.0)


@objectives.register("precise")
class Precise(Classification):
    """Trains in float64, where rounding neither hides a difference nor grows into one."""

    name = "precise"

    def __init__(self, model: nn.Module, **settings: Any) -> None:
        super().__init__(model.double(), **settings)

    def train_views(self, img_size: int, augmentation: Mapping[str, Any]) -> tuple[Transform, ...]:
        return tuple(_in_float64(view) for view in super().train_views(img_size, augmentation))

    def eval_views(self, img_size: int, eval_crop: float) -> tuple[Transform, ...]:
        return tuple(_in_float64(view) for view in super().eval_views(img_size, eval_crop))


def _in_float64(view: Transform) -> Transform:
    return lambda image: view(image).double()


@objectives.register("untold")
class Untold(Classification):
    """Has a term that it does not declare."""

    name = "untold"

    def forward(self, batch: Batch) -> Loss:
        found = super().forward(batch)
        return Loss(found.total, {"hidden": found.total.detach()})
