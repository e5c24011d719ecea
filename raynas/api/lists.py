"""What there is: members of registries, the forms of --data, and runs."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from raynas.errors import ConfigError
from raynas.notebook import Table

if TYPE_CHECKING:
    from raynas.proxies.probe import Proxy

Rows = list[dict[str, Any]]


def listing(kind: str, where: str | Path | None = None) -> Table:
    """One row for each member of a kind, with equal keys.

    Args:
        kind: One of `LISTS`.
        where: The folder, or the URI of one, below which runs are listed; default: runs.

    Raises:
        ConfigError: There is a folder, and something else than runs is to be listed.
        StoreError: There is no such folder.
    """
    if where is None:
        return Table(LISTS[kind]())
    if kind != "runs":
        raise ConfigError(f"{kind} are in no folder: {str(where)!r} goes with runs")
    return Table(_runs(where))


def _spaces() -> Rows:
    from raynas.space.registered import spaces

    found = [spaces.get(name) for name in spaces]
    return [
        {
            "name": space.name,
            "size": space.size,
            "objectives": list(space.objectives),
            "named": list(space.named),
            "paper": space.paper,
            "summary": space.summary,
        }
        for space in found
    ]


def _models() -> Rows:
    from raynas.space.registered import models

    return [{"name": name, "summary": _first_line(models.get(name))} for name in models]


def _proxies() -> Rows:
    from raynas.proxies.probe import BATCH_NORMS
    from raynas.proxies.registered import proxies
    from raynas.space.cost import COSTS

    costs = [
        {
            "name": name,
            "better": "lower",
            "repeats": 0,
            "needs": "nothing",
            "init": "",
            "batch_norm": "none",
            "batch_norm_reason": BATCH_NORMS["none"],
            "settings": {},
            "outputs": [name],
            "paper": "",
            "departures": [],
            "measured": "",
            "description": COSTS[name],
            "summary": COSTS[name],
        }
        for name in COSTS
    ]
    rows = [
        {
            "name": proxy.name,
            "better": "higher" if proxy.higher_is_better else "lower",
            "repeats": proxy.repeats,
            "needs": _needs(proxy),
            "init": proxy.init,
            "batch_norm": proxy.batch_norm,
            "batch_norm_reason": BATCH_NORMS[proxy.batch_norm],
            "settings": dict(proxy.settings),
            "outputs": list(proxy.outputs),
            "paper": proxy.paper,
            "departures": list(proxy.departures or ()),
            "measured": "by the clock" if proxy.is_measured else "",
            "description": inspect.getdoc(proxy.function) or "",
            "summary": proxy.summary,
        }
        for proxy in map(proxies.get, proxies)
    ]
    return sorted(rows + costs, key=lambda row: str(row["name"]))


def _needs(proxy: Proxy) -> str:
    images = "labelled images" if proxy.needs_labels else "images" if proxy.needs_images else "nothing"
    return f"{images} and a teacher" if proxy.needs_teacher else images


def _searchers() -> Rows:
    from raynas.searchers.registered import searchers

    return [
        {
            "name": name,
            "several objectives": found.is_multi_objective,
            "window": found.default_window,
            "advised up to": found.advised_budget,
            "summary": _first_line(found),
        }
        for name, found in ((name, searchers.get(name)) for name in searchers)
    ]


def _objectives() -> Rows:
    from raynas.training.objectives.objective import objectives

    return [
        {
            "name": name,
            "labels": found.needs_labels,
            "best epoch": f"{'highest' if found.best.higher_is_better else 'lowest'} {found.best.title}",
            "summary": _first_line(found),
        }
        for name, found in ((name, objectives.get(name)) for name in objectives)
    ]


def _datasets() -> Rows:
    from raynas.data.opening import datasets

    return [{"form": form, "summary": summary} for form, summary in datasets().items()]


def _recipes() -> Rows:
    from raynas.recipes.reading import read_recipe, recipe_names

    return [
        {
            "name": recipe.name,
            "command": recipe.command,
            "paper": recipe.paper,
            "reaches": recipe.reaches,
            "source": recipe.source,
            "hardware": recipe.hardware,
            "settings": dict(recipe.settings),
            "notes": list(recipe.notes),
            "summary": recipe.title,
        }
        for recipe in map(read_recipe, recipe_names())
    ]


def _runs(where: str | Path = "runs") -> Rows:
    from raynas.report.listing import runs_below

    return runs_below(where)


LISTS: Mapping[str, Callable[[], Rows]] = {
    "spaces": _spaces,
    "models": _models,
    "proxies": _proxies,
    "searchers": _searchers,
    "objectives": _objectives,
    "datasets": _datasets,
    "recipes": _recipes,
    "runs": _runs,
}
"""What can be listed, by name."""


def _first_line(value: Any) -> str:
    return (value.__doc__ or "").strip().partition("\n")[0]
