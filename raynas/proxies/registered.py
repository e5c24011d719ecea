"""The registry of proxies, and the decorator that files a function in it."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

from raynas.config import check_count
from raynas.proxies.probe import Proxy, ProxyFunction
from raynas.registry import Registry

proxies: Registry[Proxy] = Registry("proxy", "proxies", "raynas.proxies")

RESTING = "Dropout and stochastic depth rest, which the source's training mode has act."
"""A departure of the proxies whose source leaves the network in training mode."""


def unmeasured() -> list[str]:
    """Names of the registered proxies whose values do not depend on the clock, so that they come out equal again."""
    return [name for name in proxies if not proxies.get(name).is_measured]


def counts(**least: int) -> Callable[..., None]:
    """A check of settings that are counts, see `raynas.proxies.probe.Proxy`.

    Args:
        least: The smallest value of each setting by its name.
    """

    def check(**settings: Any) -> None:
        for name, lowest in least.items():
            check_count(name, settings[name], lowest)

    return check


def proxy(name: str, **declared: Any) -> Callable[[ProxyFunction], ProxyFunction]:
    """Decorator that registers a function (probe, *, settings) as a proxy; keywords are the fields of `Proxy`.

    The summary is the docstring's first line unless given.
    """

    def register(function: ProxyFunction) -> ProxyFunction:
        summary = (inspect.getdoc(function) or "").partition("\n")[0]
        proxies.register(name)(Proxy(name, function, **{"summary": summary, **declared}))
        return function

    return register
