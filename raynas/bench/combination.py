"""Several scores as one, as a user asks for it: dss+tvt, 0.5*a+b, a+b:rank_sum."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from raynas.errors import ConfigError
from raynas.stats.combination import METHODS


@dataclass(frozen=True)
class Combination:
    """One score made of several.

    Args:
        text: The combination as it was asked for, and as it is called in results.
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
            columns: (N,) values of each part, NaN where it has no value, which counts as its worst.
            maximize: Whether a larger value is better of each part, in their order.
        """
        values = METHODS[self.method](columns, maximize, [weight for _, weight in self.parts])
        return np.where(np.isnan(columns).all(axis=0), np.nan, values)


def _number(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None
