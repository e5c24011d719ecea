"""Which epoch of a training is the best, and what is said of it."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class BestEpoch:
    """How the best epoch of a training is chosen.

    Args:
        column: A column of metrics.parquet; where there is a moving average of the weights, its value counts, in
            ema_COLUMN.
        higher_is_better: Whether the largest value is the best.
    """

    column: str
    higher_is_better: bool

    @classmethod
    def of(cls, description: Mapping[str, Any]) -> BestEpoch:
        """What run.yaml says of it; the accuracy where it says nothing, as it did before there were objectives."""
        said = (description.get("objective") or {}).get("best")
        return cls(**said) if said else cls("val_top1", higher_is_better=True)

    @property
    def is_accuracy(self) -> bool:
        """Whether it is a share of images that are named rightly."""
        return self.column == "val_top1"

    @property
    def title(self) -> str:
        """The name of the value for people, such as "top-1" or "validation loss"."""
        if self.is_accuracy:
            return "top-1"
        kind, _, rest = self.column.partition("_")
        return " ".join([{"val": "validation", "train": "training"}.get(kind, kind), *filter(None, rest.split("_"))])

    def value(self, row: Mapping[str, Any]) -> float:
        """What counts of an epoch."""
        average = row.get(f"ema_{self.column}")
        return float(row[self.column] if average is None else average)

    def is_better(self, row: Mapping[str, Any], than: Iterable[Mapping[str, Any]]) -> bool:
        """Whether an epoch is better than all of some others; one whose value is no number is none of the best."""
        value, *others = (self._oriented(one) for one in (row, *than))
        return not math.isnan(value) and all(math.isnan(other) or value > other for other in others)

    def best_of(self, rows: Sequence[Mapping[str, Any]]) -> Mapping[str, Any] | None:
        """The first of the best epochs; None if there is none with a value."""
        known = [row for row in rows if not math.isnan(self._oriented(row))]
        return max(known, key=self._oriented, default=None)

    def _oriented(self, row: Mapping[str, Any]) -> float:
        return self.value(row) if self.higher_is_better else -self.value(row)


def counted_top1(row: Mapping[str, Any]) -> float:
    """Accuracy of the weights that count: the moving average where there is one.

    Args:
        row: An epoch's row of metrics.parquet, of a training whose objective has an accuracy.
    """
    return BestEpoch("val_top1", higher_is_better=True).value(row)


def top1_of(row: Mapping[str, Any]) -> float | None:
    """The accuracy that `counted_top1` gives; None where the objective has none."""
    return None if row.get("val_top1") is None else counted_top1(row)
