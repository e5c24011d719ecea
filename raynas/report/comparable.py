"""What a run is compared by with others: its values, its courses, the architecture that it found."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np

from raynas.space.results import Objective


class Value(NamedTuple):
    """One thing that runs are compared by.

    Args:
        value: A number, a text, or None where it is not known.
        form: How a number is written: as a number, a count, a whole number, a share (in percent) or seconds.
        better: Which end is the better one, "max" or "min"; None: neither.
        low, high: The ends of an interval around it, where there is one.
        basis: What must be equal in two runs for this value to be comparable, as a JSON value.
    """

    value: float | str | None
    form: str = "number"
    better: str | None = None
    low: float | None = None
    high: float | None = None
    basis: Any = None


@dataclass(frozen=True)
class Course:
    """A value in the course of a run.

    Args:
        name: The name of the value.
        unit: What is counted across, in the singular, such as "epoch".
        at: (P,) places across, ascending.
        values: (P,) the values there.
        seconds: (P,) seconds that had passed there; empty where that is not known.
        clock: What these seconds are, such as "seconds of workers".
        low, high: (P,) the edges of an interval, where there is one.
        end, end_s: How far the course goes, across and in seconds, where that is beyond its last value.
        form, better: How values are written, and which end is the better one; see `Value`.
        is_step: Whether a value holds up to the next one.
    """

    name: str
    unit: str
    at: Sequence[float]
    values: Sequence[float | None]
    seconds: Sequence[float] = ()
    clock: str = "seconds"
    low: Sequence[float] | None = None
    high: Sequence[float] | None = None
    end: float | None = None
    end_s: float | None = None
    form: str = "number"
    better: str | None = None
    is_step: bool = False


class Network(NamedTuple):
    """The architecture that stands for a run.

    Args:
        space: The name of its space.
        fields: The fields of the architecture.
        text: The text of the architecture in that space; None: JSON stands for it.
        img_size: The side of its images in pixels.
        values: Scores and costs by name.
        role: What it is to its run, where it is not what the run is compared by.
    """

    space: str
    fields: Mapping[str, Any]
    text: str | None
    img_size: int
    values: Mapping[str, float | None]
    role: str = ""


@dataclass(frozen=True)
class Candidates:
    """The feasible architectures of a search that have values of all its objectives, in the order of asking.

    Args:
        objectives: The M objectives.
        calls: (A,) the numbers of the calls by which they were asked for, from 1.
        seconds: (A,) seconds that workers had worked until then.
        values: (A, M) values of the objectives as they are.
        macs: (A,) multiply-adds, NaN where they are not known.
        end, end_s: How many calls were made, and how long workers have worked, in all.
    """

    objectives: tuple[Objective, ...]
    calls: np.ndarray
    seconds: np.ndarray
    values: np.ndarray
    macs: np.ndarray
    end: int
    end_s: float

    @property
    def losses(self) -> np.ndarray:
        """(A, M) values of which lower is better."""
        return np.asarray(self.values * np.array([-1.0 if one.maximize else 1.0 for one in self.objectives]))


@dataclass(frozen=True)
class Comparable:
    """What a run is compared by.

    Args:
        family: Runs of one family are compared by all that they say, such as "search".
        nouns: What such a run is called: one, and several.
        values: Values by name, the most important first.
        settings: Further settings that are compared, beside those of run.yaml, such as a text of the architecture.
        courses: What is drawn over the run.
        network: The architecture that the run has found or trained.
        candidates: What a search has found, of which fronts are made.
    """

    family: str
    nouns: tuple[str, str]
    values: Mapping[str, Value] = field(default_factory=dict)
    settings: Mapping[str, Any] = field(default_factory=dict)
    courses: Sequence[Course] = ()
    network: Network | None = None
    candidates: Candidates | None = None
