"""Which objective a configuration asks for, and whether the settings that it has are those of that one."""

from __future__ import annotations

from collections.abc import Sequence

from raynas.errors import ConfigError
from raynas.training.config import DISTILLATION, PRETRAINING, SUPERNET, TrainConfig
from raynas.training.objectives.objective import Objective, objectives


def chosen_objective(config: TrainConfig) -> type[Objective]:
    """The objective by its name, or the one that follows from whether there is a teacher.

    Args:
        config: What was asked for.

    Raises:
        UnknownNameError: There is no such objective.
        ConfigError: Settings are given that go with a teacher, with supernets, with labels of patches or with another
            objective, and the objective does not heed them.
    """
    if config.teacher is None and (given := _given(config, DISTILLATION)):
        raise ConfigError(f"{', '.join(given)} go with a teacher, and none is given")
    kind = objectives.get(config.objective or ("classification" if config.teacher is None else "distillation"))
    if not kind.trains_members and (given := _given(config, SUPERNET)):
        raise ConfigError(f"{', '.join(given)} go with the objective supernet, not with {kind.name}")
    if given := [name for name in _given(config, PRETRAINING) if name not in kind.settings]:
        raise ConfigError(f"{', '.join(given)}: the objective {kind.name} has no such setting")
    if config.token_labels and not kind.takes_token_labels:
        raise ConfigError(f"token_labels go with classification and supernet: the objective {kind.name} has none")
    return kind


def _given(config: TrainConfig, names: Sequence[str]) -> list[str]:
    """Those of some settings that differ from their defaults."""
    return [name for name in names if getattr(config, name) != TrainConfig.model_fields[name].default]
