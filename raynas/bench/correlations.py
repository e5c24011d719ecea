"""How far predictors agree with labels: correlations with intervals, what is left given size, choices and regret.

Correlations are over the architectures for which the predictor has a value; choices are made among all that have the
label, where what has no value comes last. What is held against size, the lead and the partial tau, is over those whose
costs are known, too, as if there were no others. All columns are oriented, so that more is better and a positive
correlation is a good one.Resamples are of the architectures, the same ones for all predictors and labels,
so that differences of predictors have intervals too.

Letters: A architectures, P predictors, L labels, R resamples.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from raynas.bench.choices import choices
from raynas.bench.predictors import DEPTH_WIDTH, Kind, Predictor
from raynas.bench.truth import MIN_ROWS
from raynas.space.cost import COSTS
from raynas.space.results import Status
from raynas.stats.rank_correlation import interval, partial
from raynas.stats.resampling import Resampler, resampled_weights
from raynas.stats.rounding import without_rounding

MEASURES = ("tau", "rho", "r", "partial_tau")
"""Kendall's tau-b, Spearman's rho, Pearson's r, and the partial tau given num_params; each with _low and _high."""

GIVEN = "num_params"
TO_BEAT = (*COSTS, DEPTH_WIDTH)
"""A proxy is useful only if its tau is positive, and above that of each of these on the same architectures, beyond
chance: the interval of the difference lies above 0."""

_BOUNDED = [end for name in (*MEASURES, "lead") for end in (name, f"{name}_low", f"{name}_high")]

SCHEMA = pa.schema(
    [
        ("proxy", pa.string()),
        ("kind", pa.string()),
        ("label", pa.string()),
        ("within", pa.string()),  # field of the strata; null: all architectures
        ("stratum", pa.string()),  # null beside a field: the mean over its strata, by their numbers of architectures
        ("n", pa.int64()),  # architectures behind the correlations
        ("n_label", pa.int64()),  # that have the label
        ("n_sized", pa.int64()),  # architectures behind partial_tau and lead: of the n, those whose costs are known
        ("distinct", pa.int64()),  # values among the n
        *((name, pa.float64()) for name in _BOUNDED),  # lead: tau less the largest of those to beat
        ("useful", pa.bool_()),
        ("top_5pct", pa.float64()),  # share of the best that is chosen
        ("top_10pct", pa.float64()),
        ("top_k", pa.float64()),
        ("k", pa.int64()),
        ("regret", pa.float64()),  # of its first choice, in units of the label
        ("regret_scaled", pa.float64()),  # 0: the best was chosen, 1: the worst
        ("regret_top_k", pa.float64()),  # of the best among its first k
        ("regret_top_k_scaled", pa.float64()),
        ("higher_is_better", pa.bool_()),
        ("statuses", pa.string()),
        ("seconds", pa.float64()),  # for an architecture
    ]
)


@dataclass(frozen=True)
class StatisticsSettings:
    """What is computed of predictors and labels.

    Args:
        resamples: How often the architectures are drawn with replacement for the intervals.
        level: Probability that an interval covers, such as 0.95.
        seed: What the resampled architectures are drawn by.
        top: How many architectures one chooses by a predictor.
    """

    resamples: int = 1000
    level: float = 0.95
    seed: int = 0
    top: int = 10


def statistics(
    predictors: Sequence[Predictor],
    labels: Mapping[str, np.ndarray],
    strata: Mapping[str, Sequence[str]],
    settings: StatisticsSettings,
) -> pa.Table:
    """A row for each predictor and label; after it, for each field, one for the mean over its strata and one for each.

    Args:
        predictors: What is held against the labels; their values belong to the same architectures, in the same order.
        labels: (A,) values of each label by name, oriented, NaN where there is no value.
        strata: (A,) the stratum of each architecture, for each field by name.
        settings: Number and seed of the resamples, level of the intervals, and how many are chosen.
    """
    rows: dict[tuple[str, str], list[dict[str, Any]]] = {}
    for group, names, chosen in _complete(predictors, labels):
        columns = _Columns(group, [labels[name] for name in names], chosen, predictors)
        found = _correlations(columns, settings)
        inside = [entry for field, parts in strata.items() for entry in _within(columns, field, parts, settings)]
        for p, predictor in enumerate(group):
            for k, name in enumerate(names):
                label = labels[name]
                base = {"proxy": predictor.name, "kind": str(predictor.kind), "label": name}
                first = base | _at(found, p, k) | choices(predictor.oriented, label, settings.top) | _about(predictor)
                has_label = np.isfinite(label)
                first |= {
                    "n": int(chosen.sum()),
                    "n_label": int(has_label.sum()),
                    "n_sized": int(columns.sized.sum()),
                    "distinct": len(np.unique(predictor.values[chosen])),
                }
                if not math.isnan(first["lead"]):
                    first["useful"] = bool(first["lead_low"] > 0 and first["sized_tau"] > 0)
                del first["sized_tau"]
                rows[predictor.name, name] = [first, *(base | _at(entry, p, k) for entry in inside)]
    ordered = [row for predictor in predictors for name in labels for row in rows[predictor.name, name]]
    return pa.Table.from_pylist([{name: _plain(value) for name, value in row.items()} for row in ordered], SCHEMA)


def _complete(
    predictors: Sequence[Predictor], labels: Mapping[str, np.ndarray]
) -> Iterator[tuple[list[Predictor], list[str], np.ndarray]]:
    """Predictors and labels that have values for the same architectures, and which those are (A,)."""
    by_label: dict[bytes, list[str]] = {}
    for name, column in labels.items():
        by_label.setdefault(np.isfinite(column).tobytes(), []).append(name)
    for names in by_label.values():
        has_label = np.isfinite(labels[names[0]])
        by_rows: dict[bytes, list[Predictor]] = {}
        for predictor in predictors:
            chosen = has_label & np.isfinite(predictor.values)
            by_rows.setdefault(chosen.tobytes(), []).append(predictor)
        for rows, group in by_rows.items():
            yield group, names, np.frombuffer(rows, bool)


class _Columns:
    """Predictors and labels on the architectures that have all of them.

    Args:
        group: Predictors that have a value for the same architectures.
        labels: (A,) values of each label, oriented.
        chosen: (A,) which architectures have a value by these predictors and labels.
        everything: All predictors, among which are those to compare with, which count if they have any values.
    """

    def __init__(
        self,
        group: Sequence[Predictor],
        labels: Sequence[np.ndarray],
        chosen: np.ndarray,
        everything: Sequence[Predictor],
    ) -> None:
        known = {one.name: one.oriented for one in everything if one.name in TO_BEAT and np.isfinite(one.values).any()}
        given = [known[GIVEN]] if GIVEN in known else []
        self.chosen = chosen
        self.has_costs: np.ndarray = np.isfinite([*known.values()] or np.full((1, len(chosen)), np.nan)).all(axis=0)  # type: ignore[assignment]
        self.sized = chosen & self.has_costs
        self.num_own, self.num_labels = len(group), len(labels)
        self.num_to_beat, self.has_given = len(known), bool(given)
        self.is_rival = np.array([one.kind != Kind.BASELINE for one in group])
        self._own, self._labels = [one.oriented for one in group], list(labels)
        self._costs, self._given = [*known.values(), *given], given

    def drawn(
        self, rows: np.ndarray, measures: Sequence[str], settings: StatisticsSettings, *, compare: bool = False
    ) -> dict[str, np.ndarray]:
        """Measures on these rows (A,), and then on their part of each resample: (1 + R, own, labels) by name.

        Args:
            rows: (A,) which architectures count.
            measures: Names of the measures, tau among them.
            settings: Number and seed of the resamples.
            compare: Whether to add partial_tau and the lead over what is to be beaten, with tau as sized_tau.
                Costs are known for all rows then, and resamples are drawn of the architectures whose costs are known.
        """
        at = np.flatnonzero(rows)
        first = [*self._own, *self._costs] if compare else self._own
        second = [*self._labels, *self._given] if compare else self._labels
        sampler = Resampler([column[at] for column in first], [column[at] for column in second])
        parts: dict[str, list[np.ndarray]] = {name: [] for name in measures}
        among: np.ndarray = self.has_costs if compare else np.ones(len(rows), bool)
        for weights in self._weights(rows, among, settings):
            for name, found in parts.items():
                found.append(getattr(sampler, name)(weights))
        whole = {name: np.concatenate(found) for name, found in parts.items()}
        result = {name: values[:, : self.num_own, : self.num_labels] for name, values in whole.items()}
        if compare:
            result |= {"sized_tau": result["tau"], **self._compared(whole["tau"])}
        return {name: without_rounding(values) for name, values in result.items()}

    @staticmethod
    def _weights(rows: np.ndarray, among: np.ndarray, settings: StatisticsSettings) -> Iterator[np.ndarray]:
        """How often each of the rows is drawn, at first once, and then in each resample of those among them."""
        yield np.ones((1, int(rows.sum())))
        for weights in resampled_weights(int(among.sum()), settings.resamples, settings.seed):
            yield weights[:, rows[among]]

    def _compared(self, tau: np.ndarray) -> dict[str, np.ndarray]:
        own, labels = self.num_own, self.num_labels
        result = {}
        if self.has_given:
            with_own, with_labels = tau[:, :own, labels:], tau[:, -1:, :labels]
            result["partial_tau"] = partial(tau[:, :own, :labels], with_own, with_labels)
        if self.num_to_beat:
            best = np.nan_to_num(tau[:, own : own + self.num_to_beat, :labels], nan=-math.inf).max(
                axis=1, keepdims=True
            )
            is_known = np.isfinite(best) & self.is_rival[:, None]
            result["lead"] = np.where(is_known, tau[:, :own, :labels] - best, math.nan)
        return result


def _correlations(columns: _Columns, settings: StatisticsSettings) -> dict[str, np.ndarray]:
    """Measures and lead with their intervals, and tau among what has costs, each (P, L)."""
    empty = np.full((columns.num_own, columns.num_labels), math.nan)
    found = dict.fromkeys((*_BOUNDED, "sized_tau"), empty)
    is_sized = bool(columns.has_costs.all())
    drawn: dict[str, np.ndarray] = {}
    if columns.chosen.sum() >= MIN_ROWS:
        drawn = columns.drawn(columns.chosen, ("tau", "rho", "r"), settings, compare=is_sized)
    if not is_sized and columns.sized.sum() >= MIN_ROWS:
        compared = columns.drawn(columns.sized, ("tau",), settings, compare=True)
        drawn = {**compared, **drawn}
    found |= {"sized_tau": drawn.pop("sized_tau")[0]} if "sized_tau" in drawn else {}
    for name, values in drawn.items():
        found |= _bounded(name, values, settings.level)
    return found


def _within(columns: _Columns, field: str, parts: Sequence[str], settings: StatisticsSettings) -> list[dict[str, Any]]:
    """The mean of tau over the strata of a field, by their numbers of architectures, and tau in each stratum."""
    every = np.array(parts)
    names = sorted(set(parts), key=_natural)
    entries: list[dict[str, Any]] = []
    total, count = 0.0, 0.0
    for name in names:
        rows = columns.chosen & (every == name)
        n = int(rows.sum())
        entry: dict[str, Any] = {"within": field, "stratum": name, "n": n}
        if n >= MIN_ROWS:
            tau = columns.drawn(rows, ("tau",), settings)["tau"]
            entry |= _bounded("tau", tau, settings.level)
            total, count = total + n * np.nan_to_num(tau), count + n * ~np.isnan(tau)
        entries.append(entry)
    mean: dict[str, Any] = {"within": field, "n": int(columns.chosen.sum())}
    if np.any(count):
        with np.errstate(invalid="ignore"):
            mean |= _bounded("tau", np.asarray(total / count), settings.level)
        mean["n"] = np.asarray(count)[0].astype(int)
    return [mean, *entries]


def _bounded(name: str, values: np.ndarray, level: float) -> dict[str, np.ndarray]:
    """A measure (1 + R, P, L) with the ends of its interval, each (P, L)."""
    _, own, labels = values.shape
    ends = np.array(
        [
            [
                interval(values[1:, p, k], level) if np.isfinite(values[0, p, k]) else (math.nan, math.nan)
                for k in range(labels)
            ]
            for p in range(own)
        ]
    )
    return {name: values[0], f"{name}_low": ends[:, :, 0], f"{name}_high": ends[:, :, 1]}


def _about(predictor: Predictor) -> dict[str, Any]:
    counts = sorted(predictor.counts.items(), key=lambda item: (item[0] != Status.OK, -item[1]))
    return {
        "higher_is_better": predictor.higher_is_better,
        "statuses": ", ".join(f"{count} {status}" for status, count in counts),
        "seconds": predictor.seconds,
    }


def _at(values: Mapping[str, Any], p: int, k: int) -> dict[str, Any]:
    return {name: value[p, k] if isinstance(value, np.ndarray) else value for name, value in values.items()}


def _plain(value: Any) -> Any:
    """numpy's numbers as Python's, NaN as None."""
    value = value.item() if isinstance(value, np.generic) else value
    return None if isinstance(value, float) and math.isnan(value) else value


def _natural(text: str) -> tuple[Any, ...]:
    """Numbers by size, before texts."""
    try:
        return (0, [float(part) for part in text.split()])
    except ValueError:
        return (1, text)
