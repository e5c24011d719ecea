"""What searches and scoring runs are compared by: best values, fronts and their hypervolume, costs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from raynas.report.comparable import Candidates, Comparable, Course, Network, Value
from raynas.report.embedding import short_number
from raynas.space.cost import COSTS
from raynas.space.results import Constraint, Objective
from raynas.stats.hypervolume import hypervolume_trace
from raynas.stats.pareto import best_so_far, pareto_front
from raynas.stats.thinning import spread
from raynas.storage.points import Points, PointState
from raynas.storage.runs import Run, load_run

HYPERVOLUME = "hypervolume"

_MAX_COURSE = 400
_MAX_FRONT = 300
_CLOCK = "seconds of workers"


def comparable_search(folder: Path) -> Comparable:
    """What a search, a scoring run or a growth is compared by.

    Raises:
        StoreError: The folder cannot be read.
    """
    run = load_run(folder)
    identity, summary = run.description["identity"], run.summary
    objectives = tuple(Objective.parse(str(text)) for text in identity.get("objectives") or [])
    points = Points.of(run.evaluations, identity.get("scores") or {})
    constraints = [Constraint.parse(str(text)) for text in identity.get("constraints") or []]
    states = points.states(objectives, constraints)
    found = _candidates(points, states, objectives)
    best = summary.get("best") or []
    values = {f"best {one.name}": _best(one, found, column, identity) for column, one in enumerate(objectives)}
    if len(objectives) > 1:
        front = pareto_front(found.losses) if len(found.calls) else ()
        values["architectures on the front"] = Value(len(front), "whole")
    elif best:
        values |= {
            "parameters of the best": Value(best[0].get("num_params"), "count"),
            "MACs of the best": Value(best[0].get("macs"), "count"),
        }
    values |= _beside(summary)
    values |= {
        "evaluations": Value(summary.get("evaluations", len(points)), "whole"),
        "failed": Value(int((states == PointState.FAILED).sum()), "whole"),
        "infeasible": Value(int((states == PointState.INFEASIBLE).sum()), "whole"),
        "workers' time": Value(found.end_s, "seconds"),
    }
    courses = [_course(found, column) for column in range(len(objectives))]
    return Comparable(
        "search" if objectives else "scoring",
        ("search", "searches") if objectives else ("scoring run", "scoring runs"),
        values,
        courses=[course for course in courses if course.at],
        network=_network(run, objectives, best),
        candidates=found if objectives else None,
    )


def _candidates(points: Points, states: np.ndarray, objectives: Sequence[Objective]) -> Candidates:
    known = [one for one in objectives if one.name in points.values]
    columns = [points.values[one.name] for one in known]
    values = np.array(columns, np.float64).T.reshape(len(points), len(known))
    spent = np.cumsum(sum(points.seconds.values(), np.zeros(len(points))))
    is_asked = points.candidates >= 0
    chosen = np.flatnonzero((states == PointState.OK) & is_asked & np.isfinite(values).all(axis=1))
    return Candidates(
        tuple(known),
        points.candidates[chosen] + 1,
        spent[chosen],
        values[chosen],
        points.values.get("macs", np.full(len(points), np.nan))[chosen],
        int(points.candidates.max(initial=-1)) + 1,
        float(spent[-1]) if len(spent) else 0.0,
    )


def _best(objective: Objective, found: Candidates, column: int, identity: Mapping[str, Any]) -> Value:
    values = found.values[:, column] if len(found.objectives) > column else np.array([])
    best = None if not len(values) else float(values.max() if objective.maximize else values.min())
    form = "count" if objective.name in COSTS else "number"
    basis = [(identity.get("scores") or {}).get(objective.name), objective.maximize]
    return Value(best, form, "max" if objective.maximize else "min", basis=basis)


def _beside(summary: Mapping[str, Any]) -> dict[str, Value]:
    """What the winner was set beside, where it was."""
    beside = summary.get("comparison")
    if not beside or not beside.get("verdict"):
        return {}
    name = beside["objective"]
    uniform = beside["uniform"]
    value = None if uniform is None else {**uniform, **uniform["scores"]}[name]
    return {
        f"{name} of the uniform network of equal cost": Value(value),
        f"mean {name} of random networks": Value(beside["random"]["mean"]),
    }


def _course(found: Candidates, column: int) -> Course:
    one = found.objectives[column]
    steps = best_so_far(found.losses[:, column]) if len(found.calls) else np.array([], np.int64)
    return _steps(
        found, one.name, spread(steps, _MAX_COURSE), found.values[:, column], "max" if one.maximize else "min"
    )


def _steps(found: Candidates, name: str, at: np.ndarray, values: np.ndarray, better: str) -> Course:
    return Course(
        name,
        "evaluation",
        found.calls[at].tolist(),
        [short_number(value) for value in values[at]],
        found.seconds[at].tolist(),
        _CLOCK,
        end=found.end,
        end_s=found.end_s,
        form="count" if name in COSTS else "number",
        better=better,
        is_step=True,
    )


def _network(run: Run, objectives: Sequence[Objective], best: Sequence[Mapping[str, Any]]) -> Network | None:
    """What the searcher recommends, or the best that it has found."""
    chosen = run.summary.get("recommended") or (best[0] if best else None)
    if not chosen or not objectives:
        return None
    identity = run.description["identity"]
    values = {**{name: chosen.get(name) for name in COSTS}, **chosen.get("scores", {})}
    size = int(identity.get("img_size") or 0)
    known = {name: None if value is None else float(value) for name, value in values.items()}
    is_best = not best or dict(chosen["architecture"]) == dict(best[0]["architecture"])
    role = "" if is_best else "recommended by its searcher" + ("" if len(objectives) > 1 else ", not its best")
    return Network(str(identity.get("space")), dict(chosen["architecture"]), chosen.get("text"), size, known, role)


def with_hypervolume(runs: Sequence[Comparable]) -> list[Comparable]:
    """Searches for the same several objectives with the hypervolume that each has found; others as they are.

    The unit is the box between the best and the worst values that any of them has found.
    """
    found = [run.candidates for run in runs]
    first = found[0]
    if first is None or len(first.objectives) < 2 or any(one is None for one in found):
        return list(runs)
    known = [one for one in found if one is not None]
    if any(one.objectives != first.objectives for one in known):
        return list(runs)
    every = np.concatenate([one.losses for one in known])
    low, high = every.min(axis=0, initial=np.inf), every.max(axis=0, initial=-np.inf)
    bases = [[value.basis for value in run.values.values() if value.basis is not None] for run in runs]
    return [_with_volume(run, one, low, high, basis) for run, one, basis in zip(runs, known, bases, strict=True)]


def _with_volume(run: Comparable, found: Candidates, low: np.ndarray, high: np.ndarray, basis: Any) -> Comparable:
    trace = hypervolume_trace(found.losses, low, high) if len(found.calls) else []
    values = np.zeros(len(found.calls))
    for row, volume in trace:
        values[row] = volume
    at = spread(np.array([row for row, _ in trace], np.int64), _MAX_COURSE)
    course = _steps(found, HYPERVOLUME, at, values, "max")
    told = {HYPERVOLUME: Value(trace[-1][1] if trace else None, better="max", basis=basis)}
    return replace(run, values={**told, **run.values}, courses=[course, *run.courses] if trace else run.courses)


def fronts(runs: Sequence[Comparable]) -> dict[str, Any] | None:
    """What each search found at which cost, or the front of its first two objectives, to be drawn in one picture.

    Returns:
        `x` and `y`, {name, better}; `fronts`, for each run its points [x, y] in the order of x, none dominated by
        others of the run. None where the searches do not look for the same.
    """
    found = [run.candidates for run in runs]
    first = found[0]
    if first is None or not first.objectives or any(one is None or one.objectives != first.objectives for one in found):
        return None
    y, *more = first.objectives
    x = more[0] if more else Objective("macs", maximize=False)
    if x.name == y.name:
        x = Objective("macs", maximize=False)
        if y.name == "macs":
            return None
    drawn = []
    for one in found:
        assert one is not None
        pair = np.column_stack([one.values[:, 1] if more else one.macs, one.values[:, 0]])
        pair = pair[np.isfinite(pair).all(axis=1)]
        signs = np.array([-1.0 if axis.maximize else 1.0 for axis in (x, y)])
        kept = spread(pareto_front(pair * signs), _MAX_FRONT) if len(pair) else np.array([], np.int64)
        drawn.append(sorted([short_number(a), short_number(b)] for a, b in pair[kept]))
    if not any(drawn):
        return None
    named = {axis: {"name": one.name, "better": "max" if one.maximize else "min"} for axis, one in (("x", x), ("y", y))}
    return {**named, "fronts": drawn}
