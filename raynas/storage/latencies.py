"""Latency over a space, predicted from what a run has measured."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from scipy.stats import spearmanr

from raynas.errors import ConfigError, StoreError
from raynas.interruption import resuming_line
from raynas.seeds import seed_from
from raynas.space.architecture import Architecture
from raynas.space.features import Features
from raynas.space.search_space import SearchSpace
from raynas.stats.gaussian_process import GaussianProcess
from raynas.stats.intervals import widening
from raynas.storage.learned import LATENCY, RATIO, is_learned
from raynas.storage.paths import as_path
from raynas.storage.points import Points
from raynas.storage.run_folder import holds_run, kind_of, read_description, reading
from raynas.storage.runs import Run, load_run
from raynas.wording import percent, plural, settings_text

PREDICTED = "predicted_latency_ms"
"""The cost that is predicted from it."""
LEAST_MEASUREMENTS = 10
LEVEL = 0.9
"""The share of other measurements that an interval is to hold."""
_DIGITS = 5  # more would differ with the order in which a library adds up
_SAMPLE = 200


class Prediction(NamedTuple):
    """What another measurement of an architecture's latency is expected to give, in milliseconds."""

    latency_ms: float
    low_ms: float  # lower end of the interval that holds it with a probability of LEVEL
    high_ms: float


class Quality(NamedTuple):
    """How well each measurement is predicted by all others."""

    spearman_rho: float
    covered: float  # share of the measurements that their interval holds
    error: float  # median of the differences, as a share of the measurement
    reach: float  # median of how far intervals reach above the prediction, as a share of it


@dataclass(frozen=True)
class LatencyPredictor:
    """A Gaussian process of logarithms of latencies, over the architectures of a space.

    Args:
        space: The space.
        img_size, num_classes: What architectures were measured with.
        architectures: What was measured, n architectures, in their order.
        latencies_ms: (n,) milliseconds: medians of passes; or, where a reference was measured, too, the ratios to it at
            the run's median pace.
        conditions: Settings that were measured with, by name, such as batch_size.
    """

    space: SearchSpace
    img_size: int
    num_classes: int
    architectures: tuple[Architecture, ...]
    latencies_ms: tuple[float, ...]
    conditions: Mapping[str, Any] = field(default_factory=dict)

    @property
    def measurements_hash(self) -> str:
        """16 hexadecimal digits that change with what was measured, at what size."""
        measured = zip((one.key for one in self.architectures), map(repr, self.latencies_ms), strict=True)
        return f"{seed_from(self.img_size, self.num_classes, *(text for pair in measured for text in pair)):016x}"

    def __call__(self, architecture: Architecture, img_size: int, num_classes: int) -> float:
        """The predicted latency in milliseconds: a closed form, as those of costs are."""
        return self.predict([architecture])[0].latency_ms

    def predict(self, architectures: Sequence[Architecture]) -> list[Prediction]:
        """What other measurements of some architectures are expected to give."""
        belief = self._model.predict(self._features(architectures))
        ends = [belief.mean + sign * self._widening * belief.deviation for sign in (0, -1, 1)]
        return [Prediction(*map(_rounded, row)) for row in np.exp(np.transpose(ends)).tolist()]

    def left_out(self) -> list[Prediction]:
        """What each measurement is expected to give, given all others."""
        mean, deviation = self._left_out
        ends = [mean + sign * self._widening * deviation for sign in (0, -1, 1)]
        return [Prediction(*map(_rounded, row)) for row in np.exp(np.transpose(ends)).tolist()]

    def quality(self) -> Quality:
        """How well measurements are predicted that the predictor has not seen."""
        measured, found = np.array(self.latencies_ms), self.left_out()
        predicted = np.array([one.latency_ms for one in found])
        is_covered = [one.low_ms <= ms <= one.high_ms for one, ms in zip(found, self.latencies_ms, strict=True)]
        return Quality(
            float(spearmanr(predicted, measured).statistic),
            float(np.mean(is_covered)),
            float(np.median(np.abs(predicted / measured - 1))),
            float(np.median([one.high_ms / one.latency_ms - 1 for one in found])),
        )

    def described(self) -> dict[str, Any]:
        """What is predicted from and how well, as plain values, which `described_in_words` takes."""
        return {
            "measurements": len(self.latencies_ms),
            "conditions": dict(self.conditions),
            "quality": self.quality()._asdict(),
        }

    @cached_property
    def _features(self) -> Features:
        return Features(self.space, img_size=self.img_size, num_classes=self.num_classes)

    @cached_property
    def _inputs(self) -> np.ndarray:
        return self._features(self.architectures)

    @cached_property
    def _reference(self) -> np.ndarray:
        rng = np.random.default_rng(0)
        return self._features([self.space.sample(rng) for _ in range(_SAMPLE)])

    @cached_property
    def _model(self) -> GaussianProcess:
        return self._fitted(np.ones(len(self.latencies_ms), bool))

    def _fitted(self, taken: np.ndarray, near: GaussianProcess | None = None) -> GaussianProcess:
        return GaussianProcess(
            self._inputs[taken],
            np.log(np.array(self.latencies_ms)[taken]),
            self._features.groups,
            reference=self._reference,
            start=None if near is None else near.hyperparameters,
        )

    @cached_property
    def _left_out(self) -> tuple[np.ndarray, np.ndarray]:
        """(n,) means and (n,) deviations of log latencies, each by a model that is fitted to all others.

        Were hyperparameters kept that the measurement itself has helped to fit, intervals would come out too short.
        """
        everything = np.arange(len(self.latencies_ms))
        beliefs = [
            self._fitted(everything != left, self._model).predict(self._inputs[left : left + 1]) for left in everything
        ]
        return np.array([one.mean[0] for one in beliefs]), np.array([one.deviation[0] for one in beliefs])

    @cached_property
    def _widening(self) -> float:
        mean, deviation = self._left_out
        return widening((np.log(self.latencies_ms) - mean) / deviation, LEVEL)


def latency_predictor(run: Run | str | Path, space: SearchSpace | None = None) -> LatencyPredictor:
    """The predictor that follows from the latencies that a run has measured.

    Args:
        run: The run of `raynas latency SPACE`, or any search or scoring run with latencies, or its folder.
        space: The space itself, where it is not a registered one.

    Raises:
        StoreError: The folder holds no such run, one that has not ended, or one with too few latencies.
    """
    run = run if isinstance(run, Run) else _measured_run(run)
    with reading(run.folder):
        config, scores = run.description["config"], run.description["identity"]["scores"]
        if LATENCY not in scores:
            raise StoreError(
                f"{run.folder} has no latencies to predict from; `raynas latency SPACE --out DIR` measures some"
            )
        if run.summary.get("status") in ("running", "interrupted", "failed", None):
            status = run.summary.get("status", "not over")
            way_on = resuming_line("latency", run.folder) if is_learned(run.description["identity"]) else "resume it"
            raise StoreError(f"the run in {run.folder} is {status}, and predicted from once it is over: {way_on}")
        of_run = space or run.space
        points = Points.of(run.evaluations, [name for name in (LATENCY, RATIO) if name in scores])
        values = points.values[LATENCY]
        if RATIO in scores:
            values = at_one_pace(values, points.values[RATIO])
        known = np.flatnonzero(np.isfinite(values) & (values > 0)).tolist()
        if len(known) < LEAST_MEASUREMENTS:
            raise StoreError(
                f"{run.folder} has measured {len(known)} architectures; a predictor takes {LEAST_MEASUREMENTS} at least"
            )
        settings = json.loads(scores[LATENCY]["settings"])
        platform = run.description.get("platform") or {}
        return LatencyPredictor(
            of_run,
            int(config["img_size"]),
            int(config["num_classes"]),
            tuple(of_run.read(json.loads(points.texts[i])) for i in known),
            tuple(values[known].tolist()),
            {**settings, "threads": platform.get("threads"), "device": platform.get("device_type")},
        )


def read_predictor(folder: str | Path, space: SearchSpace, *, img_size: int, num_classes: int) -> LatencyPredictor:
    """The predictor of a folder, for a search of a space.

    Args:
        folder: The folder of the run that has measured.
        space: What is searched.
        img_size, num_classes: What networks are built with there.

    Raises:
        StoreError: There is no such predictor.
        ConfigError: It is of other networks.
    """
    run = _measured_run(folder)
    with reading(run.folder):
        identity = run.description["identity"]
        there = {name: identity[name] for name in ("space", "space_fields", "img_size", "num_classes", "model_version")}
    here = {
        "space": space.name,
        "space_fields": space.fingerprint,
        "img_size": img_size,
        "num_classes": num_classes,
        "model_version": space.model_version,
    }
    for name, value in here.items():
        if there[name] != value:
            raise ConfigError(
                f"latency {str(folder)!r} was measured with {name} {there[name]}, and this run has {value}"
            )
    return latency_predictor(run, space)


def _measured_run(folder: str | Path) -> Run:
    if (kind := kind_of(read_description(as_path(folder)))) != "search":
        raise StoreError(
            f"{folder} holds a run of the kind {kind}; latencies are predicted from the folder of "
            "`raynas latency SPACE`"
        )
    return load_run(folder)


def described_in_words(described: Mapping[str, Any]) -> str:
    """What `LatencyPredictor.described` returns, in words that continue "predicted "."""
    conditions = {name: value for name, value in described["conditions"].items() if value is not None}
    device = conditions.pop("device", "a device that is not told")
    quality = Quality(**described["quality"])
    return (
        f"from {plural(int(described['measurements']), 'measurement', 'measurements')} on {device} "
        f"({settings_text(conditions)}); left out, these are predicted with Spearman's rho {quality.spearman_rho:.3f} "
        f"and a median error of {percent(quality.error, 1)}, and {percent(LEVEL, 0)} intervals reach "
        f"{percent(quality.reach, 1)} above the prediction"
    )


def holds_predictor(folder: Path) -> bool:
    """Whether the run in a folder was made to predict latencies from."""
    if not holds_run(folder):
        return False
    description = read_description(folder)
    return kind_of(description) == "search" and is_learned(description["identity"])


def at_one_pace(latencies_ms: np.ndarray, ratios: np.ndarray) -> np.ndarray:
    """Latencies as they would be, had the machine been as fast all the time as it was in the median.

    Args:
        latencies_ms: (n,) medians of measurements, in milliseconds, or NaN.
        ratios: (n,) geometric means of passes, each over that of a reference.

    Returns:
        (n,) milliseconds.
    """
    references = latencies_ms / ratios
    known = references[np.isfinite(references)]
    return ratios * float(np.median(known)) if len(known) else latencies_ms


def _rounded(value: float) -> float:
    return float(f"{value:.{_DIGITS}g}")
