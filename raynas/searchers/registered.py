"""The registry of searchers, and what it can say of all of them."""

from __future__ import annotations

from collections.abc import Sequence

from raynas.errors import ConfigError
from raynas.registry import Registry
from raynas.searchers.base import SearcherClass
from raynas.space.results import Objective

searchers: Registry[SearcherClass] = Registry("searcher", "searchers", "raynas.searchers")


def check_objectives(objectives: Sequence[Objective], several: bool) -> None:
    """Refuse no objective, and several where a searcher takes one.

    Args:
        objectives: What the search was asked to optimise.
        several: Whether the searcher takes more than one.

    Raises:
        ConfigError: There are none, or too many; the message names the searchers that take several.
    """
    if not objectives:
        raise ConfigError("a search needs at least one objective")
    if len(objectives) > 1 and not several:
        able = [name for name in searchers if searchers.get(name).is_multi_objective]
        raise ConfigError(
            f"this searcher takes one objective, not {len(objectives)} ({', '.join(map(str, objectives))}); "
            f"searchers for several: {', '.join(able)}"
        )
