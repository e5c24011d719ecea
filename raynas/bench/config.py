"""What a benchmark of proxies can be told beyond what a scoring run can: labels, strata, combinations."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from pydantic import Field

from raynas.config import Config
from raynas.errors import ConfigError
from raynas.searching.config import RunConfig
from raynas.stats.combination import METHODS

Method = Literal["log_rank", "rank_sum", "min_max"]


class BenchSettings(Config):
    """What is asked of the scores once they are there; it can change without scoring anything again."""

    labels: tuple[str, ...] = Field((), description="columns of the truth table: NAME, NAME:max or NAME:min")
    within: tuple[str, ...] = Field((), description="fields; correlations are also told within their values")
    combine: tuple[str, ...] = Field((), description="such as dss+tvt or 0.25*a+0.75*b:min_max")
    combine_by: Method = "log_rank"
    resamples: int = Field(1000, ge=10, description="of the rows, for intervals")
    level: float = Field(0.95, gt=0, lt=1, description="of the intervals")
    top: int = Field(10, ge=1, description="how many architectures a proxy may choose")
    title: str | None = None
    aggregates_only: bool = Field(False, description="keep single architectures out of the page")


class BenchConfig(RunConfig, BenchSettings):
    """Everything that a benchmark of proxies can be told."""

    truth: str | None = Field(None, description="CSV: a column for each field, and labels")
    rows: int | None = Field(None, ge=4, description="architectures of the table that are drawn by the seed")

    @property
    def settings_of_bench(self) -> BenchSettings:
        """The part that says what is asked of the scores."""
        return BenchSettings.make(self.model_dump(include=set(BenchSettings.model_fields)))

    def run(self, **values: Any) -> RunConfig:
        """The part that says what is scored."""
        return RunConfig.make({**self.model_dump(include=set(RunConfig.model_fields)), **values})


@dataclass(frozen=True)
class Label:
    """A column of the truth table, and which end of it is the better one."""

    name: str
    maximize: bool = True

    @classmethod
    def parse(cls, text: str) -> Label:
        """Read NAME, NAME:max or NAME:min.

        Raises:
            ConfigError: The text has another form.
        """
        name, _, direction = text.partition(":")
        if not name or direction not in ("", "max", "min"):
            raise ConfigError(f"a label is NAME, NAME:max or NAME:min, not {text!r}")
        return cls(name, direction != "min")


@dataclass(frozen=True)
class Combination:
    """One score made of several.

    Args:
        text: As it was asked for, and as it is called in results.
        parts: The names of the scores that are added, with their weights.
        method: How they are put on one scale, one of `raynas.stats.combination.METHODS`.
    """

    text: str
    parts: tuple[tuple[str, float], ...]
    method: str

    @classmethod
    def parse(cls, text: str, method: str = "log_rank") -> Combination:
        """Read A+B, with a weight as in 0.5*A, and a method of its own as in A+B:min_max.

        Raises:
            ConfigError: The text has another form.
        """
        names, colon, own = text.partition(":")
        if colon and own not in METHODS:
            raise ConfigError(f"combination {text!r}: {own!r} is none of {', '.join(METHODS)}")
        parts = []
        for part in names.split("+"):
            weight, star, name = part.strip().partition("*")
            factor = _number(weight) if star else None
            parts.append((part.strip(), 1.0) if factor is None else (name.strip(), factor))
        if len(parts) < 2 or not all(name for name, _ in parts):
            raise ConfigError(f"a combination is two names or more, such as dss+tvt or 0.5*dss+tvt, not {text!r}")
        return cls(text, tuple(parts), own or method)

    def values(self, columns: Sequence[np.ndarray], maximize: Sequence[bool]) -> np.ndarray:
        """The combined score (N,), higher is better; NaN where none of its parts has a value.

        Args:
            columns: (N,) of each part, NaN where it has no value, which counts as its worst.
            maximize: Of each part by name, whether a larger value is better.
        """
        values = METHODS[self.method](columns, maximize, [weight for _, weight in self.parts])
        return np.where(np.isnan(columns).all(axis=0), np.nan, values)


def _number(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None
