"""What a report says in words: what was searched and how, what it came to, and where the time went."""

from __future__ import annotations

import itertools
import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from raynas.data.opening import described
from raynas.hooks import is_offered_by
from raynas.report.policy import searcher_settings
from raynas.report.status import resumed_by
from raynas.searchers.protocols import GrowsFamily
from raynas.searchers.registered import searchers
from raynas.space.fields import Choice, PerBlock, PerLayer
from raynas.space.results import Objective
from raynas.space.search_space import SearchSpace
from raynas.storage.latencies import LEVEL, described_in_words
from raynas.storage.learned import is_learned
from raynas.storage.points import Failure, Points
from raynas.wording import duration, percent, plural, settings_text, shown, size_in_words

Rows = list[tuple[str, str]]
_MAX_GROUPS = 50
_MAX_ERROR = 2000
DRIVER_WORK = {
    "ask": "the searcher decides",
    "dispatch": "costs, and handing out work",
    "store": "looking up and writing results",
    "wait": "waiting for scores",
    "tell": "the searcher learns",
    "report": "progress and summary",
}
"""What the parts of summary.json's `driver_seconds` stand for."""


def is_growth(identity: Mapping[str, Any]) -> bool:
    """Whether a run's searcher grows a family.

    Args:
        identity: The entry `identity` of run.yaml.
    """
    name = str(identity.get("searcher"))
    return name in searchers and is_offered_by(searchers.get(name), GrowsFamily)


def resume_command(config: Mapping[str, Any], identity: Mapping[str, Any], folder: Path, is_registered: bool) -> str:
    """What continues a run that was not completed."""
    grows = is_growth(identity)
    command = (
        "latency" if is_learned(identity) else "scale" if grows else "search" if config.get("objectives") else "score"
    )
    if line := resumed_by(command, folder, config, is_registered=is_registered):
        return line
    own = "scale(source, space=space" if grows else "search(space"
    return f"raynas.{own}, out={str(folder)!r}, resume=True, ...)"


def headline(config: Mapping[str, Any], identity: Mapping[str, Any], evaluations: int, seconds: float | None) -> str:
    """The run in one sentence."""
    lasted = "" if seconds is None else f" in {duration(seconds)}"
    architectures = "1 architecture" if evaluations == 1 else f"{evaluations:,} architectures"
    if not identity.get("objectives"):
        return f"{architectures} scored{lasted}"
    aims = [f"the {Objective.parse(str(text)).in_words}" for text in identity["objectives"]]
    asked = "1 evaluation" if evaluations == 1 else f"{evaluations:,} evaluations"
    return f"{config.get('searcher')} looked for {' and '.join(aims)}: {asked}{lasted}"


def subline(
    identity: Mapping[str, Any], space: SearchSpace | None, predicted: Mapping[str, Mapping[str, Any]] | None = None
) -> str:
    """The setting of a run: how many architectures there are, the image side, bounds, what is predicted, and seeds."""
    parts = [] if space is None else [f"{size_in_words(space.size)} architectures to choose from"]
    parts.append(f"images of {identity.get('img_size')} pixels")
    parts += [str(text) for text in identity.get("constraints") or []]
    parts += [
        f"{name} is predicted, with {percent(LEVEL, 0)} intervals that reach {percent(one['quality']['reach'], 1)} over"
        for name, one in (predicted or {}).items()
    ]
    parts.append(f"search seed {identity.get('seed')}, score seed {identity.get('score_seed')}")
    return " · ".join(parts)


def description_groups(
    description: Mapping[str, Any],
    summary: Mapping[str, Any],
    space: SearchSpace | None,
    is_same_space: bool,
    num_scored: int,
    how: Rows | None = None,
) -> list[dict[str, Any]]:
    """What was searched and how, as titled lists of (term, text).

    Args:
        description: The content of run.yaml.
        summary: The content of summary.json.
        space: The registered space of that name; None if there is none.
        is_same_space: Whether that space is the one that was searched.
        num_scored: How many different architectures the run has scored.
        how: Rows that replace what a single search says of its searcher.
    """
    config, identity = description["config"], description["identity"]
    groups = [("Space", _space_rows(identity, space, is_same_space, num_scored))]
    if space is not None and is_same_space:
        groups.append(("Decisions", _decision_rows(space)))
    groups += [
        ("Search", _search_rows(config, identity) if how is None else how),
        ("Scores", _score_rows(identity, description.get("directions", {}), description.get("predicted") or {})),
        ("Data and workers", _worker_rows(config, summary)),
        ("Made with", machine_rows(description)),
    ]
    return [{"title": title, "rows": rows} for title, rows in groups if rows]


def _space_rows(identity: Mapping[str, Any], space: SearchSpace | None, is_same_space: bool, num_scored: int) -> Rows:
    rows = [("name", str(identity.get("space")))]
    if space is None:
        rows.append(("note", "not registered here, so architectures are shown by their fields"))
    elif not is_same_space:
        rows.append(("note", "the space of this name has changed since, so architectures are shown by their fields"))
    else:
        if space.summary:
            rows.append(("what", space.summary))
        share = ""
        if num_scored and not is_growth(identity):  # which leaves what can be drawn
            share = f", {100 * min(1.0, num_scored / space.size):.2g} % of them scored here"
        rows.append(("size", f"{size_in_words(space.size)} architectures{share}"))
        if space.paper:
            rows.append(("paper", space.paper))
    return [
        *rows,
        ("image side", f"{identity.get('img_size')} pixels"),
        ("classes", shown(identity.get("num_classes"))),
    ]


def _decision_rows(space: SearchSpace) -> Rows:
    rows = []
    for name, entry in space.fields.items():
        if isinstance(entry, Choice):
            text = _options(entry)
        elif isinstance(entry, PerLayer):
            text = f"{_options(entry.choice)}, for each layer of {entry.depth}"
        else:
            alike = itertools.groupby(entry.choices if isinstance(entry, PerBlock) else entry)
            counts = [(choice, len(list(group))) for choice, group in alike]
            text = " | ".join(_options(choice) + (f", {n} times" if n > 1 else "") for choice, n in counts)
        rows.append((name, text))
    return rows


def _options(choice: Choice) -> str:
    return " ".join(shown(option).replace(" ", "") for option in choice.options)


def _search_rows(config: Mapping[str, Any], identity: Mapping[str, Any]) -> Rows:
    searcher = identity.get("searcher")
    rows = [("objective", str(text).replace(":", ", ")) for text in identity.get("objectives") or []]
    rows += [("constraint", str(text)) for text in identity.get("constraints") or []]
    if identity.get("architectures") is not None or not searcher:
        return [*rows, ("architectures", "given as a list"), ("score seed", shown(identity.get("score_seed")))]
    rows.append(("searcher", str(searcher)))
    if settings := settings_text(searcher_settings(searcher, identity.get("searcher_settings") or {})):
        rows.append(("its settings", settings))
    window = identity.get("window")
    rows.append(("window", f"up to {window} candidates at a time" if window != 1 else "one candidate at a time"))
    if is_growth(identity):  # ends by itself, and draws nothing
        return [*rows, ("seeds", f"scores {identity.get('score_seed')}")]
    return [
        *rows,
        ("budget", plural(int(config["budget"]), "evaluation", "evaluations")),
        ("seeds", f"search {identity.get('seed')}, scores {identity.get('score_seed')}"),
    ]


def _score_rows(
    identity: Mapping[str, Any], directions: Mapping[str, str], predicted: Mapping[str, Mapping[str, Any]]
) -> Rows:
    rows = []
    for name, score in (identity.get("scores") or {}).items():
        parts = [{"max": "higher is better", "min": "lower is better"}.get(directions.get(name, ""), "")]
        if score.get("repeats"):
            times = "1 draw" if score["repeats"] == 1 else f"mean of {score['repeats']} draws"
            parts += [f"{times} of weights ({score['init']})", score["dtype"]]
            parts.append(settings_text(json.loads(score.get("settings") or "{}")))
            parts.append(f"version {score['proxy_version']}")
            parts.append(f"input {score['input_hash'][:8]}" if score.get("input_hash") else "")
        elif score.get("input_hash"):
            parts += [f"by {score['init']} weights", score["dtype"], f"images {score['input_hash'][:8]}"]
        elif name in predicted:
            parts.append(f"a cost, predicted {described_in_words(predicted[name])}")
        else:
            parts.append("a cost, counted before scoring")
        rows.append((name, "; ".join(filter(None, parts))))
    return rows


def _node_rows(summary: Mapping[str, Any]) -> Rows:
    """What each node does, while several are used, and what is awaited."""
    nodes = summary.get("nodes") or []
    rows = []
    if len(nodes) > 1:
        is_running = summary.get("status") == "running"
        for use in nodes[:_SHOWN_NODES]:
            now = f"{use['workers']} workers, {use['busy']} of them busy; " if is_running else ""
            gone = " (not there, or not used any more)" if is_running and not use["workers"] else ""
            rows.append((f"node {use['host']} ({use['node']})", f"{now}{use['evaluated']:,} evaluated{gone}"))
        if len(nodes) > _SHOWN_NODES:
            rows.append(("further nodes", f"{len(nodes) - _SHOWN_NODES}"))
    if waiting := summary.get("waiting"):
        text = f"{waiting['workers']} of {waiting['of']} workers, for {duration(waiting['seconds'])}"
        rows.append(("waiting for", f"{text}: {waiting['why']}" if waiting["why"] else text))
    return rows


def _worker_rows(config: Mapping[str, Any], summary: Mapping[str, Any]) -> Rows:
    workers = summary.get("workers", config.get("workers"))
    rows = [("data", f"{described(str(config.get('data')))}, batches of {config.get('batch_size')} images")]
    if supernet := config.get("supernet"):
        evaluated = config.get("holdout") or f"what the training left out of {described(str(config.get('data')))}"
        rows = [("supernet", str(supernet)), ("evaluated on", str(evaluated))]
        rows += [("kept for the end", str(config["test_data"]))] if config.get("test_data") else []
    if workers is None:
        asked = config.get("workers")
        where = "as many as the run found room for" if asked is None else f"{asked}, as many as there was work for"
    else:
        where = "none: scored in the driver's process" if workers == 0 else str(workers)
    threads = config.get("threads") or 1
    rows.append(("workers", f"{where}; {threads} thread{'s' if threads > 1 else ''} an evaluation"))
    if config.get("gpus_per_worker"):
        rows.append(("GPUs", f"{shown(config['gpus_per_worker'])} a worker"))
    rows += _node_rows(summary)
    if config.get("address"):
        rows.append(("cluster", str(config["address"])))
    return rows


def machine_rows(description: Mapping[str, Any]) -> Rows:
    """Versions and machine that a run was made with, from its run.yaml."""
    machine, versions = description.get("machine") or {}, description.get("versions") or {}
    rows = [("versions", settings_text(versions))] if versions else []
    if platform := description.get("platform"):
        rows.append(("scores computed with", settings_text(platform)))
    if machine:
        rows.append(("driver's machine", f"{machine.get('system')}, {machine.get('cores')} cores"))
    if description.get("started"):
        rows.append(("started", str(description["started"])))
    return rows


def failure_groups(
    failures: Sequence[Failure], limit: int = _MAX_GROUPS
) -> tuple[list[dict[str, Any]], dict[int, int]]:
    """Rows without a value, grouped by status and by error text with its numbers left out.

    Returns:
        The largest groups, with the first point of each as its example; and the group of each point.
    """
    grouped: dict[tuple[str, str], list[Failure]] = {}
    for failure in failures:
        grouped.setdefault((failure.status, _NUMBER.sub("#", failure.error)), []).append(failure)
    groups: list[dict[str, Any]] = []
    group_of_point: dict[int, int] = {}
    largest = sorted(grouped.items(), key=lambda item: -len({failure.point for failure in item[1]}))
    for number, ((status, _), members) in enumerate(largest[:limit]):
        points = {failure.point for failure in members}
        for point in points:
            group_of_point.setdefault(point, number)
        groups.append(
            {
                "status": status,
                "scores": sorted({failure.score for failure in members}),
                "error": members[0].error[:_MAX_ERROR],
                "texts": len({failure.error for failure in members}),
                "count": len(points),
                "example": members[0].point,
            }
        )
    if len(largest) > limit:
        rest = {failure.point for _, members in largest[limit:] for failure in members}
        groups.append({"status": "others", "scores": [], "error": "", "texts": 0, "count": len(rest), "example": None})
    return groups, group_of_point


_SHOWN_NODES = 20
_NUMBER = re.compile(r"0x[0-9a-fA-F]+|[-+]?\d+(?:\.\d+)?(?:[eE][-+]?\d+)?|\b(?:nan|inf)\b")


def time_spent(config: Mapping[str, Any], summary: Mapping[str, Any], points: Points) -> dict[str, Any]:
    """Seconds of workers by score and of the driver by its kind of work, with a sentence on them."""
    workers = []
    scored = 0.0
    for name, seconds in points.seconds.items():
        total, build = float(seconds.sum()), float(points.build_seconds[name].sum())
        scored += total
        if total > 0:
            workers.append({"name": name, "build": min(build, total), "rest": max(total - build, 0.0)})
    driver = [
        {"name": name, "what": DRIVER_WORK.get(name, name), "seconds": float(seconds)}
        for name, seconds in (summary.get("driver_seconds") or {}).items()
    ]
    return {"workers": workers, "driver": driver, "sentence": _time_sentence(config, summary, scored)}


def _time_sentence(config: Mapping[str, Any], summary: Mapping[str, Any], scored: float) -> str:
    seconds, workers = summary.get("seconds"), summary.get("workers", config.get("workers"))
    if not scored:
        return "No time was spent on scores."
    if not seconds:
        return f"Scoring took {duration(scored)} of workers' time."
    share = scored / seconds
    if workers == 0:
        return (
            f"Scoring took {duration(scored)} of the run's {duration(seconds)}, {100 * min(share, 1):.0f} %, "
            "in the driver's own process."
        )
    text = f"Scoring took {duration(scored)} of workers' time in a run of {duration(seconds)}: "
    if workers is None:
        return f"{text}{share:.2g} workers were busy on average."
    of = "the one worker was" if workers == 1 else f"the {workers} workers were"
    return f"{text}{of} busy for {100 * min(share / workers, 1):.0f} % of it."
