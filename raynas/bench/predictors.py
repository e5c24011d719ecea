"""What is held against the labels of a truth table: proxies, baselines, and combinations of them, one value a row.

Letters: A architectures of the truth table.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

import numpy as np
import pyarrow as pa

from raynas.bench.combination import Combination
from raynas.bench.truth import DEPTH, WIDTH, Truth
from raynas.errors import UnknownNameError
from raynas.registry import normalised
from raynas.space.cost import COSTS
from raynas.space.results import Status
from raynas.storage.points import MISSING, Points

DEPTH_WIDTH = "depth*width"

BASELINES = (*COSTS, DEPTH, WIDTH, DEPTH_WIDTH)
"""What costs nothing to know. More of it counts as better, whatever a search would want of it."""

NOT_SCORED = "not_scored"
"""Status of an architecture that the run has not come to."""


class Kind(StrEnum):
    """What a predictor is."""

    PROXY = "proxy"
    BASELINE = "baseline"
    COMBINATION = "combination"


@dataclass(frozen=True)
class Predictor:
    """A score of all architectures.

    Args:
        name: The name of the score, or the text of the combination.
        kind: A proxy, a baseline or a combination.
        higher_is_better: Whether a larger value predicts a better architecture.
        values: (A,) the score's raw values, NaN where it has none.
        statuses: (A,) what became of each architecture's score.
        seconds: What one architecture took a worker, in the mean; None where the predictor needs no scoring.
    """

    name: str
    kind: Kind
    higher_is_better: bool
    values: np.ndarray
    statuses: tuple[str, ...]
    seconds: float | None = None

    @property
    def oriented(self) -> np.ndarray:
        """The values (A,), with the sign with which more is better."""
        return self.values if self.higher_is_better else -self.values

    @property
    def is_told_apart(self) -> bool:
        """Whether two architectures have different values."""
        known = self.values[np.isfinite(self.values)]
        return len(known) > 0 and bool(known.min() < known.max())

    @property
    def counts(self) -> dict[str, int]:
        """How many architectures have each status."""
        return dict(Counter(self.statuses))


def predictors(
    points: Points,
    evaluations: pa.Table,
    truth: Truth,
    directions: Mapping[str, str],
    combinations: Sequence[Combination] = (),
) -> list[Predictor]:
    """All that a run has scored, the counts that the truth table brings, and what is made of them.

    Args:
        points: The run's architectures with their scores; what is in the truth table alone has not been scored yet.
        evaluations: The rows of the run's store, for the seconds that scores took.
        truth: The truth table, whose architectures the predictors have values for.
        directions: The better end of each score by name, "max" or "min"; scores that are absent count as "max".
        combinations: Scores that are made one, by their names.
    """
    place = {key: position for position, key in enumerate(points.keys)}
    at = np.array([place.get(architecture.key, MISSING) for architecture in truth.architectures], np.int64)
    seconds = seconds_each(evaluations)
    found: dict[str, Predictor] = {}
    for name in points.values:
        is_baseline = name in BASELINES
        found[name] = Predictor(
            name,
            Kind.BASELINE if is_baseline else Kind.PROXY,
            is_baseline or directions.get(name) != "min",
            np.where(at == MISSING, np.nan, points.values[name][at]) if len(points) else np.full(len(at), np.nan),
            tuple(_status(points, name, position) for position in at.tolist()),
            None if is_baseline else seconds.get(name),
        )
    for name, values in _counted(truth).items():
        ok = tuple([str(Status.OK)] * len(truth))
        found.setdefault(name, Predictor(name, Kind.BASELINE, True, values, ok))
    for combination in combinations:
        found[combination.text] = _combined(combination, found)
    return list(found.values())


def idle_baselines(found: Sequence[Predictor]) -> dict[str, str]:
    """Baselines that say nothing of a truth table's architectures, by name, each with the reason in words.

    Those of which more may be known once all architectures are scored are not among them: `pending_baselines`.

    Args:
        found: What is held against the labels, as from `predictors`.
    """
    by_name = {one.name: one for one in found}
    reasons = {}
    for name in BASELINES:
        if name not in by_name:
            reasons[name] = _UNKNOWN.get(name, "not counted")
        elif not by_name[name].is_told_apart and NOT_SCORED not in by_name[name].statuses:
            has_values = bool(np.isfinite(by_name[name].values).any())
            reasons[name] = "the same for all architectures" if has_values else "no value"
    return reasons


def pending_baselines(found: Sequence[Predictor]) -> list[str]:
    """Baselines that may say something once more architectures are scored, while those that are have all one value.

    Args:
        found: What is held against the labels, as from `predictors`.
    """
    return [
        one.name for one in found if one.kind == Kind.BASELINE and not one.is_told_apart and NOT_SCORED in one.statuses
    ]


_UNKNOWN = {
    DEPTH: "the space has no field that is known to be it",
    WIDTH: "the space has no field that is known to be it",
    DEPTH_WIDTH: "one of the two is not known",
}


def known_names(scores: Sequence[str], truth: Truth) -> list[str]:
    """Names that a combination can be made of, for a run that computes these scores."""
    return list(dict.fromkeys([*scores, *_counted(truth)]))


def check_combinations(combinations: Sequence[Combination], known: Sequence[str]) -> None:
    """Refuse combinations of what is not there.

    Raises:
        UnknownNameError: A part of one is not there; the message names it, and what there is.
    """
    names = {normalised(name) for name in known}
    for combination in combinations:
        for part, _ in combination.parts:
            if normalised(part) not in names:
                raise UnknownNameError(
                    f"combination {combination.text!r}: {part!r} is not computed. What is: {', '.join(known)}"
                )


def seconds_each(evaluations: pa.Table) -> dict[str, float]:
    """Mean seconds of an architecture by score; what took none of its own, such as a second value, is absent."""
    plain = evaluations.select(["seconds"]).append_column("proxy", evaluations["proxy"].cast(pa.string()))
    rows = plain.group_by("proxy").aggregate([("seconds", "mean")]).to_pylist()
    return {row["proxy"]: row["seconds_mean"] for row in rows if row["seconds_mean"]}


def _counted(truth: Truth) -> dict[str, np.ndarray]:
    counts = dict(truth.counts)
    if DEPTH in counts and WIDTH in counts:
        counts[DEPTH_WIDTH] = counts[DEPTH] * counts[WIDTH]
    return counts


def _status(points: Points, name: str, position: int) -> str:
    number = MISSING if position == MISSING else int(points.statuses[name][position])
    return NOT_SCORED if number == MISSING else points.status_names[number]


def _combined(combination: Combination, found: Mapping[str, Predictor]) -> Predictor:
    by_name = {normalised(name): one for name, one in found.items()}
    parts = [by_name[normalised(name)] for name, _ in combination.parts]
    values = combination.values([part.values for part in parts], [part.higher_is_better for part in parts])
    lacking = str(Status.NOT_APPLICABLE)
    statuses = tuple(lacking if np.isnan(value) else str(Status.OK) for value in values.tolist())
    spent = [part.seconds for part in parts if part.seconds is not None]
    return Predictor(combination.text, Kind.COMBINATION, True, values, statuses, sum(spent) if spent else None)
