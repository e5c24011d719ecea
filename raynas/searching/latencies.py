"""Latency in searches: its names, and the cost that it becomes once a folder of measurements is named."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from raynas.errors import ConfigError
from raynas.searching.config import RunConfig
from raynas.searching.scores import Score
from raynas.space.results import Constraint, Objective, ScoreIdentity, named_direction
from raynas.space.search_space import SearchSpace
from raynas.storage.latencies import PREDICTED, LatencyPredictor, described_in_words, read_predictor
from raynas.storage.learned import LATENCY


def predicted_costs(config: RunConfig) -> tuple[str, ...]:
    """Names of the costs that are predicted."""
    return () if config.latency is None else (PREDICTED,)


def with_latency_named(config: RunConfig) -> RunConfig:
    """The configuration with the full names of latencies in its objectives and bounds.

    What is called latency alone is the predicted one where there are measurements to predict from, else the one that
    is measured of each architecture.

    Raises:
        ConfigError: A predicted one is asked for, and there is nothing to predict from.
    """
    full = {"latency": LATENCY if config.latency is None else PREDICTED, "predicted_latency": PREDICTED}

    def objective(text: str) -> str:
        name, maximize = named_direction(text)
        if name not in full:
            return text
        return full[name] if maximize is None else str(Objective(full[name], maximize))

    def constraint(text: str) -> str:
        bound = Constraint.parse(text)
        return str(replace(bound, name=full[bound.name])) if bound.name in full else text

    def band(text: str) -> str:
        name, colon, bounds = text.partition(":")
        return full.get(name, name) + colon + bounds

    named = config.resolved(
        objectives=None if config.objectives is None else tuple(map(objective, config.objectives)),
        constraints=tuple(map(constraint, config.constraints)),
        bands=tuple(map(band, config.bands)),
    )
    asked = [*(named.objectives or ()), *named.constraints, *named.bands]
    if config.latency is None and any(text.startswith(PREDICTED) for text in asked):
        raise ConfigError(
            f"{PREDICTED} needs measurements to predict from: --latency takes the folder of `raynas latency SPACE`"
        )
    return named


def with_predicted(config: RunConfig, space: SearchSpace) -> tuple[SearchSpace, tuple[Score, ...]]:
    """The space with what a run predicts as costs of its architectures, and the scores of these names.

    Args:
        config: What was asked for, with `img_size` and `num_classes`.
        space: The space that architectures come from.

    Raises:
        StoreError: The folder to predict from holds no measurements.
        ConfigError: They are of other networks.
    """
    if config.latency is None:
        return space, ()
    assert config.img_size is not None and config.num_classes is not None
    predictor = read_predictor(config.latency, space, img_size=config.img_size, num_classes=config.num_classes)
    settings: Mapping[str, str] = {"measurements": predictor.measurements_hash}
    identity = ScoreIdentity(
        space.name,
        config.img_size,
        config.num_classes,
        space.model_version,
        PREDICTED,
        settings=json.dumps(settings),
    )
    return replace(space, more_costs={PREDICTED: predictor}), (Score(PREDICTED, identity, False, None),)


def described_predictions(space: SearchSpace) -> dict[str, dict[str, Any]]:
    """What the predicted costs of a space are predicted from and how well, by their names.

    Args:
        space: What `with_predicted` returns.
    """
    return {name: cost.described() for name, cost in space.more_costs.items() if isinstance(cost, LatencyPredictor)}


def prediction_lines(space: SearchSpace) -> tuple[str, ...]:
    """The same for people, a line for each."""
    found = described_predictions(space)
    return tuple(f"{name} is predicted {described_in_words(one)}" for name, one in found.items())
