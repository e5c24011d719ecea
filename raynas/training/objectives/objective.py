"""What a training optimises, as one module that owns all that is trained or carried; the loop knows nothing else of it.

An objective is registered under its name, like spaces and proxies:

    @objectives.register("classification")
    class Classification(Objective): ...

The driver calls `prepare` with the configuration, which checks it and returns what workers make the objective from.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, NamedTuple

import numpy as np
import torch
from torch import nn

from raynas.errors import ConfigError
from raynas.models.elastic.units import UnitOrder
from raynas.models.protocols import not_decayed
from raynas.models.step_draws import StepContext
from raynas.registry import Registry
from raynas.space.architecture import Architecture
from raynas.space.search_space import SearchSpace
from raynas.training.batch import Batch
from raynas.training.best_epoch import BestEpoch
from raynas.training.config import ResolvedTraining
from raynas.training.images import Transform, eval_transform, train_transform


class Loss(NamedTuple):
    """What is minimised, and the terms that a report shows of it.

    Args:
        total: A number, with its gradient: the mean over the images of a batch.
        terms: Numbers by the names of `Objective.columns`, without gradient and before they are weighted.
    """

    total: torch.Tensor
    terms: Mapping[str, torch.Tensor] = {}


@dataclass(frozen=True)
class Part:
    """What becomes of one of the modules that an objective consists of.

    Args:
        is_stored: Whether its weights stand in checkpoints; what can be made again, as a teacher, need not.
        is_optimized: Whether the optimizer changes its parameters. If not, they get no gradients, and the objective
            itself changes them or nobody does.
        is_averaged: Whether each worker makes its floating-point buffers from images of its own, such as a running
            centre, so that they are averaged over workers after each step. Statistics of BatchNorm are those of the
            whole step without that.
        is_exported: Whether its weights are what the training is for; so it is with one part, whose moving average is
            kept if there is one.
    """

    is_stored: bool = True
    is_optimized: bool = True
    is_averaged: bool = False
    is_exported: bool = False


MODEL = Part(is_exported=True)
AUXILIARY = Part()
COPY = Part(is_optimized=False)
FROZEN = Part(is_stored=False, is_optimized=False)
"""The usual parts: the network that is trained; what is trained beside it and left behind; what the objective changes
by itself, such as a copy that follows the network; what stays as it was made, such as a teacher."""


class ParameterRule(NamedTuple):
    """How the optimizer treats a parameter.

    Args:
        lr_scale: The factor by which the learning rate of the schedule is multiplied.
        weight_decay: The parameter's own weight decay; None: that of the training, or none where timm leaves it out
            (biases, norms, what the model names in `no_weight_decay`).
    """

    lr_scale: float = 1.0
    weight_decay: float | None = None


class Objective(nn.Module):
    """Supplies the loss; calling it with a batch returns a `Loss`.

    Args:
        model: The network to train, on its device.

    Attributes:
        name: The name that the objective is registered under.
        needs_labels: Whether batches have labels, and the data at least two classes.
        takes_token_labels: Whether it heeds the setting token_labels; if not, trainings with it are refused.
        trains_members: Whether members of a supernet are trained, so that `raynas.training.config.SUPERNET` counts.
        settings: Those of `raynas.training.config.PRETRAINING` that it heeds; trainings with others are refused.
        couples_images: Whether the loss of an image depends on which others are computed with it, as contrast does.
            Then a step cannot be divided into passes. On several workers, the objective itself looks at all of them.
        uses_all_parameters: Whether each pass gives every optimised parameter a gradient. If not, as with sampled
            sub-networks, workers find out which ones have one before they exchange them.
        fills_gradients: Whether optimised parameters that a step gives no gradient get one of zeros, so that optimizers
            treat all alike: they decay, and moments fade. If not, such parameters stay as they are.
        evaluation_columns: Names of what `evaluate` returns; columns val_NAME and ema_val_NAME of metrics.parquet.
        probes_features: Whether `features` gives some; then the nearest neighbours of the images to evaluate on tell
            their classes, where these are known: `knn_top1` among the evaluation columns.
        draws_pictures: Whether `pictures` shows something, at the end of some epochs.
        best: How the best epoch is chosen, of which a checkpoint is kept.
        context: The place of the step under way in the training.
    """

    name: ClassVar[str]
    needs_labels: ClassVar[bool] = True
    takes_token_labels: ClassVar[bool] = False
    trains_members: ClassVar[bool] = False
    settings: ClassVar[tuple[str, ...]] = ()
    couples_images: ClassVar[bool] = False
    uses_all_parameters: ClassVar[bool] = True
    fills_gradients: ClassVar[bool] = False
    evaluation_columns: ClassVar[tuple[str, ...]] = ()
    probes_features: ClassVar[bool] = False
    draws_pictures: ClassVar[bool] = False
    best: ClassVar[BestEpoch]
    context: StepContext

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    # -- in the driver, before anything starts ---------------------------------------------------------------------

    @classmethod
    def prepare(cls, setup: Setup) -> PreparedObjective:
        """Check what was asked for, and say how to make the objective on a worker.

        Raises:
            RaynasError: Settings that do not go together, or things that cannot be read.
        """
        raise NotImplementedError(f"{cls.__name__} does not say how it is made")

    @classmethod
    def default_warmup_epochs(cls, epochs: int) -> int:
        """The number of epochs in which the learning rate rises where nothing is said of it.

        Args:
            epochs: How many epochs there are.
        """
        return epochs // 15

    @classmethod
    def initialise(cls, model: nn.Module) -> None:
        """Draw weights in a way of its own, where the training starts from none; the model's own are there already.

        Args:
            model: The network to train, on the CPU.
        """

    # -- what it consists of ---------------------------------------------------------------------------------------

    def parts(self) -> Mapping[str, Part]:
        """What becomes of each of its modules that has parameters or buffers, by the name of the attribute."""
        return {"model": MODEL}

    @property
    def columns(self) -> tuple[str, ...]:
        """Names of the terms of its loss, each of them in every loss; columns of metrics.parquet."""
        return ()

    def parameter_rule(self, name: str, parameter: nn.Parameter) -> ParameterRule:
        """How the optimizer treats a parameter.

        Args:
            name: Name of the parameter in the objective, such as "model.head.weight".
            parameter: The parameter itself.
        """
        return ParameterRule()

    def no_weight_decay(self) -> set[str]:
        """Names of parameters that timm is to leave out of weight decay, as the model says."""
        return {f"model.{name}" for name in not_decayed(self.model)}

    # -- what it is shown ------------------------------------------------------------------------------------------

    def train_views(self, img_size: int, augmentation: Mapping[str, Any]) -> tuple[Transform, ...]:
        """For each view of an image to train on, how it is made; one varied view unless an objective says otherwise.

        Args:
            img_size: Image side in pixels.
            augmentation: What `TrainConfig.augmentation` returns.
        """
        return (train_transform(img_size, dict(augmentation)),)

    def eval_views(self, img_size: int, eval_crop: float) -> tuple[Transform, ...]:
        """For each view of an image that is evaluated, how it is made; such images are not varied.

        Args:
            img_size: Image side in pixels.
            eval_crop: `TrainConfig.eval_crop`.
        """
        return (eval_transform(img_size, eval_crop),)

    # -- as the training goes on -----------------------------------------------------------------------------------

    def unit_orders(self, epoch: int) -> Sequence[UnitOrder]:
        """Units that change their places before the first step of an epoch, in the optimizer and the average too.

        Args:
            epoch: The number of the epoch, from 0.
        """
        return ()

    def start_step(self, context: StepContext) -> None:
        """Called once for each step before its passes: the place to move what follows the model.

        Args:
            context: The place of the step in the training; kept as an attribute.
        """
        self.context = context

    def forward(self, batch: Batch) -> Loss:
        """The loss of the images of one pass."""
        raise NotImplementedError(f"{type(self).__name__} has no loss")

    def evaluate(self, model: nn.Module, batch: Batch) -> Mapping[str, torch.Tensor]:
        """Sums over the images of a batch, by the names of `evaluation_columns`.

        Args:
            model: The exported part, or its moving average, in eval mode.
            batch: Images to evaluate on.
        """
        return {}

    def features(self, model: nn.Module, batch: Batch) -> torch.Tensor:
        """One vector (b, C) for each image of a batch, where `probes_features` says that there are some.

        Args:
            model: The exported part, or its moving average, in eval mode.
            batch: Images to evaluate on.
        """
        raise NotImplementedError(f"{type(self).__name__} has no features")

    def pictures(self, model: nn.Module, batch: Batch) -> Mapping[str, np.ndarray]:
        """Pictures of what is learned, by names of small letters, where `draws_pictures` says that there are some.

        Args:
            model: The exported part, or its moving average, in eval mode.
            batch: A few images to evaluate on.

        Returns:
            RGB pixels (height, width, 3), uint8, of each picture.
        """
        raise NotImplementedError(f"{type(self).__name__} draws no pictures")


@dataclass(frozen=True)
class Setup:
    """What an objective is prepared from.

    Args:
        config: What was asked for, with the defaults filled in that do not depend on the objective.
        space: The space of the architecture.
        architecture: What is trained.
        model_settings: Keywords with which the model is built.
        has_classes: Whether the labels of the images mean something, unlike those of noise.
    """

    config: ResolvedTraining
    space: SearchSpace
    architecture: Architecture
    model_settings: Mapping[str, Any]
    has_classes: bool

    def refuse_teacher(self, objective: str) -> None:
        """Refuse a teacher that an objective would not listen to.

        Args:
            objective: The name of the objective.

        Raises:
            ConfigError: There is one.
        """
        if self.config.teacher is not None:
            raise ConfigError(f"the objective {objective} learns from no teacher, and {self.config.teacher!r} is given")


@dataclass(frozen=True)
class PreparedObjective:
    """An objective in values, which travel to workers.

    Args:
        kind: The class of the objective.
        make: Makes the objective of a model that is on its device.
        resolved: Fields of the configuration whose defaults were found out.
        identity: What a resumed training must share with the stored one, by name.
        description: Sections that run.yaml gets from the objective.
        phases: What is trained when, in words, with the number of the epoch, from 0, from which on; for progress.
    """

    kind: type[Objective]
    make: Callable[[nn.Module], Objective]
    resolved: Mapping[str, Any] = field(default_factory=dict)
    identity: Mapping[str, Any] = field(default_factory=dict)
    description: Mapping[str, Any] = field(default_factory=dict)
    phases: tuple[tuple[int, str], ...] = ()

    def phase_in(self, epoch: int) -> str:
        """What is trained in an epoch, in words; empty where that is the same in all."""
        return next((words for start, words in reversed(self.phases) if start <= epoch), "")


objectives: Registry[type[Objective]] = Registry("objective", "objectives", "raynas.training.objectives")


def exported_part(objective: Objective) -> str:
    """The name of the part that is exported.

    Raises:
        TypeError: The objective does not say of each of its modules what becomes of it, or exports not exactly one.
    """
    parts = objective.parts()
    undeclared = [
        name
        for name, child in objective.named_children()
        if name not in parts and any(True for _ in child.state_dict())
    ]
    own = [name for name, _ in [*objective.named_parameters(recurse=False), *objective.named_buffers(recurse=False)]]
    if undeclared or own:
        raise TypeError(f"{type(objective).__name__} does not say what becomes of {', '.join([*undeclared, *own])}")
    exported = [name for name, part in parts.items() if part.is_exported]
    if len(exported) != 1:
        raise TypeError(f"{type(objective).__name__} exports {', '.join(exported) or 'nothing'}, and not one part")
    return exported[0]
