"""Growing a family of architectures: what a source, a space's own defaults and a user's wishes make of a run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from raynas.errors import ConfigError
from raynas.proxies.probe import Proxy
from raynas.searchers.growth import growth_of
from raynas.searching.config import RunConfig
from raynas.searching.plan import Plan, make_plan
from raynas.space.architecture import Architecture
from raynas.space.cost import counted_costs
from raynas.space.registered import spaces
from raynas.space.results import Constraint
from raynas.storage.sources import Source

_BUDGET = 100_000  # a growth ends by itself, long before


def growth_plan(
    values: Mapping[str, Any],
    source: Source | None = None,
    *,
    stop: str | None = None,
    rates: Sequence[float] | None = None,
    own_proxies: Sequence[Proxy] = (),
) -> Plan:
    """The plan of a growth.

    Args:
        values: Fields of RunConfig. What is absent has the space's own default: the objectives, the divisor of scored
            widths, and the stop together with its constraints; images and their size are those of the source's run.
        source: The architecture to start with; None: the values say it, as those of a stored run do.
        stop, rates: Settings of the searcher, over those in the values.
        own_proxies: Proxies that are not registered.

    Raises:
        RaynasError: As `make_plan`; also for a space that does not grow, no stop, or one that the start meets already.
    """
    values = dict(values)
    searcher = dict(values.get("settings", {}).get("searcher", {}))
    if source is not None:
        values = {**_of_run(source, values.get("data")), **values, "space": spaces.reference(source.space)}
        searcher["start"] = source.architecture.to_json()
    if stop is not None:
        searcher["stop"] = stop
    if rates is not None:
        searcher["rates"] = list(rates)
    space = source.space if source is not None else spaces.get(values["space"])
    growth = growth_of(space)
    if counted := counted_costs(space):
        raise ConfigError(
            f"space {space.name!r} cannot be grown: growth goes by costs before it scores, and the space has no closed "
            f"form of {' and '.join(counted)}"
        )
    if not {"stop", "max_steps"} & searcher.keys():
        if not growth.stop:
            raise ConfigError(
                f"space {space.name!r} has no stop of its own: say where growth ends, such as stop num_params>=5e6"
            )
        searcher["stop"] = growth.stop
        values.setdefault("constraints", growth.constraints)
    defaults = {"objectives": growth.objectives, "width_divisor": growth.scored_divisor, "budget": _BUDGET}
    settings = {**values.get("settings", {}), "searcher": searcher}
    config = RunConfig.make({**defaults, **values, "settings": settings, "searcher": "growth"})
    plan = make_plan(config, space=space, own_proxies=own_proxies)
    _check_divisors(plan)
    _check_stop(plan)
    return plan


def _of_run(source: Source, data: str | None) -> dict[str, Any]:
    """Images as the run scored on them that the source is from; other images have classes of their own."""
    found: dict[str, Any] = {"img_size": source.img_size}
    if data in (None, source.data):
        found |= {"data": source.data, "num_classes": source.num_classes}
    return {name: value for name, value in found.items() if value is not None and source.kind == "search"}


def check_pick(plan: Plan, bounds: Sequence[Constraint]) -> None:
    """Refuse what no member of the family can meet, as far as it is known before the growth.

    Raises:
        ConfigError: A bound on what the run does not compute, or on a cost below that of the start.
    """
    known = [score.name for score in plan.scores]
    costs = plan.costs(_start(plan))
    for bound in bounds:
        if bound.name not in known:
            raise ConfigError(f"cannot pick by {bound}: this growth computes {', '.join(known)}")
        if bound.relation in ("<", "<=") and bound.name in costs and bound.violation(costs):
            raise ConfigError(
                f"nothing can be picked by {bound}: the start has {bound.name} {costs[bound.name]:,.0f} already"
            )


def _start(plan: Plan) -> Architecture:
    return plan.space.read(str(plan.config.settings["searcher"]["start"]))


def _check_divisors(plan: Plan) -> None:
    growth = growth_of(plan.space)
    unit = growth.unit_of(_start(plan))
    for proxy in plan.proxies:
        if unit % proxy.width_divisor:
            raise ConfigError(
                f"{proxy.name}.width_divisor is {proxy.width_divisor}, but {growth.width} grows in units of {unit}, "
                "which it must divide"
            )


def _check_stop(plan: Plan) -> None:
    text = str(plan.config.settings["searcher"].get("stop", ""))
    if not text:
        return
    stop, costs = Constraint.parse(text), plan.costs(_start(plan))
    if stop.violation(costs) == 0:
        raise ConfigError(f"the start has {stop.name} {costs[stop.name]:,.0f}, which meets the stop {stop} already")
