"""What finalists are trained: the best of a search, chosen and checked before anything starts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from raynas.errors import ConfigError
from raynas.finalists.choice import Finalist, finalists
from raynas.finalists.config import KIND, FinalistsConfig
from raynas.registry import named_code
from raynas.space.architecture import Architecture
from raynas.space.cost import cost
from raynas.space.registered import spaces
from raynas.space.search_space import SearchSpace
from raynas.space.uniform import uniform_of_cost
from raynas.storage.paths import as_path
from raynas.storage.run_folder import read_description, reading
from raynas.storage.sources import existing_summary
from raynas.training.image_choice import choose_images
from raynas.trials.plan import Member, TrialsPlan, check_grace, record_of_any, trial_config, trial_plan


def make_finalists_plan(
    config: FinalistsConfig, *, space: SearchSpace | None = None, resumed: Path | None = None
) -> TrialsPlan:
    """Choose the architectures, and check all their trainings.

    Args:
        config: What was asked for.
        space: The space itself, where it is neither registered nor in a file.
        resumed: The folder whose trainings are gone on with; None: they begin.

    Raises:
        RaynasError: As `finalists` and `make_training_plan`.
        ConfigError: Settings that trials cannot have.
    """
    found = finalists(as_path(config.source), config.top)
    searched = read_description(as_path(config.source))["config"]  # resolved, with spaces of files by their paths
    if space is None and config.space is not None:
        space = spaces.get(config.space)
    with named_code():  # the folder has named it
        space = space or spaces.get(str(searched.get("space")))
    config = config.resolved(space=spaces.reference(space))
    compared = [] if config.compare is None else [_uniform(found, space, searched, as_path(config.source))]
    values: dict[str, Any] = {**config.training, "space": config.space}
    with reading(as_path(config.source)):
        values.setdefault("img_size", searched["img_size"])
    members, plans, images = [], {}, None
    record = record_of_any(resumed, [one.name for one in (*found, *compared)])
    for one in (*found, *compared):
        made = trial_config({**values, "architecture": one.architecture.to_json()})
        images = images or choose_images(made, record)  # of all of them, and looked at once
        plans[one.name] = trial_plan(made, space=space, images=images)
        text = space.text(one.architecture)
        members.append(Member(one.name, one.architecture, text, one.scores, is_compared=one in compared))
    first = plans[members[0].name].config  # all have the same images
    used = {name: getattr(first, name) for name in ("image_choice", "skipped_images", "skipped_val_images")}
    config = config.resolved(training={**config.training, **used})
    made_plan = TrialsPlan(KIND, config, members, plans, source=config.source)
    check_grace(made_plan)
    return made_plan


def _uniform(found: Sequence[Finalist], space: SearchSpace, searched: Mapping[str, Any], source: Path) -> Finalist:
    """The uniform network whose multiply-adds are nearest to the best finalist's.

    Raises:
        SpaceError: The space has no uniform networks.
        ConfigError: The uniform network is one of the finalists.
    """
    with reading(source):
        size = {"img_size": int(searched["img_size"]), "num_classes": int(searched["num_classes"])}
    target = cost(space, found[0].architecture, "macs", **size)
    uniform = uniform_of_cost(space, "macs", target, **size)
    if any(one.architecture == uniform for one in found):
        raise ConfigError("the uniform network of the best one's multiply-adds is a finalist itself: leave compare out")
    return Finalist(f"uniform-{uniform.key[:8]}", uniform, _scores_of(uniform, source))


def _scores_of(uniform: Architecture, source: Path) -> dict[str, float]:
    """The scores that the uniform network had when the search set its winner beside it; empty if it did not."""
    with reading(source):
        told = (existing_summary(source).get("comparison") or {}).get("uniform")
        if not told or Architecture(told["architecture"]) != uniform:
            return {}
        return {name: value for name, value in told["scores"].items() if value is not None}
