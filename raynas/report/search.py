"""What the report's page shows of a run, as one JSON value; letters as in `raynas.storage.points`."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from raynas.report.beside import comparison, uniform_beside
from raynas.report.decisions import decisions_data
from raynas.report.embedding import embedded_points, finite, registered_space, short_number
from raynas.report.growth import family_members, growth_data, growth_head
from raynas.report.latency import latency_page
from raynas.report.next_steps import next_steps
from raynas.report.policy import PolicyTrace, StoredScores, policy_trace
from raynas.report.status import run_status
from raynas.report.text import description_groups, failure_groups, headline, resume_command, subline, time_spent
from raynas.space.architecture import Architecture
from raynas.space.cost import COSTS
from raynas.space.results import Constraint, Objective, Status
from raynas.space.search_space import SearchSpace
from raynas.stats.hypervolume import hypervolume_trace
from raynas.stats.kendall import kendall_taus
from raynas.stats.pareto import best_so_far, pareto_front
from raynas.stats.thinning import sampled, spread
from raynas.storage.latencies import PREDICTED
from raynas.storage.learned import is_learned
from raynas.storage.points import Points, PointState
from raynas.storage.result_store import SCHEMA
from raynas.wording import duration

if TYPE_CHECKING:
    from raynas.storage.runs import Run

MAX_POINTS = 4000
"""Architectures that a page holds."""

_MAX_FRONT = 1500
_MAX_COURSE = 400
_MAX_FAILED = 500
_RANKED = 10
_CORRELATED = 1000


def report_data(run: Run) -> dict[str, Any]:
    """Everything that the page shows, without NaN and infinity.

    Args:
        run: A run folder's content, of any status.

    Returns:
        A value for `json.dumps`, in which an architecture is a position in `points`.
    """
    view = _View.of(run)
    rankings = view.rankings()
    groups, group_of_point = failure_groups(view.points.failures)
    recommended = view.recommended()
    traces, improvements = view.traces()
    family = family_members(run.family, view.points, view.space)
    failed = np.array(sorted(group_of_point), np.int64)
    required = [
        *(members for _, _, members in rankings),
        *view.fronts_of_pairs(),
        *improvements,
        spread(failed, _MAX_FAILED),
        np.array([group["example"] for group in groups if group["example"] is not None], np.int64),
        np.array([] if recommended is None else [recommended], np.int64),
        np.array([member["point"] for member in family], np.int64),
    ]
    chosen = sampled(required, len(view.points), MAX_POINTS)
    place = {int(number): position for position, number in enumerate(chosen)}
    for group in groups:
        group["example"] = place.get(group["example"])
    summary, config, identity = run.summary, run.description["config"], run.description["identity"]
    img_size = int(identity.get("img_size") or 0)
    evaluations = int(summary.get("evaluations") or len(view.points))
    data: dict[str, Any] = finite(
        {
            "title": f"{identity.get('space')} {'search' if view.objectives else 'scores'}",
            "headline": headline(config, identity, evaluations, summary.get("seconds")),
            "subline": subline(identity, view.space, run.description.get("predicted")),
            "status": _status(run, view),
            "counts": _counts(run, view, evaluations),
            "groups": description_groups(
                run.description,
                summary,
                view.space or view.changed_space,
                view.space is not None,
                int((view.states != PointState.UNSCORED).sum()),
            ),
            "scores": view.scores(),
            "objectives": [{"name": one.name, "maximize": one.maximize} for one in view.objectives],
            "points": embedded_points(view.points, view.states, chosen, group_of_point, view.space, img_size),
            "total": len(view.points),
            "rankings": [
                {"name": name, "label": label, "members": [place[int(number)] for number in members]}
                for name, label, members in rankings
            ],
            "front_size": len(view.front),
            "recommended": None if recommended is None else place[recommended],
            "comparison": comparison(summary.get("comparison")),
            "uniform": uniform_beside(summary, {view.points.keys[number]: here for number, here in place.items()}),
            "next": next_steps(run.folder, config, identity, summary, view.space or view.changed_space),
            "decisions": decisions_data(view.points, view.states, view.objectives, view.space),
            "recommended_reason": (summary.get("recommended") or {}).get("reason"),
            "traces": traces,
            "policy": view.policy(),
            "failures": groups,
            "time": time_spent(config, summary, view.points),
            "correlation": view.correlation(),
        }
    )
    if is_learned(identity):
        data |= finite({**latency_page(run, view.space), "traces": [], "uniform": []})
    if family:
        data |= growth_head(family, view.points, identity, summary, data["counts"])
        placed = [{**member, "point": place[member["point"]]} for member in family]
        # Candidates are compared with others of their step, not with those of smaller architectures.
        data |= {"growth": growth_data(placed, identity, view.space), "traces": [], "decisions": None}
        if data["status"]["name"] == "exhausted":
            data["status"]["text"] = "ended: a step left nothing to choose"
    return data


@dataclass(frozen=True)
class _View:
    """A run with its names resolved.

    Args:
        run: The run folder, read.
        space: The space as it was searched; None if it is not registered or has changed.
        changed_space: The registered space of that name, if it is another by now.
        objectives, constraints: What the run searched for, and within which bounds.
        points: The architectures of the run with their scores.
        states: (A,) what became of each architecture, numbers of `raynas.storage.points.PointState`.
    """

    run: Run
    space: SearchSpace | None
    changed_space: SearchSpace | None
    objectives: tuple[Objective, ...]
    constraints: tuple[Constraint, ...]
    points: Points
    states: np.ndarray

    @classmethod
    def of(cls, run: Run) -> _View:
        identity = run.description["identity"]
        found = registered_space(str(identity.get("space")))
        is_same = found is not None and found.fingerprint == identity.get("space_fields")
        objectives = tuple(Objective.parse(str(text)) for text in identity.get("objectives") or [])
        constraints = tuple(Constraint.parse(str(text)) for text in identity.get("constraints") or [])
        points = Points.of(_rows(run), identity.get("scores") or {})
        return cls(
            run,
            found if is_same else None,
            None if is_same else found,
            objectives,
            constraints,
            points,
            points.states(objectives, constraints),
        )

    def scores(self) -> list[dict[str, Any]]:
        """Axes that the page offers: objectives, other scores, costs."""
        directions = {**self.run.description.get("directions", {})}
        directions |= {one.name: "max" if one.maximize else "min" for one in self.objectives}
        scores = [
            {
                "name": name,
                "maximize": directions.get(name, "min" if name in COSTS else "max") == "max",
                "is_cost": name in {*COSTS, PREDICTED},
                "is_objective": any(one.name == name for one in self.objectives),
            }
            for name in self.points.values
        ]
        return sorted(scores, key=lambda score: (score["is_cost"], not score["is_objective"]))

    def losses(self, names: Iterable[str], within: np.ndarray) -> np.ndarray:
        """Values of M scores at some positions, (len(within), M), oriented so that lower is better."""
        directions = {score["name"]: score["maximize"] for score in self.scores()}
        columns = [self.points.values[name][within] * (-1 if directions[name] else 1) for name in names]
        return np.array(columns, np.float64).T.reshape(len(within), len(columns))

    def feasible(self, *names: str) -> np.ndarray:
        """Positions of feasible architectures that have all these scores."""
        known = np.array([np.isfinite(self.points.values[name]) for name in names]).all(axis=0)
        return np.flatnonzero((self.states == PointState.OK) & known)

    @cached_property
    def front(self) -> np.ndarray:
        """Positions on the front of all objectives, in the order of the first; empty unless there are several."""
        names = [one.name for one in self.objectives if one.name in self.points.values]
        if len(names) < 2:
            return np.array([], np.int64)
        within = self.feasible(*names)
        return np.asarray(within[pareto_front(self.losses(names, within))])

    def rankings(self) -> list[tuple[str, str, np.ndarray]]:
        """(name, label, best first): the front of several objectives, then the objectives, then other scores."""
        rankings = []
        if len(front := self.front):
            rankings.append(("", "Pareto front", spread(front, _MAX_FRONT)))
        scores = sorted(self.scores(), key=lambda score: (not score["is_objective"], score["is_cost"]))
        for score in scores:
            within = self.feasible(score["name"])
            order = np.argsort(self.losses([score["name"]], within)[:, 0], kind="stable")[:_RANKED]
            if len(order):
                label = f"{'highest' if score['maximize'] else 'lowest'} {score['name']}"
                rankings.append((score["name"], label, within[order]))
        return rankings

    def fronts_of_pairs(self) -> list[np.ndarray]:
        """What the page needs to draw the front of a score against a cost, or of two objectives."""
        names = [score["name"] for score in self.scores() if not score["is_cost"]]
        pairs = {(name, cost) for name in names for cost in (*COSTS, PREDICTED) if cost in self.points.values}
        pairs |= {(a.name, b.name) for a in self.objectives for b in self.objectives if a.name < b.name}
        fronts = []
        for pair in sorted(pairs):
            if all(name in self.points.values for name in pair):
                within = self.feasible(*pair)
                fronts.append(spread(within[pareto_front(self.losses(pair, within))], _MAX_COURSE))
        return fronts

    def recommended(self) -> int | None:
        """The position of the searcher's final choice."""
        chosen = (self.run.summary.get("recommended") or {}).get("architecture")
        if not chosen:
            return None
        key = Architecture(chosen).key
        return self.points.keys.index(key) if key in self.points.keys else None

    def traces(self) -> tuple[list[dict[str, Any]], list[np.ndarray]]:
        """Best value so far by candidate number for each objective, the hypervolume for two; and who improved them."""
        traces, improvements = [], []
        asked = self.points.candidates >= 0
        for one in self.objectives:
            if one.name not in self.points.values:
                continue
            within = self.feasible(one.name)
            within = within[asked[within]]
            steps = within[best_so_far(self.losses([one.name], within)[:, 0])]
            improvements.append(spread(steps, _MAX_COURSE))
            values = list(map(short_number, self.points.values[one.name][improvements[-1]]))
            traces.append({"name": one.name, "at": self.points.candidates[improvements[-1]].tolist(), "values": values})
        if len(traces) == 2:
            names = [trace["name"] for trace in traces]
            within = self.feasible(*names)
            within = within[asked[within]]
            grown = hypervolume_trace(self.losses(names, within))
            grown = [grown[i] for i in spread(np.arange(len(grown)), _MAX_COURSE).tolist()]
            at = [int(self.points.candidates[within[position]]) for position, _ in grown]
            traces.append({"name": "hypervolume", "at": at, "values": [area for _, area in grown]})
        return traces, improvements

    def policy(self) -> dict[str, Any] | None:
        """The policy's trace, for searchers that have one."""
        if self.space is None or not self.objectives:
            return None
        stored = StoredScores(self.points, self.objectives, self.constraints)
        is_over = self.run.summary.get("status") not in (None, "running")
        told = int(self.run.summary["evaluations"]) if is_over else None
        identity, latency = self.run.description["identity"], self.run.description["config"].get("latency")
        trace = policy_trace(self.space, identity, stored, self.objectives, self.constraints, told, latency)
        return None if trace is None else _policy(self.space, trace)

    def correlation(self) -> dict[str, Any] | None:
        """Rank correlations of all scores, over a sample if there are many architectures."""
        names = [score["name"] for score in self.scores()]
        names = [name for name in names if np.isfinite(self.points.values[name]).sum() > 2]
        if len(names) < 2 or all(name in {*COSTS, PREDICTED} for name in names):
            return None
        known = np.flatnonzero(np.array([np.isfinite(self.points.values[name]) for name in names]).any(axis=0))
        chosen = known[sampled([], len(known), _CORRELATED)]
        tau = kendall_taus([self.points.values[name][chosen] for name in names])
        return {
            "names": names,
            "tau": [[short_number(value) for value in row] for row in tau],
            "n": len(chosen),
            "total": len(known),
        }


def _policy(space: SearchSpace, trace: PolicyTrace) -> dict[str, Any]:
    options = {decision.name: decision.options for decision in space.decisions}
    return {
        "told": trace.told,
        "note": trace.note,
        "decisions": [
            {
                "name": name,
                "options": [
                    json.dumps(option) if isinstance(option, tuple) else str(option) for option in options[name]
                ],
                "probabilities": [[round(float(p), 4) for p in row] for row in rows],
            }
            for name, rows in trace.probabilities.items()
        ],
    }


def _status(run: Run, view: _View) -> dict[str, Any]:
    is_registered = view.space is not None or view.changed_space is not None
    config, identity = run.description["config"], run.description["identity"]
    return run_status(run.folder, run.summary, resume_command(config, identity, run.folder, is_registered))


def _counts(run: Run, view: _View, evaluations: int) -> dict[str, Any]:
    summary, is_pending = run.summary, view.states == PointState.UNSCORED
    return {
        "evaluations": evaluations,
        "budget": run.description["config"].get("budget"),
        "different": int(((view.points.candidates >= 0) & ~is_pending).sum()),
        "pending": int(is_pending.sum()),
        "infeasible": int((view.states == PointState.INFEASIBLE).sum()),
        "failed": int((view.states == PointState.FAILED).sum()),
        "reused": view.points.reused,
        "duration": duration(summary["seconds"]) if summary.get("seconds") else None,
        "per_s": summary.get("evaluations_per_s"),
    }


def _rows(run: Run) -> pa.Table:
    """The stored rows, and those of the searcher's final choice, which only the summary tells if it was not asked."""
    chosen = run.summary.get("recommended")
    architecture = Architecture(chosen["architecture"]) if chosen else None
    if chosen is None or architecture is None or architecture.key in run.evaluations["architecture_key"].to_pylist():
        return run.evaluations
    values = {
        **chosen.get("scores", {}),
        **{name: float(chosen[name]) for name in COSTS if chosen.get(name) is not None},
    }
    rows = [
        {
            "candidate": -1,
            "architecture_key": architecture.key,
            "architecture": architecture.to_json(),
            "proxy": name,
            "value": value,
            "status": str(Status.OK),
            "seconds": 0.0,
            "build_seconds": 0.0,
            "reused": False,
        }
        for name, value in values.items()
    ]
    return pa.concat_tables([run.evaluations, pa.Table.from_pylist(rows, schema=SCHEMA)])
