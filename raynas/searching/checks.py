"""What does not go together in a run, refused before anything starts."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np

from raynas.config import Setting
from raynas.errors import ConfigError, SpaceError, UnknownNameError
from raynas.proxies.probe import Proxy
from raynas.registry import normalised
from raynas.searchers.base import own_settings
from raynas.searchers.registered import searchers
from raynas.seeds import seed_from
from raynas.space.architecture import Architecture
from raynas.space.cost import COSTS, counted_costs
from raynas.space.results import Constraint, Objective
from raynas.space.search_space import SearchSpace

_ADMISSION_TRIES = 2000

Costs = Callable[[Architecture], Mapping[str, float]]
"""The costs of an architecture that are known before scoring, by name."""


def check_divisors(space: SearchSpace, chosen: Sequence[Proxy], architectures: Sequence[Architecture] | None) -> None:
    """Refuse to score narrower networks where they are not known to exist.

    Args:
        space: The space that the architectures come from.
        chosen: Proxies, of which some may score a network whose width is divided.
        architectures: What is scored, as far as it is known now; None: whatever a searcher asks for.

    Raises:
        ConfigError: The space does not say what its width is.
        SpaceError: One of the architectures cannot be narrowed.
    """
    for proxy in chosen:
        divisor = proxy.width_divisor
        if divisor == 1:
            continue
        if space.growth is None:
            raise ConfigError(
                f"{proxy.name}.width_divisor is {divisor}, but space {space.name!r} does not say how it grows, "
                "and so not which field is its width"
            )
        for architecture in architectures or ():
            check_narrowed(space, architecture, divisor)


def check_narrowed(space: SearchSpace, architecture: Architecture, divisor: int) -> None:
    """Refuse an architecture that cannot be built with its width divided.

    Raises:
        SpaceError: It cannot be built; the message names the architecture and the divisor.
    """
    assert space.growth is not None
    try:
        space.validate(space.growth.narrowed(architecture, divisor))
    except SpaceError as error:
        raise SpaceError(f"{space.text(architecture)} cannot be scored at its width / {divisor}: {error}") from None


def chosen_searcher(asked: str | None, settings: Mapping[str, Setting], objectives: Sequence[Objective]) -> str:
    """The name in the registry of the searcher that was asked for, or of the default for these objectives.

    Args:
        asked: The name that was given; None: the default.
        settings: The searcher's own settings.
        objectives: What the searcher is to optimise.

    Raises:
        UnknownNameError: There is no such searcher, or it has no such setting.
        ConfigError: It needs an objective and there is none, or one is named twice.
    """
    names = [objective.name for objective in objectives]
    if len(set(names)) < len(names):
        raise ConfigError(f"an objective is named twice: {', '.join(names)}")
    name = asked or ("nsga2" if len(objectives) > 1 else "reinforce")
    made = searchers.get(name)
    if not objectives and normalised(name) != "random":
        raise ConfigError(f"searcher {name!r} needs an objective")
    own = own_settings(made)
    for setting in settings:
        if setting not in own:
            known = ", ".join(own) or "none"
            raise UnknownNameError(f"searcher {name!r} has no setting {setting!r}. Known settings: {known}")
    return next(known for known in searchers if normalised(known) == normalised(name))


def check_admission(space: SearchSpace, constraints: Sequence[Constraint], costs: Costs, seed: int) -> None:
    """Refuse constraints on costs that no sampled architecture meets.

    Args:
        space: The space that is sampled.
        constraints: The run's constraints; those on scores, and on costs without closed forms, are not looked at.
        costs: Gives the costs of an architecture that are known before scoring, by name.
        seed: The run's seed, which drives the samples.

    Raises:
        ConfigError: None of many samples meets one of the constraints, which is named, or all of them at once.
    """
    known = COSTS.keys() - set(counted_costs(space))
    bounds = [constraint for constraint in constraints if constraint.name in known]
    if not bounds:
        return
    rng = np.random.default_rng(seed_from(seed, "admission"))
    found = []
    for _ in range(_ADMISSION_TRIES):
        found.append(costs(space.sample(rng)))
        if all(constraint.violation(found[-1]) == 0 for constraint in bounds):
            return
    for constraint in bounds:
        values = [each[constraint.name] for each in found]
        if all(constraint.violation(each) for each in found):
            raise ConfigError(
                f"no architecture of {len(found)} drawn from {space.name} meets {constraint}: "
                f"{constraint.name} is from {min(values):,.0f} to {max(values):,.0f}"
            )
    raise ConfigError(f"no architecture of {len(found)} meets all of {', '.join(map(str, bounds))} at once")


def check_start(
    space: SearchSpace,
    start: Architecture,
    constraints: Sequence[Constraint],
    costs: Costs,
    chosen: Sequence[Proxy],
) -> None:
    """Refuse a start that violates constraints on costs, or that cannot be scored at the width that is asked for.

    Args:
        space: The space that the start comes from.
        start: The architecture that the searcher starts with.
        constraints: The run's constraints; those on scores are not looked at.
        costs: Gives the costs of an architecture that are known before scoring, by name.
        chosen: Proxies that score untrained networks.

    Raises:
        ConfigError: The start violates a constraint.
        SpaceError: It cannot be scored at the width that a proxy asks for.
    """
    found = costs(start)
    for constraint in constraints:
        if constraint.name in found and constraint.violation(found):
            raise ConfigError(
                f"the start {space.text(start)} violates {constraint}: "
                f"its {constraint.name} is {found[constraint.name]:,.0f}"
            )
    check_divisors(space, chosen, [start])
