"""What finalists are trained: the best of a search, chosen and checked before anything starts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from raynas.errors import ConfigError
from raynas.finalists.choice import Finalist, finalists
from raynas.finalists.config import FinalistsConfig
from raynas.registry import named_code
from raynas.space.architecture import Architecture
from raynas.space.cost import cost
from raynas.space.registered import spaces
from raynas.space.search_space import SearchSpace
from raynas.space.uniform import uniform_of_cost
from raynas.storage.paths import as_path
from raynas.storage.run_folder import read_description, reading
from raynas.storage.sources import existing_summary
from raynas.training.config import TrainConfig
from raynas.training.image_choice import choose_images
from raynas.training.plan import TrainingPlan, make_training_plan


class FinalistsPlan:
    """What is trained, in values.

    Args:
        config: The settings by which finalists are chosen, trained and stopped early.
        members: The best of the search, best first.
        plans: The plans of their trainings, by the finalists' names.
    """

    def __init__(self, config: FinalistsConfig, members: Sequence[Finalist], plans: Mapping[str, TrainingPlan]) -> None:
        self.config = config
        self.members = tuple(members)
        self.plans = dict(plans)

    @property
    def space(self) -> SearchSpace:
        """The space of all finalists."""
        return next(iter(self.plans.values())).space

    @property
    def epochs(self) -> int:
        """The number of epochs of a whole training."""
        return next(iter(self.plans.values())).config.epochs

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


def make_finalists_plan(config: FinalistsConfig, *, space: SearchSpace | None = None) -> FinalistsPlan:
    """Choose the architectures, and check all their trainings.

    Args:
        config: What was asked for.
        space: The space itself, where it is neither registered nor in a file.

    Raises:
        RaynasError: As `finalists` and `make_training_plan`.
        ConfigError: Settings that trials cannot have.
    """
    members = finalists(as_path(config.source), config.top)
    searched = read_description(as_path(config.source))["config"]  # resolved, with spaces of files by their paths
    if space is None and config.space is not None:
        space = spaces.get(config.space)
    with named_code():  # the folder has named it
        space = space or spaces.get(str(searched.get("space")))
    config = config.resolved(space=spaces.reference(space))
    if config.compare is not None:
        members = _with_uniform(members, space, searched, as_path(config.source))
    values: dict[str, Any] = {**config.training, "space": config.space}
    with reading(as_path(config.source)):
        values.setdefault("img_size", searched["img_size"])
    if values.get("workers"):
        raise ConfigError("each finalist is trained by one process; workers cannot be set, trials run side by side")
    plans, images = {}, None
    for member in members:
        made = TrainConfig.make({**values, "architecture": member.architecture.to_json(), "workers": 0})
        # Trials say by their resources what they take of the cluster.
        images = images or choose_images(made)  # of all of them, and looked at once
        plan = make_training_plan(made.resolved(address=None, gpus_per_worker=None), space=space, images=images)
        if not plan.best.is_accuracy:
            name = plan.objective.kind.name
            raise ConfigError(f"finalists are compared by their accuracy, and the objective {name} has none")
        plans[member.name] = plan
    if images is not None:
        found = {name: getattr(plan.config, name) for name in ("image_choice", "skipped_images", "skipped_val_images")}
        config = config.resolved(training={**config.training, **found})
    if config.grace > next(iter(plans.values())).config.epochs:
        raise ConfigError(f"grace is {config.grace} epochs, more than a whole training has")
    return FinalistsPlan(config, members, plans)


def _with_uniform(
    members: Sequence[Finalist], space: SearchSpace, searched: Mapping[str, Any], source: Path
) -> list[Finalist]:
    """The finalists, and the uniform network whose multiply-adds are nearest to the best one's.

    Raises:
        SpaceError: The space has no uniform networks.
        ConfigError: The uniform network is one of the finalists.
    """
    with reading(source):
        size = {"img_size": int(searched["img_size"]), "num_classes": int(searched["num_classes"])}
    target = cost(space, members[0].architecture, "macs", **size)
    uniform = uniform_of_cost(space, "macs", target, **size)
    if any(member.architecture == uniform for member in members):
        raise ConfigError("the uniform network of the best one's multiply-adds is a finalist itself: leave compare out")
    return [*members, Finalist(f"uniform-{uniform.key[:8]}", uniform, _scores_of(uniform, source), is_compared=True)]


def _scores_of(uniform: Architecture, source: Path) -> dict[str, float]:
    """The scores that the uniform network had when the search set its winner beside it; empty if it did not."""
    with reading(source):
        told = (existing_summary(source).get("comparison") or {}).get("uniform")
        if not told or Architecture(told["architecture"]) != uniform:
            return {}
        return {name: value for name, value in told["scores"].items() if value is not None}
