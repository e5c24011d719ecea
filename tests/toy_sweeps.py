"""Sweeps over the toy space: for tests, and as a driver that tests can kill."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from toy_scores import SLOPE, TOY, toy_space

import raynas
from raynas import Choice
from raynas.interruption import Interrupted
from raynas.proxies.probe import Probe, Proxy
from raynas.searchers.registered import searchers
from raynas.space.architecture import Architecture
from raynas.space.results import Candidate, Objective
from raynas.space.search_space import SearchSpace
from raynas.sweeps.folder import Sweep
from raynas.sweeps.run import SweepListener

SEARCHERS = ("random", "reinforce")


def small_space() -> SearchSpace:
    """120 architectures, so that searches meet each other's."""
    return toy_space(a=Choice(*range(12)), b=Choice(*range(10)), harm=Choice("none"))


def sweep(folder: Path, **settings: Any) -> Sweep:
    chosen: dict[str, Any] = {"searchers": SEARCHERS, "repeat": 2, "budget": 40, "window": 4, **settings}
    chosen.setdefault("listener", SweepListener())
    proxies = chosen.pop("proxies", [TOY, SLOPE])
    return raynas.sweep(small_space(), proxies=proxies, objectives=["toy"], out=folder, **chosen)


def place(probe: Probe, log: str = "") -> float:
    """Notes whether the process that scores is in a placement group."""
    import ray

    is_grouped = ray.is_initialized() and ray.util.get_current_placement_group() is not None
    with Path(log).open("a") as file:
        file.write(f"{os.getpid()} {is_grouped}\n")
    return 0.0


PLACE = Proxy("place", place)


class Falters:
    """Searches until it is told the fifth result of seed 1; registered by the driver's program alone."""

    default_window = 4
    is_multi_objective = False
    advised_budget = None

    def __init__(
        self,
        space: SearchSpace,
        objectives: tuple[Objective, ...],
        constraints: Any = (),
        *,
        seed: int = 0,
        admits: Callable[[Architecture], bool] | None = None,
    ) -> None:
        self._inner = searchers.get("random")(space, objectives, constraints, seed=seed, admits=admits)
        self._left = 5 if seed == 1 else 10**9

    def ask(self, n: int) -> list[Candidate]:
        return self._inner.ask(n)

    def tell(self, evaluations: Any) -> None:
        self._left -= 1
        if not self._left:
            raise ZeroDivisionError("this searcher falters")
        self._inner.tell(evaluations)


if __name__ == "__main__":
    searchers.register("falters")(Falters)
    try:
        sweep(Path(sys.argv[1]), resume=True, listener=None, **json.loads(sys.argv[2]))
    except Interrupted as error:
        sys.exit(128 + error.signum)
