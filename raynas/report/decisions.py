"""Which decisions matter: how much of an objective's variance each field of a space accounts for by itself."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from raynas.report.embedding import short_number
from raynas.space.fields import is_absent
from raynas.space.results import Objective
from raynas.space.search_space import SearchSpace
from raynas.stats.importance import ABSENT, LEAST_SEEN, Importance, main_effects
from raynas.stats.quantiles import quantile
from raynas.stats.thinning import sampled
from raynas.storage.points import Points, PointState
from raynas.wording import plural

MOST_ROWS = 4000
"""Architectures that shares are computed from; of more, a fixed random sample is taken."""

_LOG_SPAN = 50  # as the axes of the page
_EVEN = 0.65  # draws of a space leave a block out half the time, which comes to 0.8 of five options, 0.66 of eight
_BINS = 4


def decisions_data(
    points: Points, states: np.ndarray, objectives: Sequence[Objective], space: SearchSpace | None
) -> dict[str, Any] | None:
    """The page's `decisions`: for each objective, the share of each field with its interval.

    Args:
        points: All architectures of the run, with their scores.
        states: (A,) what became of each architecture, numbers of `raynas.storage.points.PointState`.
        objectives: What the run searched for.
        space: The space as it was searched; None if it is not registered: then places of blocks that are empty count as
            an option.

    Returns:
        None where nothing was searched for or there is nothing to decide; else `evenness` with the share of options
        that were used, in words, and for each objective its `fields` in the order of their shares, the `rest`, how many
        architectures `n` it rests on, or in place of them a `missing` that says why there are none.
    """
    shown = []
    for one in objectives:
        if one.name not in points.values:
            continue
        values = points.values[one.name]
        within = np.flatnonzero(np.isin(states, (PointState.OK, PointState.INFEASIBLE)) & np.isfinite(values))
        within = within[sampled([], len(within), MOST_ROWS)]
        table = _Table.of([json.loads(points.texts[i]) for i in within], space)
        if table.columns:
            shown.append(_objective(one, values[within], table))
    return {"objectives": shown} if shown else None


class _Column(NamedTuple):
    """One decision of every row.

    Args:
        field: The field that it belongs to.
        name: What it is called, such as kernel[0].
        options: Texts of its options.
        chosen: (N,) numbers of the options, `ABSENT` where a row has none.
    """

    field: str
    name: str
    options: list[str]
    chosen: np.ndarray


class _Table(NamedTuple):
    """Decisions of N architectures, and the same with each list of a field summarised.

    Args:
        columns: A column for each position of each field.
        summarised: A column or two for each field: of a list that is longer than a few places, how many places are
            taken, where this differs, and in which quarter the mean of their values is.
    """

    columns: list[_Column]
    summarised: list[_Column]

    @classmethod
    def of(cls, architectures: Sequence[Mapping[str, Any]], space: SearchSpace | None) -> _Table:
        blocks = () if space is None else space.block_fields[1:]  # say nothing where the first says there is no block
        columns: list[_Column] = []
        summarised: list[_Column] = []
        for field in architectures[0] if architectures else ():
            rows = [one.get(field) for one in architectures]
            if not any(isinstance(row, list) for row in rows):
                own = [_column(field, field, rows)]
                columns, summarised = columns + own, summarised + own
                continue
            lists = [row if isinstance(row, list) else [row] for row in rows]
            for place in range(max(map(len, lists))):
                at = [row[place] if place < len(row) else None for row in lists]
                at = [None if field in blocks and value is not None and is_absent(value) else value for value in at]
                columns.append(_column(field, f"{field}[{place}]", at))
            summarised += _summary(field, lists)
        return cls([c for c in columns if len(c.options) > 1], [c for c in summarised if len(c.options) > 1])


def _column(field: str, name: str, values: Sequence[Any]) -> _Column:
    """A column of values, None where there is none; numbers in their order, others as they come."""
    found = list(dict.fromkeys(json.dumps(value) for value in values if value is not None))
    if all(isinstance(json.loads(text), int | float) for text in found):
        found.sort(key=json.loads)
    number = {text: i for i, text in enumerate(found)}
    chosen = [ABSENT if value is None else number[json.dumps(value)] for value in values]
    return _Column(field, name, [text.strip('"') for text in found], np.array(chosen, np.int64))


def _summary(field: str, lists: Sequence[Sequence[Any]]) -> list[_Column]:
    """What a list comes to: how many places are taken, and the quarter in which the mean of their numbers is."""
    taken = [[value for value in row if not is_absent(value)] for row in lists]
    if not all(isinstance(value, int | float) for row in taken for value in row):
        return []
    means = np.array([np.mean(row) if row else np.nan for row in taken])
    known = means[np.isfinite(means)]
    bounds = sorted({quantile(known, q / _BINS) for q in range(1, _BINS)}) if len(known) else []
    quarters = [None if np.isnan(mean) else int(np.searchsorted(bounds, mean)) for mean in means]
    return [_column(field, f"number of {field}", [*map(len, taken)]), _column(field, f"mean of {field}", quarters)]


def _objective(objective: Objective, values: np.ndarray, table: _Table) -> dict[str, Any]:
    is_log = bool(len(values) and values.min() > 0 and values.max() / values.min() >= _LOG_SPAN)
    head = {"name": objective.name, "is_log": is_log, "n": len(values)}
    scaled = np.log(values) if is_log else values
    for columns in (table.columns, table.summarised):
        fields = list(dict.fromkeys(column.field for column in columns))
        groups = [[i for i, column in enumerate(columns) if column.field == field] for field in fields]
        chosen = np.stack([column.chosen for column in columns], axis=1) if columns else np.empty((len(values), 0))
        if columns and (found := main_effects(chosen, scaled, groups)) is not None:
            break
    else:
        return {**head, "missing": _missing(values, table)}
    shares = [
        {
            "field": field,
            "share": _interval(share),
            "why": _why(objective, [columns[i] for i in group], group, found),
        }
        for field, group, share in zip(fields, groups, found.groups, strict=True)
    ]
    return {
        **head,
        "fields": sorted(shares, key=lambda one: -one["share"][0]),
        "rest": _interval(found.rest),
        "is_summarised": columns is not table.columns,
        "sample": _sample(table.columns, columns),
    }


def _interval(share: Sequence[float]) -> list[float | int | None]:
    return [short_number(round(one, 5)) for one in share]


def _missing(values: np.ndarray, table: _Table) -> str:
    if len(values) and np.ptp(values) == 0:
        return "all architectures have the same value"
    needed = 2 * (1 + sum(len(column.options) - 1 for column in table.summarised)) + 20
    return (
        f"{plural(len(values), 'architecture with a value is', 'architectures with a value are')} too few to tell the "
        f"effects of {plural(len(table.summarised), 'decision', 'decisions')} apart: it takes {needed:,}"
    )


def _why(objective: Objective, columns: Sequence[_Column], numbers: Sequence[int], found: Importance) -> str:
    """The decision of a field that matters most, and the option of it that does best by itself."""
    at = max(range(len(columns)), key=lambda i: found.decisions[numbers[i]])
    column, effects = columns[at], found.effects[numbers[at]]
    if np.isnan(effects).all() or found.decisions[numbers[at]] <= 0:
        return ""
    best = int(np.nanargmax(effects if objective.maximize else -effects))
    option = column.options[best] if not column.name.startswith("mean of") else f"its quarter {best + 1}"
    if len(columns) == 1:
        return f"best at {option}"
    return f"most by {column.name}, best at {option}"


def _sample(decisions: Sequence[_Column], used: Sequence[_Column]) -> str:
    """How evenly the options were tried, in words; empty if they were.

    Args:
        decisions: All decisions of the architectures.
        used: The columns of which shares are told.
    """
    told = []
    evenness = {column.name: _evenness(column) for column in decisions}
    worst = min(evenness, key=evenness.__getitem__)
    if evenness[worst] < _EVEN:
        told.append(
            f"The sample is biased: the searcher preferred some options, those of {worst} as if it had "
            f"{100 * evenness[worst]:.0f} % of them to choose from; shares are those of the region that it went to."
        )
    seen = np.concatenate([np.bincount(one.chosen[one.chosen != ABSENT], minlength=len(one.options)) for one in used])
    if unused := int((seen < LEAST_SEEN).sum()):
        told.append(f"{unused} of {len(seen)} options are in fewer than {LEAST_SEEN} architectures and do not count.")
    return " ".join(told)


def _evenness(column: _Column) -> float:
    """The number of options that, if alike often, would have the entropy of those seen, as a share of all options."""
    seen = np.bincount(column.chosen[column.chosen != ABSENT], minlength=len(column.options))
    shares = seen[seen > 0] / seen.sum()
    return float(np.exp(-(shares * np.log(shares)).sum()) / len(seen))
