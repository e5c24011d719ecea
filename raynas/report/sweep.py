"""What the page of a sweep shows: searchers side by side, and their searches with links to their own pages."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from raynas.report.embedding import finite, registered_space
from raynas.report.model_points import has_report, model_points
from raynas.report.policy import searcher_settings
from raynas.report.status import KILLED, part_now, resumed_by, run_status
from raynas.report.text import Rows, description_groups
from raynas.space.results import Objective
from raynas.storage.run_folder import read_description
from raynas.sweeps.config import SearchName
from raynas.sweeps.folder import sweep_data
from raynas.sweeps.traces import Measure, Trace
from raynas.wording import duration, plural, settings_text

_STATUSES = ("completed", "exhausted", "running", "waiting", "interrupted", KILLED, "failed")


def sweep_report_data(folder: Path, write_report: Callable[[Path], Path]) -> dict[str, Any]:
    """Everything that the page shows, without NaN and infinity.

    Args:
        folder: The folder of the sweep, finished or not.
        write_report: Writes the page of a search, so that links lead somewhere.

    Returns:
        A value for `json.dumps`: what `raynas.sweeps.folder.sweep_data` says, and the calls of each seed to
        reach the levels.

    Raises:
        StoreError: A folder cannot be read.
    """
    description, found = read_description(folder), sweep_data(folder)
    config, identity = description["config"], description["identity"]
    space = registered_space(str(found["space"]))
    is_same = space is not None and space.fingerprint == identity.get("space_fields")
    found["searches"] = [part_now(folder, one) for one in found["searches"]]
    data: dict[str, Any] = finite(
        {
            "layout": "sweep",
            "title": f"{found['space']} sweep",
            "headline": _headline(found),
            "subline": _subline(identity, found),
            "status": run_status(folder, found, resumed_by("search", folder, config, is_registered=space is not None)),
            "facts": _facts(found),
            **model_points(str(found["space"]), [], {}, texts=[], img_size=0),
            **{name: found[name] for name in ("measure", "budget", "searchers", "rows", "curves")},
            "levels": level_calls(found["levels"], found["curves"], found["measure"]),
            "searches": [
                {**one, "has_report": has_report(folder / str(one["folder"]), folder, write_report)}
                for one in found["searches"]
            ],
            "groups": description_groups(description, {}, space, is_same, 0, how=_how(config, identity)),
        }
    )
    return data


def level_calls(
    levels: Sequence[Mapping[str, Any]], curves: Sequence[Mapping[str, Any]], measure: Mapping[str, Any]
) -> list[dict[str, Any]]:
    """How many calls each search made until its best value was as good as a level.

    Args:
        levels, curves, measure: Parts of what `raynas.sweeps.folder.sweep_data` returns, under these names.

    Returns:
        For each level its value and label, and `searchers`: their name, `seeds` and `calls`, None for a seed that did
        not reach it.
    """
    told = Measure(str(measure["name"]), bool(measure["maximize"]))
    return [
        {
            **level,
            "searchers": [
                {
                    "searcher": curve["searcher"],
                    "seeds": [search["seed"] for search in curve["searches"]],
                    "calls": [
                        Trace(SearchName(curve["searcher"], search["seed"]), search["at"], search["values"], 0).reached(
                            level["value"], told
                        )
                        for search in curve["searches"]
                    ],
                }
                for curve in curves
            ],
        }
        for level in levels
    ]


def _headline(found: Mapping[str, Any]) -> str:
    searches = plural(len(found["searches"]), "search", "searches")
    calls, seeds = plural(int(found["budget"]), "call", "calls"), plural(len(found["seeds"]), "seed", "seeds")
    lasted = f" in {duration(found['seconds'])}" if found.get("seconds") else ""
    return f"{' against '.join(found['searchers'])}: {searches} of {calls} each, with {seeds}{lasted}"


def _subline(identity: Mapping[str, Any], found: Mapping[str, Any]) -> str:
    aims = [f"the {Objective.parse(str(text)).in_words}" for text in identity.get("objectives") or []]
    parts = [" and ".join(aims), f"images of {identity.get('img_size')} pixels"]
    parts += [str(text) for text in identity.get("constraints") or []]
    seeds = found["seeds"]
    parts.append(f"seeds {seeds[0]} to {seeds[-1]}" if len(seeds) > 1 else f"seed {seeds[0]}")
    return " · ".join([*parts, f"score seed {identity.get('score_seed')}"])


def _facts(found: Mapping[str, Any]) -> list[list[str | None]]:
    searches = found["searches"]
    count = {status: sum(one["status"] == status for one in searches) for status in _STATUSES}
    return [
        ["searches", f"{len(searches):,}"],
        *([status, f"{number:,}" if number else None] for status, number in count.items()),
        ["calls", f"{sum(int(one['evaluations']) for one in searches):,}"],
        ["duration", duration(found["seconds"]) if found.get("seconds") else None],
    ]


def _how(config: Mapping[str, Any], identity: Mapping[str, Any]) -> Rows:
    rows: Rows = [("objective", str(text).replace(":", ", ")) for text in identity.get("objectives") or []]
    rows += [("constraint", str(text)) for text in identity.get("constraints") or []]
    for name, own in (identity.get("searchers") or {}).items():
        settings = settings_text(searcher_settings(name, own.get("searcher_settings") or {}))
        rows.append((str(name), "; ".join(filter(None, [f"window {own.get('window')}", settings]))))
    rows.append(("budget", f"{config.get('budget'):,} calls of each search"))
    rows.append(("repeat", f"{config.get('repeat'):,} seeds from {config.get('seed')}"))
    return [*rows, ("scores' seed", str(identity.get("score_seed")))]
