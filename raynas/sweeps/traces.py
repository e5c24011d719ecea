"""The best value so far of searches, as a function of their calls, and statistics over seeds.

A call is one candidate that was asked and told, however it was answered; a search that asks for an architecture again
makes another call. Neither torch nor Ray is imported here.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from raynas.space.results import Constraint, Objective
from raynas.stats.hypervolume import hypervolume_trace
from raynas.stats.pareto import best_so_far
from raynas.stats.quantiles import quartiles
from raynas.stats.thinning import spread
from raynas.storage.points import Points, PointState
from raynas.storage.result_store import read_evaluations
from raynas.storage.run_folder import read_description, read_summary
from raynas.sweeps.config import SearchName

_SAME = 1e-12  # relative; hypervolumes of one front differ by rounding with the order in which it was found
_MAX_CURVE = 400


class Measure(NamedTuple):
    """What searches are compared by: the objective, or the hypervolume of several."""

    name: str
    maximize: bool

    @property
    def missing(self) -> float:
        """Stands for the value of a search that has found nothing yet: worse than any."""
        return -math.inf if self.maximize else math.inf

    def reaches(self, value: float, level: float) -> bool:
        """Whether a value is as good as a level."""
        if self.name == "hypervolume":
            return value >= level * (1 - _SAME)
        return value >= level if self.maximize else value <= level


@dataclass(frozen=True)
class Trace:
    """The best value so far of one search, which changes at some calls.

    Args:
        name: The name of the search: its searcher and its seed.
        at: Calls at which the best value changed, from 1, ascending.
        values: The best value from there on.
        evaluations: How many candidates the search has evaluated.
        reused: Architectures whose scores were taken from other searches.
        seconds: How long the search took.
    """

    name: SearchName
    at: Sequence[int]
    values: Sequence[float]
    evaluations: int
    reused: int = 0
    seconds: float = 0.0

    def best(self, calls: int) -> float | None:
        """The best value after so many calls; None before there is one. A search that ended keeps its last one."""
        changes = bisect_right(self.at, calls)
        return self.values[changes - 1] if changes else None

    def reached(self, level: float, measure: Measure) -> int | None:
        """The call that first gave a value as good as the level; None if none did."""
        return next((at for at, value in zip(self.at, self.values, strict=True) if measure.reaches(value, level)), None)


def read_traces(folder: Path, names: Sequence[SearchName]) -> tuple[Measure, list[Trace]]:
    """The traces of searches that have ended.

    Args:
        folder: The folder of the sweep.
        names: Searches whose folders are in it.

    Returns:
        What is compared, and a trace for each search. Several objectives are compared by hypervolume: the share of
        the box between the best and the worst values that any of these searches found which is dominated.

    Raises:
        StoreError: A folder holds no run.
    """
    objectives = [Objective.parse(str(text)) for text in read_description(folder)["identity"]["objectives"]]
    found = [_losses(folder / str(name), objectives) for name in names]
    if len(objectives) == 1:
        (objective,) = objectives
        sign = -1.0 if objective.maximize else 1.0
        measure = Measure(objective.name, objective.maximize)
        steps = [[(int(i), sign * float(losses[i, 0])) for i in best_so_far(losses[:, 0])] for _, losses in found]
    else:
        measure = Measure("hypervolume", True)
        every = np.concatenate([losses for _, losses in found]) if found else np.empty((0, len(objectives)))
        low, high = every.min(axis=0, initial=np.inf), every.max(axis=0, initial=-np.inf)
        steps = [hypervolume_trace(losses, low, high) for _, losses in found]
    traces = []
    for name, (calls, _), changes in zip(names, found, steps, strict=True):
        summary = read_summary(folder / str(name))
        traces.append(
            Trace(
                name,
                [int(calls[position]) for position, _ in changes],
                [value for _, value in changes],
                evaluations=int(summary.get("evaluations", 0)),
                reused=int(summary.get("reused", 0)),
                seconds=float(summary.get("seconds", 0.0)),
            )
        )
    return measure, traces


def _losses(folder: Path, objectives: Sequence[Objective]) -> tuple[np.ndarray, np.ndarray]:
    """Calls (A,) and losses (A, M) of the feasible architectures of a search, in the order of asking."""
    identity = read_description(folder)["identity"]
    points = Points.of(read_evaluations(folder), identity["scores"])
    constraints = [Constraint.parse(str(text)) for text in identity.get("constraints") or []]
    columns = [points.values[one.name] * (-1.0 if one.maximize else 1.0) for one in objectives]
    losses = np.array(columns, np.float64).T.reshape(len(points), len(objectives))
    is_told = (points.states(objectives, constraints) == PointState.OK) & (points.candidates >= 0)
    chosen = np.flatnonzero(is_told & np.isfinite(losses).all(axis=1))
    return points.candidates[chosen] + 1, losses[chosen]


def common_level(traces: Sequence[Trace], measure: Measure) -> float | None:
    """The best value that more than half of the searches of every searcher reach.

    It is the worst, over the searchers, of the median final value (the worse one of the two middle ones). Searchers
    that found nothing with half of their seeds are left out; None if no other is there.
    """
    medians = []
    for own in by_searcher(traces).values():
        finals = [trace.values[-1] if trace.values else measure.missing for trace in own]
        worst_first = sorted(finals, reverse=not measure.maximize)
        medians.append(worst_first[(len(finals) - 1) // 2])
    known = [value for value in medians if math.isfinite(value)]
    if not known:
        return None
    return min(known) if measure.maximize else max(known)


def milestones(budget: int) -> list[int]:
    """1, 2, 5, 10, 20, 50, ... below the budget, and the budget."""
    series = [digit * 10**power for power in range(len(str(budget))) for digit in (1, 2, 5)]
    return [*(calls for calls in series if calls < budget), budget]


def comparison(traces: Sequence[Trace], measure: Measure, *, budget: int, level: float | None) -> dict[str, Any]:
    """Searchers side by side.

    Args:
        traces: The traces of the searches that have ended.
        measure: What the searches are compared by.
        budget: Calls that each search may make.
        level: A value that someone named, beside the one found here.

    Returns:
        `measure` {name, maximize}; `levels` [{value, label}]; `rows`, one for each searcher: searcher; seeds; `best`,
        and `at` with its number of calls, as median, low and high quartile over the seeds; `levels` with value, median
        calls, their low and high quartile, and how many seeds reached it, of how many; evaluations, reused and seconds
        of all its searches together. None stands where too few seeds have a value.
    """
    levels = [] if level is None else [(level, "named")]
    if (found := common_level(traces, measure)) is not None:
        levels.append((found, "the best that more than half of the seeds of every searcher reach"))
    rows = []
    for searcher, own in by_searcher(traces).items():
        rows.append(
            {
                "searcher": searcher,
                "seeds": [trace.name.seed for trace in own],
                "best": _best(own, measure, budget),
                "at": [{"calls": calls, **_best(own, measure, calls)} for calls in milestones(budget)],
                "levels": [{"value": value, **_calls(own, measure, value)} for value, _ in levels],
                "evaluations": sum(trace.evaluations for trace in own),
                "reused": sum(trace.reused for trace in own),
                "seconds": sum(trace.seconds for trace in own),
            }
        )
    named = [{"value": value, "label": label} for value, label in levels]
    return {"measure": measure._asdict(), "levels": named, "rows": rows}


def curves(traces: Sequence[Trace], measure: Measure) -> list[dict[str, Any]]:
    """The best value so far by calls, over the seeds of each searcher and of each search.

    Returns:
        One for each searcher: searcher; `at` (calls, ascending), and `median`, `low` and `high` from there on, None
        where too few seeds have a value; `searches`: name, seed, and the own steps `at` and `values`.
    """
    found = []
    for searcher, own in by_searcher(traces).items():
        last = max(trace.evaluations for trace in own)
        changes = sorted({last, *(at for trace in own for at in trace.at)})
        at = spread(np.array(changes), _MAX_CURVE).tolist()
        bands = [_best(own, measure, calls) for calls in at]
        found.append(
            {
                "searcher": searcher,
                "at": at,
                **{name: [band[name] for band in bands] for name in ("median", "low", "high")},
                "searches": [
                    {
                        "name": str(trace.name),
                        "seed": trace.name.seed,
                        "at": list(trace.at),
                        "values": list(trace.values),
                    }
                    for trace in own
                ],
            }
        )
    return found


def by_searcher(traces: Sequence[Trace]) -> dict[str, list[Trace]]:
    """Traces in groups, in the order in which the searchers first appear."""
    groups: dict[str, list[Trace]] = {}
    for trace in traces:
        groups.setdefault(trace.name.searcher, []).append(trace)
    return groups


def _best(traces: Sequence[Trace], measure: Measure, calls: int) -> dict[str, float | None]:
    values = [trace.best(calls) for trace in traces]
    return quartiles([measure.missing if value is None else value for value in values])


def _calls(traces: Sequence[Trace], measure: Measure, level: float) -> dict[str, Any]:
    calls = [trace.reached(level, measure) for trace in traces]
    found = quartiles([math.inf if one is None else float(one) for one in calls])
    return {
        "calls": found["median"],
        "low": found["low"],
        "high": found["high"],
        "reached": sum(one is not None for one in calls),
        "of": len(calls),
    }
