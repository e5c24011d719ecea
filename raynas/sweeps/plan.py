"""A sweep's configuration with its names resolved; everything is checked here, before anything starts."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

from raynas.errors import ConfigError, RaynasError
from raynas.proxies.probe import Proxy
from raynas.searching.plan import Plan, make_plan
from raynas.searching.windows import AS_ASKED, window_of
from raynas.space.search_space import SearchSpace
from raynas.sweeps.config import ResolvedSweep, SearchName, SweepConfig


@dataclass(frozen=True)
class SweepPlan:
    """What a sweep will do, in values.

    Args:
        config: What was asked for, with the defaults filled in.
        plans: The plans of the searches by name; they share space, proxies, objectives and images.
    """

    config: ResolvedSweep
    plans: Mapping[SearchName, Plan]

    def identity(self) -> dict[str, Any]:
        """What a resumed sweep must share with the stored one."""
        first = next(iter(self.plans.values())).identity()
        own = ("searcher", "searcher_settings", "window", "seed", "architectures")
        by_searcher = {
            name.searcher: {key: plan.identity()[key] for key in ("window", "searcher_settings")}
            for name, plan in self.plans.items()
        }
        shared = {name: value for name, value in first.items() if name not in own}
        return {**shared, "searchers": by_searcher, "seed": self.config.seed}

    def as_begun(self, identity: Mapping[str, Any]) -> SweepPlan:
        """The plan with the windows of a stored sweep, which it keeps with another budget or other workers too.

        Args:
            identity: What the stored sweep is, as `identity` had it then; of another form, it changes nothing.
        """
        stored = identity.get("searchers")
        searchers = stored if isinstance(stored, Mapping) else {}
        plans = dict(self.plans)
        for name, plan in self.plans.items():
            one = searchers.get(name.searcher)
            window = window_of(one) if isinstance(one, Mapping) else None
            if window is not None and plan.window_origin != AS_ASKED:
                plans[name] = plan.with_window(window)
        return replace(self, plans=plans)


def make_sweep_plan(
    config: SweepConfig, *, space: SearchSpace | None = None, own_proxies: Sequence[Proxy] = ()
) -> SweepPlan:
    """Resolve a configuration.

    Args:
        config: What was asked for; `searcher` is one more searcher if there are no others.
        space: The space itself, where it is not a registered one.
        own_proxies: Proxies that are not registered.

    Raises:
        RaynasError: As `make_plan`; for what one searcher cannot do, naming it.
    """
    if config.architectures:
        raise ConfigError("a sweep repeats searches; a list of architectures is scored once, by raynas score")
    if config.workers == 0 and (config.address or config.gpus_per_worker):
        raise ConfigError("workers=0 scores in the searches' own processes; an address or GPUs per worker need workers")
    if isinstance(config.workers, str):
        raise ConfigError(
            f"workers={config.workers}: the searches of a sweep have a number of workers each; as many searches run at "
            "once as the cluster has room for"
        )
    workers = 1 if config.workers is None else config.workers
    config = config.resolved(workers=workers)
    shared = {name: values for name, values in config.settings.items() if name != "searcher"}
    common = make_plan(
        config.resolved(settings=shared).search("random", config.seed), space=space, own_proxies=own_proxies
    )
    if not common.objectives:
        raise ConfigError("a sweep compares searches by their objectives; there is none")
    asked = config.searchers or (config.searcher,)
    found: dict[str, Plan] = {}
    for searcher in asked:
        with _naming(searcher):
            plan = make_plan(config.search(searcher, config.seed), space=space, own_proxies=own_proxies)
        name = str(plan.config.searcher)
        if name in found:
            raise ConfigError(f"searcher {name!r} is named twice")
        found[name] = plan
    names = ("space", "img_size", "num_classes", "proxies", "objectives", "data", "skipped_images", "batch_images")
    resolved = {name: getattr(common.config, name) for name in names}
    made = ResolvedSweep.of(config, **resolved, searcher=None, searchers=tuple(found), workers=workers)
    return SweepPlan(made, {name: _seeded(found[name.searcher], name.seed, common) for name in made.names})


def _seeded(plan: Plan, seed: int, common: Plan) -> Plan:
    # All have the same images and teacher; as one object they travel once.
    return replace(plan, config=plan.config.resolved(seed=seed), make_task=common.make_task)


@contextmanager
def _naming(searcher: str | None) -> Iterator[None]:
    try:
        yield
    except RaynasError as error:
        if searcher is None or repr(searcher) in str(error):
            raise
        raise type(error)(f"searcher {searcher!r}: {error}") from None
