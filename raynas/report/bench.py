"""What the page of a benchmark shows: predictors against labels, and how they agree among themselves.

Letters: A architectures, P predictors.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path, PurePath
from typing import Any

import numpy as np
from scipy.cluster.hierarchy import leaves_list, linkage

from raynas.bench.correlations import TO_BEAT
from raynas.bench.folder import Bench, load_bench
from raynas.bench.predictors import Kind, idle_baselines, pending_baselines
from raynas.bench.truth import DEPTH, WIDTH
from raynas.report.embedding import embedded_points, finite, registered_space, short_number
from raynas.report.search import MAX_POINTS
from raynas.report.status import resumed_by, run_status
from raynas.report.text import Rows, description_groups, failure_groups, time_spent
from raynas.space.search_space import SearchSpace
from raynas.stats.kendall import kendall_taus
from raynas.stats.thinning import sampled
from raynas.storage.points import Points, PointState
from raynas.wording import duration, plural

_CORRELATED = 1000
_COLOURS = 6
_NAMED_TIMES = 11
_SHOWN_BEST = 10
_PAIR = (
    *("n", "n_label", "n_sized", "distinct", "tau", "tau_low", "tau_high", "rho", "rho_low", "rho_high"),
    *("r", "r_low", "r_high"),
    *("partial_tau", "partial_tau_low", "partial_tau_high", "lead", "lead_low", "lead_high", "useful", "top_5pct"),
    *("top_10pct", "top_k", "k", "regret", "regret_scaled", "regret_top_k", "regret_top_k_scaled"),
)
_STRATUM = ("n", "tau", "tau_low", "tau_high")


def bench_report_data(folder: Path) -> dict[str, Any]:
    """Everything that the page shows, without NaN and infinity.

    Args:
        folder: The folder of the benchmark, finished or not.

    Returns:
        A value for `json.dumps`.

    Raises:
        StoreError: The folder cannot be read.
    """
    bench = load_bench(folder)
    description, summary = bench.run.description, bench.run.summary
    config, identity = description["config"], description["identity"]
    space = registered_space(str(identity.get("space")))
    is_same = space is not None and space.fingerprint == identity.get("space_fields")
    own = space if is_same else None
    data: dict[str, Any] = finite(
        {
            "layout": "bench",
            "title": bench.settings.title or f"{identity.get('space')}: proxies against {bench.about.get('file')}",
            "headline": _headline(bench),
            "subline": _subline(bench),
            "status": run_status(
                folder, summary, resumed_by("bench proxies", folder, config, is_registered=space is not None)
            ),
            "facts": _facts(bench),
            **_architectures(bench, own, int(identity.get("img_size") or 0)),
            "objectives": [],
            "rankings": [],
            "front_size": 0,
            "recommended": None,
            "bench": _bench(bench),
            "time": _dearest_first(time_spent(config, summary, bench.points)),
            "groups": _groups(bench, own or space, is_same),
        }
    )
    return data


def _headline(bench: Bench) -> str:
    count = sum(one.kind == Kind.PROXY for one in bench.predictors)
    names = plural(count, "proxy", "proxies")
    labels = plural(len(bench.labels), "label", "labels")
    combined = len(bench.combinations)
    more = f" and {plural(combined, 'combination', 'combinations')}" if combined else ""
    return f"{names}{more} against {labels} of {plural(len(bench.truth), 'architecture', 'architectures')}"


def _subline(bench: Bench) -> str:
    """The setting, on which the values of proxies depend."""
    config, identity = bench.run.description["config"], bench.run.description["identity"]
    scores = [score for score in (identity.get("scores") or {}).values() if score.get("repeats")]
    repeats = sorted({int(score["repeats"]) for score in scores})
    parts = [f"images of {identity.get('img_size')} pixels"]
    if any(score.get("input_hash") for score in scores):
        parts.append(f"batches of {config.get('batch_size')} from {_without_folders(config.get('data'))}")
    if repeats:
        parts.append(f"{' or '.join(map(str, repeats))} draw{'s' if repeats[-1] > 1 else ''} of weights")
    return " · ".join([*parts, _sampled(bench), f"score seed {identity.get('score_seed')}"])


def _without_folders(spec: Any) -> str:
    """What --data says, without the folders of whoever made the page, which is made to be passed on."""
    return ":".join(PurePath(part).name if "/" in part or "\\" in part else part for part in str(spec).split(":"))


def _sampled(bench: Bench) -> str:
    if len(bench.truth) == bench.truth.total:
        return f"all {bench.truth.total:,} architectures of the table"
    return f"{len(bench.truth):,} of {bench.truth.total:,} architectures, drawn with seed {bench.about.get('seed')}"


def _facts(bench: Bench) -> list[list[str | None]]:
    rows = [row for row in bench.correlations.to_pylist() if row["within"] is None]
    rivals = {row["proxy"] for row in rows if row["kind"] != Kind.BASELINE}
    useful = [[row["proxy"] for row in rows if row["label"] == name and row["useful"]] for name in bench.labels]
    everywhere = rivals.intersection(*useful) if useful else set()
    scored = sum(key in set(bench.points.keys) for key in (one.key for one in bench.truth.architectures))
    seconds = bench.run.summary.get("seconds")
    lacking = len({failure.point for failure in bench.points.failures})
    has_size = any(row["lead"] is not None for row in rows)
    several = len(bench.labels) > 1
    return [
        ["above size on all labels" if several else "above size", f"{len(everywhere)} of {len(rivals)}"]
        if has_size
        else ["predictors", f"{len(bench.predictors)}"],
        ["architectures", f"{len(bench.truth):,}"],
        ["scored so far", f"{scored:,}" if scored < len(bench.truth) else None],
        ["labels", f"{len(bench.labels)}"],
        ["without some score", f"{lacking:,}" if lacking else None],
        ["taken from other runs", f"{bench.points.reused:,}" if bench.points.reused else None],
        ["duration", duration(seconds) if seconds else None],
    ]


def _architectures(bench: Bench, space: SearchSpace | None, img_size: int) -> dict[str, Any]:
    """Columns of the architectures that the page holds, none if only aggregates may be told; and what failed."""
    truth, total = bench.truth, len(bench.truth)
    place = {architecture.key: position for position, architecture in enumerate(truth.architectures)}
    failures = [
        one._replace(point=place[bench.points.keys[one.point]])
        for one in bench.points.failures
        if bench.points.keys[one.point] in place
    ]
    groups, group_of_point = failure_groups(failures)
    columns = {name: truth.labels[name] for name in bench.labels} | {one.name: one.values for one in bench.predictors}
    points = Points(
        keys=list(place),
        texts=[architecture.to_json() for architecture in truth.architectures],
        candidates=np.arange(total),
        values=columns,
        statuses={},
        status_names=[],
        failures=failures,
        seconds={},
        build_seconds={},
        reused=0,
    )
    oriented = [*bench.oriented_labels.values(), *(one.oriented for one in bench.predictors)]
    required = [np.argsort(np.where(np.isnan(column), np.inf, -column))[:_SHOWN_BEST] for column in oriented]
    examples = np.array([group["example"] for group in groups if group["example"] is not None], np.int64)
    chosen = sampled([*required, examples], total, MAX_POINTS)
    if bench.settings.aggregates_only:
        chosen = chosen[:0]
    position = {int(number): at for at, number in enumerate(chosen)}
    for group in groups:
        group["example"] = position.get(group["example"])
    states = np.full(total, PointState.OK)
    embedded = embedded_points(points, states, chosen, group_of_point, space, img_size)
    embedded["text"] = [truth.texts[number] for number in chosen]
    embedded["note"] = [f"row {truth.rows[number]:,} of the table" for number in chosen]
    directions = {name: label.maximize for name, label in bench.labels.items()}
    directions |= {one.name: one.higher_is_better for one in bench.predictors}
    counted = {one.name for one in bench.predictors if one.kind == Kind.BASELINE}
    return {
        "points": embedded,
        "total": total,
        "scores": [
            {"name": name, "maximize": up, "is_cost": name in counted, "is_objective": name in bench.labels}
            for name, up in directions.items()
        ],
        "failures": groups,
        "colours": [_colour(name, values, chosen) for name, values in _colourable(bench) if len(chosen)],
    }


def _colourable(bench: Bench) -> list[tuple[str, list[str]]]:
    """(name, value of each architecture) of what has few values: fields, and depth and width in all."""
    found: dict[str, list[str]] = dict(bench.strata)
    for name in bench.truth.architectures[0]:
        values = [architecture[name] for architecture in bench.truth.architectures]
        if not any(isinstance(value, tuple) for value in values):
            found.setdefault(name, list(map(str, values)))
    for name, counts in bench.truth.counts.items():
        found.setdefault({DEPTH: "blocks", WIDTH: "width"}[name], [f"{count:g}" for count in counts])
    few = {name: values for name, values in found.items() if 2 <= len(set(values)) <= _COLOURS}
    distinct = {tuple(_numbered(values)): name for name, values in reversed(few.items())}  # width may be a field
    return [(name, few[name]) for name in few if name in distinct.values()]


def _numbered(values: Sequence[str]) -> list[int]:
    numbers = {value: number for number, value in enumerate(dict.fromkeys(values))}
    return [numbers[value] for value in values]


def _colour(name: str, values: Sequence[str], chosen: np.ndarray) -> dict[str, Any]:
    names = sorted(set(values), key=lambda text: (len(text), text))
    return {"name": name, "values": names, "of": [names.index(values[number]) for number in chosen]}


def _bench(bench: Bench) -> dict[str, Any]:
    """Statistics as short rows: predictors and labels by their numbers."""
    rows = bench.correlations.to_pylist()
    number = {one.name: i for i, one in enumerate(bench.predictors)}
    label_number = {name: i for i, name in enumerate(bench.labels)}

    def short(row: Mapping[str, Any], names: Sequence[str]) -> list[Any]:
        return [_rounded(row[name]) for name in names]

    pairs = [
        [number[row["proxy"]], label_number[row["label"]], *short(row, _PAIR)] for row in rows if row["within"] is None
    ]
    strata = [
        [number[row["proxy"]], label_number[row["label"]], row["within"], row["stratum"], *short(row, _STRATUM)]
        for row in rows
        if row["within"] is not None
    ]
    about = {row["proxy"]: row for row in rows if row["within"] is None}
    return {
        "labels": [_label(bench, name) for name in bench.labels],
        "predictors": [
            {
                "name": one.name,
                "kind": str(one.kind),
                "higher_is_better": one.higher_is_better,
                "statuses": about[one.name]["statuses"],
                "seconds": _rounded(one.seconds),
            }
            for one in bench.predictors
        ],
        "columns": ["predictor", "label", *_PAIR],
        "rows": pairs,
        "strata_columns": ["predictor", "label", "within", "stratum", *_STRATUM],
        "strata": strata,
        "to_beat": [name for name in TO_BEAT if name in number],
        "agreement": _agreement(bench),
        "resamples": bench.settings.resamples,
        "level": bench.settings.level,
        "top": bench.settings.top,
        "left_out": dict(bench.about.get("left_out") or {}),
        "idle": idle_baselines(bench.predictors),
        "pending": pending_baselines(bench.predictors),
        "aggregates_only": bench.settings.aggregates_only,
        "merged": int((bench.truth.merged > 1).sum()),
    }


def _label(bench: Bench, name: str) -> dict[str, Any]:
    known = bench.oriented_labels[name]
    known = known[np.isfinite(known)]
    return {
        "name": name,
        "maximize": bench.labels[name].maximize,
        "n": len(known),
        "random_regret": _rounded(known.max() - known.mean()),
        "random_regret_scaled": _rounded((known.max() - known.mean()) / (known.max() - known.min())),
    }


def _agreement(bench: Bench) -> dict[str, Any] | None:
    """Tau-b of every two predictors that are not constant, similar ones side by side, over a sample of many rows."""
    known = [one for one in bench.predictors if len(np.unique(one.values[np.isfinite(one.values)])) > 1]
    if len(known) < 2:
        return None
    chosen = sampled([], len(bench.truth), _CORRELATED)
    tau = kendall_taus([one.oriented[chosen] for one in known])
    apart = 1 - np.nan_to_num(tau)
    order = leaves_list(linkage(apart[np.triu_indices(len(known), k=1)], "average", optimal_ordering=True))
    return {
        "names": [known[i].name for i in order],
        "tau": [[_rounded(tau[i, j]) for j in order] for i in order],
        "n": len(chosen),
        "total": len(bench.truth),
    }


def _dearest_first(time: dict[str, Any]) -> dict[str, Any]:
    """Time spent, the dearest scores named and the others added up."""
    dearest = sorted(time["workers"], key=lambda one: -(one["build"] + one["rest"]))
    named, others = dearest[:_NAMED_TIMES], dearest[_NAMED_TIMES:]
    if others:
        added = {part: sum(one[part] for one in others) for part in ("build", "rest")}
        named.append({"name": plural(len(others), "other", "others"), **added})
    return {**time, "workers": named}


def _groups(bench: Bench, space: SearchSpace | None, is_same: bool) -> list[dict[str, Any]]:
    merged = int((bench.truth.merged > 1).sum())
    identity = bench.run.description["identity"]
    how: Rows = [
        ("truth table", str(bench.about.get("file"))),
        ("architectures", _sampled(bench)),
        ("in several rows", f"{plural(merged, 'architecture', 'architectures')}, labels averaged")
        if merged
        else ("", ""),
        *(
            ("label", f"{name}, {'higher' if one.maximize else 'lower'} is better")
            for name, one in bench.labels.items()
        ),
        *(("within", field) for field in bench.settings.within),
        *(("combination", f"{one.text}, {_METHODS[one.method]}") for one in bench.combinations),
        *(("left out", f"{name}, which {why}") for name, why in (bench.about.get("left_out") or {}).items()),
        *(("does not apply", f"{name}: {why}") for name, why in idle_baselines(bench.predictors).items()),
        *(("too few are scored for", name) for name in pending_baselines(bench.predictors)),
        ("intervals", f"{100 * bench.settings.level:g} %, {bench.settings.resamples:,} resamples of the architectures"),
        ("score seed", str(identity.get("score_seed"))),
    ]
    described = bench.run.description
    published = {**described, "config": {**described["config"], "data": _without_folders(described["config"]["data"])}}
    groups = description_groups(
        published, bench.run.summary, space, is_same, len(bench.truth), [row for row in how if row[0]]
    )
    return [{**group, "title": "Benchmark" if group["title"] == "Search" else group["title"]} for group in groups]


_METHODS = {
    "log_rank": "logarithms of ranks added",
    "rank_sum": "ranks added",
    "min_max": "values from 0, the worst, to 1, the best, added",
}


def _rounded(value: Any) -> Any:
    """Numbers with as many digits as a page shows."""
    if isinstance(value, bool) or value is None or isinstance(value, str | int):
        return value
    return None if math.isnan(value) else short_number(float(f"{value:.5g}"))
