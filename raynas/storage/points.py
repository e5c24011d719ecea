"""A run's rows as one point per architecture: its values, states and errors, in NumPy.

Letters: A architectures, M objectives.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import IntEnum
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa

from raynas.space.results import Constraint, Objective, Status

MISSING = -1
"""Status number of a score that has no row."""


class PointState(IntEnum):
    """What became of an architecture, as numbers that the page reads."""

    OK = 0
    INFEASIBLE = 1
    FAILED = 2
    UNSCORED = 3


class Failure(NamedTuple):
    """A row without a value."""

    point: int
    score: str
    status: str
    error: str


@dataclass(frozen=True)
class Points:
    """One entry per architecture, in the order of asking; those that no searcher asked for come last.

    Args:
        keys: The keys of the architectures.
        texts: The architectures as canonical JSON.
        candidates: (A,) the number under which each architecture was asked first, -1: by no searcher.
        values: (A,) the values of each score by name, NaN where there is none.
        statuses: (A,) the statuses of each score by name, as positions in `status_names`, or `MISSING`.
        status_names: All statuses in the rows.
        failures: Rows without a value.
        seconds, build_seconds: (A,) seconds that workers spent on each score by name, and those of them that building
            networks took; 0 for rows of other runs.
        reused: How many architectures have rows that were taken from other runs.
    """

    keys: list[str]
    texts: list[str]
    candidates: np.ndarray
    values: Mapping[str, np.ndarray]
    statuses: Mapping[str, np.ndarray]
    status_names: list[str]
    failures: list[Failure]
    seconds: Mapping[str, np.ndarray]
    build_seconds: Mapping[str, np.ndarray]
    reused: int

    def __len__(self) -> int:
        return len(self.keys)

    @classmethod
    def of(cls, table: pa.Table, names: Iterable[str]) -> Points:
        """Gather the rows of a store.

        Args:
            table: Rows with the schema of `raynas.storage.result_store.SCHEMA`; of several rows with one key the
                last counts.
            names: The scores, costs included.
        """
        table = table.unify_dictionaries().combine_chunks()
        encoded = _one_array(table["architecture_key"]).dictionary_encode()
        owner = encoded.indices.to_numpy(zero_copy_only=False).astype(np.int64)
        _, first = np.unique(owner, return_index=True)
        candidates = _numbers(table["candidate"], np.int64)[first]
        order = np.lexsort((candidates, candidates < 0))
        place = np.empty(len(order), np.int64)
        place[order] = np.arange(len(order))
        owner = place[owner]
        proxy, status = _one_array(table["proxy"]), _one_array(table["status"])
        score_of_row, status_of_row = (
            one.indices.to_numpy(zero_copy_only=False).astype(np.int64) for one in (proxy, status)
        )
        reused = table["reused"].to_numpy().astype(bool)
        value = _numbers(table["value"], np.float64)
        spent = {name: np.where(reused, 0.0, _numbers(table[name], np.float64)) for name in _TIMES}
        score_names, status_names = proxy.dictionary.to_pylist(), status.dictionary.to_pylist()
        values, statuses = {}, {}
        times: dict[str, dict[str, np.ndarray]] = {name: {} for name in _TIMES}
        for name in names:
            rows = np.flatnonzero(score_of_row == (score_names.index(name) if name in score_names else MISSING))
            values[name] = _placed(np.nan, owner[rows], value[rows], len(order))
            statuses[name] = _placed(MISSING, owner[rows], status_of_row[rows], len(order))
            for column, seconds in spent.items():
                times[column][name] = _placed(0.0, owner[rows], seconds[rows], len(order))
        bad = [number for number, name in enumerate(status_names) if name != Status.OK]
        failed = np.flatnonzero(np.isin(status_of_row, bad))
        errors = _one_array(table["error"]).take(pa.array(failed)).to_pylist()
        chosen = pa.array(first[order])
        return cls(
            _one_array(table["architecture_key"]).take(chosen).to_pylist(),
            _one_array(table["architecture"]).take(chosen).to_pylist(),
            candidates[order],
            values,
            statuses,
            status_names,
            [
                Failure(int(owner[row]), score_names[score_of_row[row]], status_names[status_of_row[row]], error or "")
                for row, error in zip(failed.tolist(), errors, strict=True)
            ],
            times["seconds"],
            times["build_seconds"],
            len(np.unique(owner[reused])),
        )

    def states(self, objectives: Sequence[Objective], constraints: Sequence[Constraint]) -> np.ndarray:
        """(A,) states; where nothing is asked of a run's scores, all that apply to an architecture are needed."""
        bounded = [constraint.name for constraint in constraints]
        needed = [objective.name for objective in objectives] + bounded if objectives else list(self.values)
        needed = [name for name in needed if name in self.values]
        statuses = np.array([self.statuses[name] for name in needed]).reshape(len(needed), len(self))
        ok = self.status_names.index(Status.OK) if Status.OK in self.status_names else len(self.status_names)
        states = np.full(len(self), PointState.OK, np.int8)
        states[(statuses == MISSING).any(axis=0)] = PointState.UNSCORED
        for constraint in constraints:
            known = self.values.get(constraint.name, np.full(len(self), np.nan)).tolist()
            # A NaN breaks every bound, so it is left out here.
            broken = [value == value and constraint.violation({constraint.name: value}) > 0 for value in known]
            states[np.array(broken, bool)] = PointState.INFEASIBLE
        lacks = (statuses != ok) & (statuses != MISSING)
        if not objectives and Status.NOT_APPLICABLE in self.status_names:
            is_optional = np.array([name not in bounded for name in needed], bool)
            lacks &= ~(is_optional[:, None] & (statuses == self.status_names.index(Status.NOT_APPLICABLE)))
        states[lacks.any(axis=0)] = PointState.FAILED
        return states


_TIMES = ("seconds", "build_seconds")


def _one_array(column: Any) -> Any:
    array = column.combine_chunks()
    # Older versions of Arrow return a chunked array here.
    return pa.concat_arrays(array.chunks) if isinstance(array, pa.ChunkedArray) else array


def _numbers(column: Any, kind: type) -> np.ndarray:
    return np.asarray(column.to_numpy()).astype(kind)


def _placed(empty: float, where: np.ndarray, what: np.ndarray, length: int) -> np.ndarray:
    placed = np.full(length, empty, what.dtype if len(what) else type(empty))
    placed[where] = what
    return placed
