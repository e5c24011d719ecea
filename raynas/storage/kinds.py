"""Kinds of runs: what there is to know of a run folder from its kind alone.

Members are registered in `raynas.report.kinds`, the one place that names what reads a folder of each kind; it stands
above the undertakings, and the registry imports it by its name on first use.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from raynas.registry import Registry
from raynas.space.results import Constraint

Bounds = tuple[Constraint, ...]


@dataclass(frozen=True)
class Taken:
    """The architecture that a run folder stands for.

    Args:
        fields: Fields of the architecture; None if the folder does not say them.
        settings: Settings of the run: its space, and perhaps img_size, num_classes and data.
    """

    fields: Any
    settings: Mapping[str, Any]


class Progress(NamedTuple):
    """How far a run has come.

    Args:
        done: How much is done.
        total: How much there is to do; None where that is not known.
        unit: What is counted, in the plural.
        share: The share of the work that is done, from 0 to 1, where it is known better than by what is counted.
    """

    done: int
    total: int | None
    unit: str
    share: float | None = None

    @property
    def of_all(self) -> float | None:
        """The share of the work that is done, from 0 to 1; None where that is not known."""
        if self.share is not None or not self.total:
            return self.share
        return min(1.0, self.done / self.total)


@dataclass(frozen=True)
class RunKind:
    """A kind of run.

    Args:
        name: The name of the kind, as run.yaml has it.
        taken: What a folder of this kind stands for as the source of an architecture, given the folder, its
            description, and bounds to pick by: an architecture, or a folder in it from which to take one. None: a
            folder of this kind has no architecture of its own.
        progress: How far a run has come, given its configuration and its summary, as run.yaml and summary.json have
            them. None: nothing is told of it.
        found: What has come of a run, in a few words, given the contents of its run.yaml and summary.json, which may
            lack what is not known yet. None: nothing is told of it.
        called: What people call a run, given its folder and its description, where the kind has several sorts. None:
            by the name of the kind.
    """

    name: str
    taken: Callable[[Path, Mapping[str, Any], Bounds], Taken | Path] | None
    progress: Callable[[Mapping[str, Any], Mapping[str, Any]], Progress] | None = field(default=None, kw_only=True)
    found: Callable[[Mapping[str, Any], Mapping[str, Any]], str | None] | None = field(default=None, kw_only=True)
    called: Callable[[Path, Mapping[str, Any]], str] | None = field(default=None, kw_only=True)


def add_kind(kind: RunKind) -> None:
    """Register a kind under its name."""
    run_kinds.register(kind.name)(kind)


run_kinds: Registry[RunKind] = Registry("kind of run", "kinds of runs", "raynas.report.kinds", group="raynas.run_kinds")
