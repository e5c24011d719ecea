"""What the winner of a search is set beside: the uniform network of equal cost, and random networks.

Blocks that are all alike are what people build without a search, and often do as well; random networks of the same
costs say how much of the winner's lead is the searcher's, and how much the space's.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean, stdev
from typing import Any

import numpy as np

from raynas.seeds import seed_from
from raynas.space.architecture import Architecture
from raynas.space.cost import COSTS
from raynas.space.results import Objective
from raynas.space.search_space import SearchSpace
from raynas.space.uniform import uniform_architectures
from raynas.stats.thinning import spread

MOST_BESIDE = 10
"""The most architectures beside which a search sets the uniform ones of their costs."""

_TRIES = 20_000
_BAND = 0.975  # of the winner's multiply-adds, where nothing bounds costs: as narrow as the bands of ViT-ResNAS


@dataclass(frozen=True)
class Peers:
    """What a winner is compared with.

    Args:
        uniform: The uniform architecture whose multiply-adds are nearest to the winner's; None: the space has none.
        random: Distinct architectures that are drawn from those that the constraints on costs admit.
    """

    uniform: Architecture | None
    random: tuple[Architecture, ...]


def peers_of(
    winner: Architecture,
    space: SearchSpace,
    macs: Callable[[Architecture], float] | None,
    admits: Callable[[Architecture], bool] | None,
    *,
    number: int,
    seed: int,
) -> Peers:
    """Choose what a winner is compared with.

    Args:
        winner: The best architecture of a search.
        space: The space that was searched.
        macs: Tells the multiply-adds of an architecture. None: only a built model does; then there is no uniform
            architecture, and random ones may have any cost.
        admits: Says whether an architecture meets the constraints on costs. None: there are none; then random networks
            have between 97.5 % and all of the winner's multiply-adds.
        number: How many random architectures there are to be; there may be fewer, where few are admitted.
        seed: Seed of the draws.
    """
    uniform = None
    if macs is not None:
        target = macs(winner)
        if space.uniform is not None:
            uniform = min(uniform_architectures(space), key=lambda one: abs(macs(one) - target))
        if admits is None:
            admits = lambda one: _BAND * target <= macs(one) <= target  # noqa: E731
    rng = np.random.default_rng(seed_from(seed, "compare"))
    random: dict[Architecture, None] = {}
    for _ in range(_TRIES):
        if len(random) == number:
            break
        drawn = space.sample(rng)
        if drawn not in (winner, uniform) and drawn not in random and (admits is None or admits(drawn)):
            random[drawn] = None
    return Peers(uniform, tuple(random))


def uniform_peers(
    found: Sequence[Architecture], space: SearchSpace, macs: Callable[[Architecture], float]
) -> dict[Architecture, Architecture]:
    """The uniform architecture nearest in multiply-adds for each of some architectures, whatever its other options.

    Those that are uniform themselves have none: another one would say nothing of what uneven blocks are worth.

    Args:
        found: What a search has found; of many, evenly spaced ones are taken, the first and the last among them.
        space: The space that was searched, which has uniform architectures.
        macs: Tells the multiply-adds of an architecture.
    """
    uniform = {one: macs(one) for one in uniform_architectures(space)}
    chosen = [found[i] for i in spread(np.arange(len(found)), MOST_BESIDE)]
    return {
        one: min(uniform, key=lambda other: abs(uniform[other] - macs(one))) for one in chosen if one not in uniform
    }


def comparison(
    objective: Objective,
    winner: Mapping[str, Any],
    uniform: Mapping[str, Any] | None,
    random: Sequence[Mapping[str, Any]],
) -> dict[str, Any]:
    """What summary.json says of a winner and its peers.

    Args:
        objective: What was searched for.
        winner, uniform, random: Architectures as a summary has them, with their `scores`; random ones that violate a
            constraint do not count.

    Returns:
        The objective's name as `objective`; `winner` and `uniform` as they are, the latter None where it has no value;
        the values of the `random` ones with their number, mean, standard deviation (None of fewer than two) and best;
        `better_random`, how many of them are better than the winner; and a `verdict` in words.
    """
    name = objective.name
    values = [value for one in random if one["is_feasible"] and (value := _value(one, name)) is not None]
    best = None if not values else (max if objective.maximize else min)(values)
    won = _value(winner, name)
    assert won is not None, "a winner has a value of what was searched for"

    def is_better(value: float) -> bool:
        return bool(value > won if objective.maximize else value < won)

    of_uniform = None if uniform is None else _value(uniform, name)
    return {
        "objective": name,
        "winner": dict(winner),
        "uniform": None if uniform is None or of_uniform is None else dict(uniform),
        "random": {
            "number": len(values),
            "mean": fmean(values) if values else None,
            "std": stdev(values) if len(values) > 1 else None,
            "best": best,
            "values": values,
        },
        "better_random": sum(map(is_better, values)),
        "verdict": _verdict(name, won, of_uniform, is_better, values),
    }


def _value(entry: Mapping[str, Any], name: str) -> float | None:
    """A score of an entry of a summary, or a cost, which stands beside the scores; None if there is none."""
    value: float | None = entry["scores"].get(name, entry.get(name) if name in COSTS else None)
    return value


def _verdict(
    name: str, won: float, uniform: float | None, is_better: Callable[[float], bool], values: Sequence[float]
) -> str:
    parts = []
    if uniform is not None:
        relation = "the same as" if math.isclose(uniform, won) else "behind" if is_better(uniform) else "ahead of"
        parts.append(f"{relation} the uniform network of nearly equal multiply-adds ({won:.4g} against {uniform:.4g})")
    if values:
        better = sum(map(is_better, values))
        spread = f" ± {stdev(values):.2g}" if len(values) > 1 else ""
        parts.append(
            f"{'ahead of all' if not better else f'behind {better} of'} {len(values)} random networks "
            f"({fmean(values):.4g}{spread})"
        )
    return f"by {name}, the winner is {' and '.join(parts)}" if parts else ""
