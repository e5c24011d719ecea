"""What the page of a growth shows beyond that of a search: the family, and what each step chose from."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from raynas.space.architecture import Architecture
from raynas.space.cost import COSTS
from raynas.space.results import Constraint, Objective
from raynas.space.search_space import SearchSpace
from raynas.storage.points import Points
from raynas.wording import compact, duration, plural


def family_members(
    family: Sequence[Mapping[str, Any]], points: Points, space: SearchSpace | None
) -> list[dict[str, Any]]:
    """The family for the page's pictures and table.

    Args:
        family: The entry `family` of summary.json: the states that the growth went through.
        points: The run's architectures with their scores.
        space: The space as it was searched; None: it is not known which fields hold depth and width.

    Returns:
        One entry for each member whose rows are stored: `step`; `change`; `asked`, the first candidate number of the
        step that chose it and one past the last; `point`, its position in `points`; `depths` of its stages and `width`,
        both None without a space that says how it grows.
    """
    place = {key: number for number, key in enumerate(points.keys)}
    growth = space.growth if space is not None else None
    members = []
    for state in family:
        architecture = Architecture(state["architecture"])
        if architecture.key not in place:
            continue
        members.append(
            {
                "step": int(state["step"]),
                "change": str(state["change"]),
                "asked": [int(number) for number in state["asked"]],
                "point": place[architecture.key],
                "depths": None if growth is None else list(growth.depths(architecture)),
                "width": None if growth is None else growth.width_of(architecture),
            }
        )
    return members


def growth_data(
    members: Sequence[Mapping[str, Any]], identity: Mapping[str, Any], space: SearchSpace | None
) -> dict[str, Any]:
    """The page's `growth`: the members, the names of depth and width, and where growth was to end.

    Args:
        members: What `family_members` returns, with `point` as the page counts.
        identity: The entry `identity` of run.yaml.
        space: The space of the run; None where it is not registered here.
    """
    growth = space.growth if space is not None else None
    stop = _stop(identity)
    return {
        "members": list(members),
        "depth": None if growth is None else growth.depth,
        "width": None if growth is None else growth.width,
        "stop": None if stop is None else {"name": stop.name, "bound": stop.bound},
    }


def growth_head(
    members: Sequence[Mapping[str, Any]],
    points: Points,
    identity: Mapping[str, Any],
    summary: Mapping[str, Any],
    counts: Mapping[str, Any],
) -> dict[str, Any]:
    """Title, headline, subline and figures of the page, in place of those of a search.

    Args:
        members: What `family_members` returns, with positions in `points`.
        points: The run's architectures with their scores.
        identity: The entry `identity` of run.yaml.
        summary: The content of summary.json.
        counts: The counts of a run as the page of a search has them.
    """
    params = points.values.get("num_params")
    known = [] if params is None else [float(params[member["point"]]) for member in members]
    steps = max(0, len(members) - 1)
    last = members[-1] if members else None
    lasted = "" if summary.get("seconds") is None else f" in {duration(summary['seconds'])}"
    span = f" from {compact(known[0])} to {compact(known[-1])} parameters" if len(known) > 1 else ""
    evaluations = int(counts["evaluations"])
    scored = plural(evaluations, "architecture", "architectures")
    return {
        "layout": "growth",
        "title": f"{identity.get('space')} growth",
        "headline": f"Grown{span} in {plural(steps, 'step', 'steps')}: {scored} scored{lasted}",
        "subline": " · ".join(_rules(identity)),
        "facts": [
            ["steps", str(steps)],
            ["parameters", compact(known[-1]) if known else None],
            ["blocks", None if last is None or last["depths"] is None else str(sum(last["depths"]))],
            ["width", None if last is None or last["width"] is None else f"{last['width']:,}"],
            ["candidates", f"{evaluations:,}"],
            ["failed", f"{counts['failed']:,}"],
            ["infeasible", f"{counts['infeasible']:,}" if counts["infeasible"] else None],
            ["taken from other runs", f"{counts['reused']:,}" if counts["reused"] else None],
            ["duration", counts["duration"]],
        ],
    }


def _rules(identity: Mapping[str, Any]) -> list[str]:
    """What decided, in words."""
    settings = identity.get("searcher_settings") or {}
    objectives = [Objective.parse(str(text)).in_words for text in identity.get("objectives") or []]
    rules = [f"ranked by {' and '.join(objectives)}"]
    if (stop := _stop(identity)) is not None:
        rules.append(f"until {_bound(stop)}")
    if settings.get("max_steps") is not None:
        rules.append(f"at most {plural(int(settings['max_steps']), 'step', 'steps')}")
    rules += [_bound(Constraint.parse(str(text))) for text in identity.get("constraints") or []]
    divisors = {
        int(json.loads(score.get("settings") or "{}").get("width_divisor", 1))
        for score in (identity.get("scores") or {}).values()
    }
    rules += [f"scored with the width divided by {divisor}" for divisor in sorted(divisors) if divisor > 1]
    return [*rules, f"images of {identity.get('img_size')} pixels", f"score seed {identity.get('score_seed')}"]


def _bound(constraint: Constraint) -> str:
    relation = constraint.relation.replace(">=", "≥").replace("<=", "≤")
    bound = compact(constraint.bound) if constraint.name in COSTS else f"{constraint.bound:g}"
    return f"{constraint.name} {relation} {bound}"


def _stop(identity: Mapping[str, Any]) -> Constraint | None:
    text = (identity.get("searcher_settings") or {}).get("stop")
    return Constraint.parse(str(text)) if text else None
