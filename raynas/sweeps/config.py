"""Which searches a sweep consists of, and the names of what its folder holds."""

from __future__ import annotations

from typing import Annotated, NamedTuple

from pydantic import Field

from raynas.config import MOST_PROCESSES, Flags
from raynas.searching.config import RunConfig


class SearchName(NamedTuple):
    """One search of a sweep."""

    searcher: str
    seed: int

    def __str__(self) -> str:
        return f"{self.searcher}-seed{self.seed}"


KIND = "sweep"
LOGS = "logs"
"""Name of the folder in a sweep's that holds what each search had to say to people."""
FINISHED = ("completed", "exhausted")
"""Statuses of a search that has made all its calls; the others are not compared."""


class SweepConfig(RunConfig):
    """What a sweep can be told: the settings that its searches share, and which searches they are."""

    searchers: Annotated[tuple[str, ...], Flags(("--searcher",))] = Field(
        (), description="Searcher; several are compared. Default: reinforce for one objective, nsga2 for several."
    )
    repeat: int = Field(
        5, ge=1, le=10_000, description="Searches of each searcher, with seed, seed + 1, ..., to compare searchers."
    )
    level: float | None = Field(
        None, allow_inf_nan=False, description="In comparisons, report the calls it takes to reach this value."
    )

    def search(self, searcher: str | None, seed: int) -> RunConfig:
        """The configuration of one search."""
        values = self.model_dump(exclude={"searchers", "repeat", "level"})
        return RunConfig.make({**values, "searcher": searcher, "seed": seed})

    @property
    def names(self) -> list[SearchName]:
        """All searches, one seed after the other."""
        return [SearchName(searcher, self.seed + k) for k in range(self.repeat) for searcher in self.searchers]


class ResolvedSweep(SweepConfig):
    """A `SweepConfig` with every default filled in, as run.yaml has it.

    What depends on the cluster may still be None: `gpus_per_worker` and `worker_memory_gib`.
    """

    searchers: tuple[str, ...] = Field(min_length=1)
    workers: int = Field(ge=0, le=MOST_PROCESSES)
