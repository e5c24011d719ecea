"""What the page of runs side by side shows, as one JSON value."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from raynas.report.comparable import Course
from raynas.report.compared import MADE_WITH, ComparedRun, Comparison, interval_text, value_text
from raynas.report.compared_searches import fronts
from raynas.report.embedding import finite
from raynas.report.model_points import model_points
from raynas.space.cost import COSTS
from raynas.wording import plural, setting_text


def comparison_data(found: Comparison, links: Sequence[str | None] | None = None) -> dict[str, Any]:
    """Everything that the page shows, without NaN and infinity.

    Args:
        found: The runs, side by side.
        links: Where the page of each run is, relative to this one; None: nowhere.

    Returns:
        A value for `json.dumps`.
    """
    runs = found.runs
    networks = [(i, run.what.network) for i, run in enumerate(runs) if run.what.network is not None]
    spaces = {network.space for _, network in networks}
    sizes = {network.img_size for _, network in networks}
    columns = _columns([network.values for _, network in networks])
    data: dict[str, Any] = {
        "layout": "compared",
        "title": f"{_counted(runs)} compared",
        "headline": " · ".join(run.name for run in runs) if len(runs) <= 6 else plural(len(runs), "run", "runs"),
        "subline": ", ".join(sorted({str(run.row["space"]) for run in runs if run.row["space"]})),
        "status": _status(runs),
        "facts": [],
        **model_points(
            spaces.pop() if len(spaces) == 1 and len(sizes) == 1 else "",
            [network.fields for _, network in networks],
            columns,
            texts=[network.text for _, network in networks],
            img_size=sizes.pop() if len(sizes) == 1 else 0,
            notes=[network.role for _, network in networks],
        ),
        "scores": [
            {"name": name, "maximize": name not in COSTS, "is_cost": name in COSTS, "is_objective": False}
            for name in columns
        ],
        "networks": [i for i, _ in networks],
        "runs": [
            {
                "name": run.name,
                "kind": run.row["kind"],
                "status": run.row["status"],
                "folder": str(run.folder),
                "link": None if links is None else links[i],
            }
            for i, run in enumerate(runs)
        ],
        "values": [
            {
                "name": name,
                "is_number": not any(one is not None and isinstance(one.value, str) for one in own),
                "texts": [value_text(one) for one in own],
                "intervals": [interval_text(one) for one in own],
                "best": list(found.best_of(name)),
            }
            for name, own in found.values.items()
        ],
        "notes": list(found.notes),
        "differences": [{"name": name, "texts": texts} for name, texts in found.difference_texts().items()],
        "courses": _course_groups(runs) if found.is_of_one_family else [],
        "fronts": fronts([run.what for run in runs]) if found.is_of_one_family else None,
        "groups": _common(found),
    }
    shown: dict[str, Any] = finite(data)
    return shown


def _common(found: Comparison) -> list[dict[str, Any]]:
    """What is the same in all, without what was not asked for."""
    rows = [
        (name, setting_text(value)) for name, value in found.common.items() if value not in (None, [], "", {}, False)
    ]
    made = [row for row in rows if row[0].startswith(tuple(f"{name}." for name in MADE_WITH))]
    groups = {"Settings": [row for row in rows if row not in made], "Made with": made}
    return [{"title": title, "rows": own} for title, own in groups.items() if own]


def _columns(values: Sequence[Mapping[str, float | None]]) -> dict[str, list[float | None]]:
    names = dict.fromkeys(name for own in values for name in own)
    return {name: [own.get(name) for own in values] for name in sorted(names, key=lambda name: name in COSTS)}


def _counted(runs: Sequence[ComparedRun]) -> str:
    nouns = {run.what.nouns for run in runs}
    return plural(len(runs), *(nouns.pop() if len(nouns) == 1 else ("run", "runs")))


def _status(runs: Sequence[ComparedRun]) -> dict[str, Any]:
    going = sum(run.row["status"] == "running" for run in runs)
    text = f"{going} of {len(runs)} running" if going else "all have ended"
    return {"name": "running" if going else "completed", "text": text, "error": None, "resume": None}


def _course_groups(runs: Sequence[ComparedRun]) -> list[dict[str, Any]]:
    """Courses of one name together, each with the number of its run."""
    groups: dict[str, list[tuple[int, Course]]] = {}
    for i, run in enumerate(runs):
        for course in run.what.courses:
            groups.setdefault(course.name, []).append((i, course))
    return [
        {
            "name": name,
            "unit": members[0][1].unit,
            "clock": members[0][1].clock if all(course.seconds for _, course in members) else None,
            "form": members[0][1].form,
            "better": members[0][1].better,
            "lines": [
                {
                    "run": i,
                    **{
                        key: getattr(course, key)
                        for key in ("at", "values", "seconds", "low", "high", "end", "end_s", "is_step")
                    },
                }
                for i, course in members
            ],
        }
        for name, members in groups.items()
    ]
