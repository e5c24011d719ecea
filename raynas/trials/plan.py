"""Trainings that are to run as trials, each checked before any starts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from raynas.errors import ConfigError
from raynas.space.architecture import Architecture
from raynas.space.search_space import SearchSpace
from raynas.training.config import TrainConfig
from raynas.training.image_choice import ChosenImages
from raynas.training.image_record import ImageRecord, read_record
from raynas.training.plan import TrainingPlan, make_training_plan
from raynas.trials.config import TrialsConfig


@dataclass(frozen=True)
class Member:
    """One of the trainings.

    Args:
        name: The name of its folder.
        architecture: What is trained.
        text: What sets it apart from the others, for people.
        scores: Scores that the architecture had in a search, by name.
        settings: Settings of the training that others have otherwise, by name.
        is_compared: Whether it is trained to set the others beside it, and never stopped early.
    """

    name: str
    architecture: Architecture
    text: str
    scores: Mapping[str, float] = field(default_factory=dict)
    settings: Mapping[str, Any] = field(default_factory=dict)
    is_compared: bool = False


class TrialsPlan:
    """What is trained, in values.

    Args:
        kind: The kind of run.
        config: The settings by which trainings are chosen and stopped early.
        source: Where the architectures are from; None: from no folder.
        members: The trainings, in the order in which they are begun.
        plans: The plans of the trainings, by the names of the members.
    """

    def __init__(
        self,
        kind: str,
        config: TrialsConfig,
        members: Sequence[Member],
        plans: Mapping[str, TrainingPlan],
        *,
        source: str | None = None,
    ) -> None:
        self.kind = kind
        self.config = config
        self.source = source
        self.members = tuple(members)
        self.plans = dict(plans)

    @property
    def space(self) -> SearchSpace:
        """The space of all architectures."""
        return next(iter(self.plans.values())).space

    @property
    def epochs(self) -> int:
        """The number of epochs of the longest training."""
        return max(plan.config.epochs for plan in self.plans.values())

    @property
    def compared(self) -> frozenset[str]:
        """Names of those that are trained to be compared with, and never stopped early."""
        return frozenset(member.name for member in self.members if member.is_compared)

    def identity(self) -> dict[str, Any]:
        """What a resumed session must share with the stored one."""
        return {
            "grace": self.config.grace,
            "reduction": self.config.reduction,
            "halving": self.config.halving,
            "trainings": {name: plan.identity() for name, plan in self.plans.items()},
        }


def trial_config(values: Mapping[str, Any]) -> TrainConfig:
    """The configuration of a training that is to run as one trial.

    Args:
        values: Fields of TrainConfig.

    Raises:
        ConfigError: A value is refused, or one that trials cannot have.
    """
    if values.get("workers"):
        raise ConfigError("each training is done by one process; workers cannot be set, trials run side by side")
    return TrainConfig.make({**values, "workers": 0})


def record_of_any(folder: Path | None, names: Sequence[str]) -> ImageRecord | None:
    """The images that trainings have in common, as the first of them that has begun has recorded them.

    Args:
        folder: The folder of the trainings; None: it is a new one.
        names: Names of the trainings.

    Raises:
        StoreError: The record is damaged.
    """
    records = (read_record(folder / name) for name in names) if folder is not None else iter(())
    return next((record for record in records if record is not None), None)


def trial_plan(config: TrainConfig, *, space: SearchSpace | None, images: ChosenImages) -> TrainingPlan:
    """The plan of a training that is to run as one trial.

    Args:
        config: What `trial_config` makes.
        space: The space itself, where it is not a registered one.
        images: The images of the training.

    Raises:
        RaynasError: As `raynas.training.plan.make_training_plan`.
        ConfigError: A training without an accuracy by which it could be compared.
    """
    # Trials say by their resources what they take of the cluster.
    plan = make_training_plan(config.resolved(address=None, gpus_per_worker=None), space=space, images=images)
    if not plan.best.is_accuracy:
        name = plan.objective.kind.name
        raise ConfigError(f"the trainings are compared by their accuracy, and the objective {name} has none")
    return plan


def check_grace(plan: TrialsPlan) -> None:
    """Refuse a comparison that comes after the end.

    Raises:
        ConfigError: It does.
    """
    if plan.config.halving != "none" and plan.config.grace > plan.epochs:
        raise ConfigError(f"grace is {plan.config.grace} epochs, more than a whole training has")
