"""Which architectures of a search are the best; torch and Ray are not needed."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import numpy as np

from raynas.errors import ConfigError
from raynas.space.architecture import Architecture
from raynas.space.results import Constraint, Objective, violations
from raynas.stats.pareto import pareto_front
from raynas.storage.run_folder import kind_of, read_description, reading
from raynas.storage.runs import load_run


class Finalist(NamedTuple):
    """One of the best of a search.

    Args:
        name: The name of its folder: its rank and the beginning of its key.
        architecture: The architecture as a value.
        scores: Scores that the architecture had in the search, by name.
    """

    name: str
    architecture: Architecture
    scores: dict[str, float]


def finalists(source: Path, top: int) -> list[Finalist]:
    """The best architectures of a search that ended, or goes on.

    Ranked by its objective; with several, the front comes first, then the front of the others, each in the order of the
    first objective. What violates a constraint is left out.

    Raises:
        StoreError: The folder holds no run.
        ConfigError: It holds no search with an objective, or too few architectures with values.
    """
    kind = kind_of(read_description(source))
    if kind != "search":
        raise ConfigError(f"{source} holds a run of the kind {kind}; finalists come from a search")
    with reading(source):
        return _best(source, top)


def _best(source: Path, top: int) -> list[Finalist]:
    run = load_run(source)
    identity = run.description["identity"]
    objectives = [Objective.parse(text) for text in identity["objectives"]]
    if not objectives:
        raise ConfigError(f"{source} holds scores without an objective: nothing says which are the best")
    constraints = tuple(Constraint.parse(text) for text in identity["constraints"])
    rows = []
    for row in run.table.to_pylist():
        scores = {name: row[name] for name in identity["scores"] if row[name] is not None}
        is_scored = all(objective.name in scores for objective in objectives)
        if is_scored and not violations(constraints, scores):
            rows.append((Architecture.from_json(row["architecture"]), scores))
    if len(rows) < top:
        raise ConfigError(f"{source} holds {len(rows)} feasible architectures with all objectives; --top is {top}")
    losses = np.array([[-objective.oriented(scores) for objective in objectives] for _, scores in rows])
    return [
        Finalist(f"{rank:02d}-{rows[i][0].key[:8]}", *rows[i]) for rank, i in enumerate(_ranked(losses)[:top], start=1)
    ]


def _ranked(losses: np.ndarray) -> list[int]:
    """Positions of (A, M) losses, front by front."""
    if losses.shape[1] == 1:
        return [int(i) for i in np.argsort(losses[:, 0], kind="stable")]
    left = np.arange(len(losses))
    order: list[int] = []
    while len(left):
        front = left[pareto_front(losses[left])]
        order += [int(i) for i in front]
        left = np.setdiff1d(left, front)
    return order
