"""What does not go together in a run, refused before anything starts."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress

import numpy as np

from raynas.config import Setting
from raynas.errors import ConfigError, SpaceError, UnknownNameError
from raynas.proxies.probe import Proxy
from raynas.registry import normalised
from raynas.searchers.admission import Admission
from raynas.searchers.base import own_settings
from raynas.searchers.genes import BoundedDraws
from raynas.searchers.registered import searchers
from raynas.seeds import seed_from
from raynas.space.architecture import Architecture
from raynas.space.cost import costs_of, counted_costs
from raynas.space.results import Constraint, Objective
from raynas.space.search_space import SearchSpace

_ADMISSION_TRIES = 2000
_BOUNDED_TRIES = 200

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
    """Refuse constraints on costs that no architecture was found to meet.

    Tried are uniform samples, then the smallest and the largest architecture, then draws that go for the bounds.

    Args:
        space: The space that is sampled.
        constraints: The run's constraints; those on scores, and on costs without closed forms, are not looked at.
        costs: Gives the costs of an architecture that are known before scoring, by name.
        seed: The run's seed, which drives the samples.

    Raises:
        ConfigError: None of many samples meets one of the constraints or bands, which is named, or all at once.
    """
    known = {*costs_of(space)} - set(counted_costs(space))
    bounds = [constraint for constraint in constraints if constraint.name in known]
    if not bounds:
        return
    rng = np.random.default_rng(seed_from(seed, "admission"))
    found = []
    for architecture in itertools.chain(_samples(space, rng), _extremes(space)):
        found.append(costs(architecture))
        if all(constraint.violation(found[-1]) == 0 for constraint in bounds):
            return
    if not any(all(map(constraint.violation, found)) for constraint in bounds):
        # Each bound is met, but never all at once: the band may be narrow.
        draws = BoundedDraws(space, Admission(bounds, costs))
        if any(draws.draw(rng) is not None for _ in range(_BOUNDED_TRIES)):
            return
    alone = [[constraint] for constraint in bounds]
    by_cost = [[one for one in bounds if one.name == name] for name in dict.fromkeys(one.name for one in bounds)]
    for group in alone + by_cost:
        name, values = group[0].name, [each[group[0].name] for each in found]
        if all(any(constraint.violation(each) for constraint in group) for each in found):
            raise ConfigError(
                f"no architecture of {len(found)} tried in {space.name} meets {_named(group, bounds)}: "
                f"{name} is from {_shown(min(values))} to {_shown(max(values))}"
            )
    raise ConfigError(f"no architecture of {len(found)} meets all of {', '.join(map(str, bounds))} at once")


def _shown(value: float) -> str:
    """A cost in words: counts whole, what is measured in milliseconds with its digits."""
    return f"{value:,.0f}" if value.is_integer() else f"{value:.4g}"


def _samples(space: SearchSpace, rng: np.random.Generator) -> Iterator[Architecture]:
    return (space.sample(rng) for _ in range(_ADMISSION_TRIES))


def _extremes(space: SearchSpace) -> Iterator[Architecture]:
    """The smallest and the largest architecture, where there are such."""
    for extreme in (space.smallest, space.largest):
        with suppress(SpaceError):
            yield extreme()


def _named(group: Sequence[Constraint], bounds: Sequence[Constraint]) -> str:
    """What some constraints on one cost are called: a band, where there is one bound on each side."""
    same = sorted((one for one in bounds if one.name == group[0].name), key=lambda one: one.is_upper)
    if [one.relation for one in same] == [">=", "<="]:
        low, high = (str(one).removeprefix(f"{one.name}{one.relation}") for one in same)
        return f"the band {same[0].name}:{low}:{high}"
    return " and ".join(map(str, group))


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
                f"its {constraint.name} is {_shown(found[constraint.name])}"
            )
    check_divisors(space, chosen, [start])
