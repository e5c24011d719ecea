"""Benchmarks of proxies: run folders that hold a truth table beside the scores, and what follows from the two.

The folder is that of a scoring run and holds four files more: `truth.parquet` and `bench.yaml`, written when scoring
starts, and, once it ends, `correlations.parquet` and `scores.parquet`, which follow from all that is stored and can be
made again without scoring. Neither torch nor Ray is imported here.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from hashlib import blake2b
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import yaml

from raynas.bench.combination import Combination
from raynas.bench.config import BenchSettings
from raynas.bench.correlations import StatisticsSettings, statistics
from raynas.bench.predictors import Predictor, predictors
from raynas.bench.truth import Truth, load_truth, stratum, write_truth
from raynas.errors import StoreError, error_words
from raynas.notebook import MOST_ROWS, html_table
from raynas.space.results import Objective
from raynas.storage.files import exists, names_in, read_bytes, write_atomically, write_text
from raynas.storage.parquet import read_parquet, write_parquet
from raynas.storage.paths import as_path
from raynas.storage.points import Points
from raynas.storage.text_files import read_yaml

if TYPE_CHECKING:
    from raynas.storage.runs import Run

SETTINGS = "bench.yaml"
TRUTH = "truth.parquet"
CORRELATIONS = "correlations.parquet"
SCORES = "scores.parquet"

_VERSION = 3  # raised when the same scores give other statistics
_STATE = b"state"
_SHOWN_ONLY = {"title", "aggregates_only"}


@dataclass(frozen=True, repr=False)
class Bench:
    """A benchmark's folder, read.

    Args:
        run: The scoring run under it, read.
        settings: Labels, strata and combinations that the scores are held against.
        truth: The truth table: what the architectures reached.
        about: The file that the truth table came from, and the proxies that were left out.
    """

    run: Run
    settings: BenchSettings
    truth: Truth
    about: Mapping[str, Any]

    def __repr__(self) -> str:
        status = self.run.summary.get("status", "unknown")
        return f"Bench({str(self.folder)!r}, {status}, {len(self.truth)} architectures)"

    def _repr_html_(self) -> str:
        table = self.correlations
        return html_table(repr(self), table.slice(0, MOST_ROWS).to_pylist(), len(table))

    @property
    def folder(self) -> Path:
        """The folder of the benchmark."""
        return self.run.folder

    @cached_property
    def labels(self) -> dict[str, Objective]:
        """The labels that are asked for, by name."""
        return {label.name: label for label in parsed_labels(self.settings)}

    @cached_property
    def oriented_labels(self) -> dict[str, np.ndarray]:
        """Values (A,) of each label by name, with the sign with which more is better."""
        return {
            name: self.truth.labels[name] if label.maximize else -self.truth.labels[name]
            for name, label in self.labels.items()
        }

    @cached_property
    def combinations(self) -> list[Combination]:
        """The combinations that are asked for."""
        texts = dict.fromkeys(self.settings.combine)
        return [Combination.parse(text, self.settings.combine_by) for text in texts]

    @cached_property
    def points(self) -> Points:
        """The run's scores."""
        return Points.of(self.run.evaluations, self.run.description["identity"].get("scores") or {})

    @cached_property
    def predictors(self) -> list[Predictor]:
        """What is held against the labels, with values in the order of the truth table."""
        directions = self.run.description.get("directions") or {}
        return predictors(self.points, self.run.evaluations, self.truth, directions, self.combinations)

    @cached_property
    def strata(self) -> dict[str, list[str]]:
        """For each field by name, the stratum of each architecture, (A,)."""
        return {
            field: [stratum(architecture, field) for architecture in self.truth.architectures]
            for field in self.settings.within
        }

    @cached_property
    def correlations(self) -> pa.Table:
        """One row per predictor and label, and per stratum; see `raynas.bench.correlations.SCHEMA`."""
        stored = _current(self.folder / CORRELATIONS, self.state)
        if stored is not None:
            return stored
        settings = self.settings
        asked = StatisticsSettings(
            settings.resamples, settings.level, int(self.run.description["config"]["seed"]), settings.top
        )
        return statistics(self.predictors, self.oriented_labels, self.strata, asked)

    @cached_property
    def scores(self) -> pa.Table:
        """One row per architecture: its fields, labels, scores and statuses, in columns field.NAME, label.NAME, ..."""
        truth = self.truth
        names = list(truth.architectures[0])
        columns: dict[str, Any] = {
            "row": truth.rows,
            "merged": truth.merged,
            "architecture_key": [architecture.key for architecture in truth.architectures],
            "text": list(truth.texts),
        }
        for name in names:
            columns[f"field.{name}"] = _column([architecture[name] for architecture in truth.architectures])
        columns |= {f"label.{name}": pa.array(column, from_pandas=True) for name, column in truth.labels.items()}
        for one in self.predictors:
            columns[f"score.{one.name}"] = pa.array(one.values, from_pandas=True)
            columns[f"status.{one.name}"] = pa.array(one.statuses).dictionary_encode()
        return pa.table(columns)

    @cached_property
    def state(self) -> str:
        """A text that changes with everything that the statistics follow from."""
        parts = [name for name in names_in(self.folder / "evaluations") if name.startswith("part-")]
        settings = self.settings.model_dump(exclude=_SHOWN_ONLY)
        seed = self.run.description["config"]["seed"]
        text = json.dumps([_VERSION, parts, settings, seed], sort_keys=True)
        return blake2b(text.encode() + read_bytes(self.folder / TRUTH), digest_size=8).hexdigest()

    def write(self) -> None:
        """Put both tables into the folder, unless what is there is of this state.

        Raises:
            StoreError: It cannot be written.
        """
        for name, table in ((CORRELATIONS, "correlations"), (SCORES, "scores")):
            path = self.folder / name
            if _current(path, self.state) is not None:
                continue
            made: pa.Table = getattr(self, table)
            try:
                with write_atomically(path) as file:
                    write_parquet(file, made.replace_schema_metadata({_STATE: self.state}))
            except OSError as error:
                raise StoreError(f"cannot write {path}: {error_words(error)}") from error


def parsed_labels(settings: BenchSettings) -> list[Objective]:
    """The columns of the truth table that are asked for, with the end of each that is the better one.

    Raises:
        ConfigError: A text has another form than NAME, NAME:max or NAME:min.
    """
    return [Objective.parse(text, "a label") for text in settings.labels]


def is_bench(folder: Path) -> bool:
    """Whether a run folder holds a truth table."""
    return exists(folder / SETTINGS)


def load_bench(folder: str | Path) -> Bench:
    """Read a benchmark's folder, finished or not.

    Raises:
        StoreError: It holds no benchmark.
    """
    from raynas.storage.runs import load_run

    folder = as_path(folder)
    if not is_bench(folder):
        raise StoreError(f"{folder} holds no benchmark of proxies: it has no {SETTINGS}")
    settings, about = read_settings(folder)
    return Bench(load_run(folder), settings, load_truth(folder / TRUTH), about)


def write_inputs(folder: Path, settings: BenchSettings, truth: Truth, about: Mapping[str, Any]) -> None:
    """Put into a run folder what its scores will be held against.

    Raises:
        StoreError: It cannot be written.
    """
    write_truth(folder / TRUTH, truth)
    values = {name: list(value) if isinstance(value, tuple) else value for name, value in settings.model_dump().items()}
    write_text(folder / SETTINGS, yaml.safe_dump({"settings": values, "about": dict(about)}, sort_keys=False))


def read_settings(folder: Path) -> tuple[BenchSettings, dict[str, Any]]:
    """What is asked of a folder's scores, and what is known of its truth table.

    Raises:
        StoreError: The file is missing or damaged.
    """
    path = folder / SETTINGS
    try:
        content = read_yaml(path)
        return BenchSettings.make(content["settings"]), dict(content["about"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise StoreError(f"cannot read {path}: {error_words(error)}") from None


def _current(path: Path, state: str) -> pa.Table | None:
    """A stored table, if it is of this state."""
    try:
        table = read_parquet(path)
    except (OSError, pa.ArrowException):
        return None
    return table if (table.schema.metadata or {}).get(_STATE, b"").decode() == state else None


def _column(values: Sequence[Any]) -> pa.Array:
    """Values of a field; as text where their types differ."""
    plain = [list(value) if isinstance(value, tuple) else value for value in values]
    try:
        return pa.array(plain)
    except pa.ArrowInvalid:
        return pa.array([json.dumps(value) for value in plain])
