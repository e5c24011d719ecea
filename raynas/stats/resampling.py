"""Correlations on resampled rows, for many columns and many resamples at once.

A resample is what it multiplies the rows by: w (N,), how often each was drawn. Then everything is a sum over rows:
Pearson's r of weighted moments; Spearman's rho of ranks, which are sums of the weights below a value; and Kendall's
tau-b of pairs, whose signs S_ij = sign(x_i - x_j) do not change: the numerator is the quadratic form w (S_x * S_y) w.
Nothing is sorted again, and the figures are those of the measures on the resampled rows.

Letters: P columns on one side, L on the other, N rows, R resamples.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import cached_property

import numpy as np

from raynas.stats.kendall import kendall_tau
from raynas.stats.thinning import sampled

EXACT_ROWS = 1000
"""The most rows for which tau-b is exact; with more, it is followed to first order in the weights, and what is left out
is 1 / sqrt(N) of the spread."""

_REFERENCE_ROWS = 2000
_CHUNK = 1 << 18


def resampled_weights(n: int, count: int, seed: int) -> Iterator[np.ndarray]:
    """How often each row was drawn in resamples with replacement, some resamples at a time.

    Args:
        n: Number of rows, N.
        count: Number of resamples in all.
        seed: Seed that all draws follow from.

    Yields:
        (R, N) whole numbers as floats, each row with the sum N.
    """
    rng = np.random.default_rng(seed)
    at_once = max(1, _CHUNK // max(1, n))
    for start in range(0, count, at_once):
        size = min(at_once, count - start)
        drawn = rng.integers(0, n, (size, n)) + n * np.arange(size)[:, None]
        yield np.bincount(drawn.ravel(), minlength=size * n).reshape(size, n).astype(float)


class Resampler:
    """Correlations of every column of one side with every column of the other, on any resample.

    The methods take weights (R, N), how often each resample drew each row, and return (R, P, L): NaN where a column is
    constant on the rows that were drawn, or none was, as of rows that are some of all.

    Args:
        first: (P, N) finite numbers, the columns of one side.
        second: (L, N) finite numbers, the columns of the other side.
    """

    def __init__(self, first: Sequence[np.ndarray] | np.ndarray, second: Sequence[np.ndarray] | np.ndarray) -> None:
        self._first = [_Column(column) for column in first]
        self._second = [_Column(column) for column in second]

    def tau(self, weights: np.ndarray) -> np.ndarray:
        """Kendall's tau-b: exact up to `EXACT_ROWS` rows."""
        shares = [np.sqrt(np.stack([one.untied(weights) for one in side], axis=1)) for side in self._sides]
        agreed = self._agreed if weights.shape[1] <= EXACT_ROWS else self._agreed_to_first_order
        with np.errstate(invalid="ignore", divide="ignore"):
            taus = agreed(weights) / (shares[0][:, :, None] * shares[1][:, None, :])
        return np.asarray(np.clip(np.where(np.isfinite(taus), taus, np.nan), -1, 1))

    def rho(self, weights: np.ndarray) -> np.ndarray:
        """Spearman's rho, of average ranks."""
        first, second = ([one.ranks(weights) for one in side] for side in self._sides)
        return _cosines(first, second, weights)

    def r(self, weights: np.ndarray) -> np.ndarray:
        """Pearson's r."""
        first, second = ([one.deviations(weights) for one in side] for side in self._sides)
        return _cosines(first, second, weights)

    @property
    def _sides(self) -> tuple[list[_Column], list[_Column]]:
        return self._first, self._second

    def _agreed(self, weights: np.ndarray) -> np.ndarray:
        """Pairs that agree less those that disagree, twice, in whole numbers that float32 holds exactly."""
        counts = weights.astype(np.float32)
        result = np.empty((len(weights), len(self._first), len(self._second)))
        for p, first in enumerate(self._first):
            for k, second in enumerate(self._second):
                signs = (first.signs * second.signs).astype(np.float32)
                result[:, p, k] = np.einsum("rn,rn->r", counts @ signs, counts)
        return result

    def _agreed_to_first_order(self, weights: np.ndarray) -> np.ndarray:
        whole, by_row = self._row_sums
        change = (weights - 1) @ by_row.reshape(-1, weights.shape[1]).T
        return np.asarray(whole + 2 * change.reshape(len(weights), *whole.shape))

    @cached_property
    def _row_sums(self) -> tuple[np.ndarray, np.ndarray]:
        """The numerator on all rows (P, L), and each row's part in it (P, L, N), estimated against some of the rows."""
        n = len(self._first[0].codes)
        ones = np.ones((1, n))
        spread = [[np.sqrt(one.untied(ones)[0]) for one in side] for side in self._sides]
        whole = np.array(
            [
                [
                    np.nan_to_num(kendall_tau(one.codes, other.codes)) * a * b
                    for other, b in zip(self._second, spread[1], strict=True)
                ]
                for one, a in zip(self._first, spread[0], strict=True)
            ]
        )
        chosen = sampled([], n, _REFERENCE_ROWS)
        first, second = (np.stack([one.codes for one in side]) for side in self._sides)
        parts = np.empty((*whole.shape, n))
        step = max(1, _CHUNK // len(chosen))
        for rows in (slice(start, min(start + step, n)) for start in range(0, n, step)):
            signs = [
                np.sign(codes[:, rows, None] - codes[:, None, chosen]).astype(np.float32) for codes in (first, second)
            ]
            sums = signs[0].transpose(1, 0, 2) @ signs[1].transpose(1, 2, 0)
            parts[:, :, rows] = sums.transpose(1, 2, 0)
        parts *= n / len(chosen)
        # The parts of all rows are the whole.
        return whole, np.asarray(parts + ((whole - parts.sum(axis=2)) / n)[:, :, None])


class _Column:
    """One column, with what its sums over resampled rows need."""

    def __init__(self, values: np.ndarray) -> None:
        values = np.asarray(values, float)
        largest = np.abs(values).max(initial=0.0)
        self._values = values / largest if largest > 0 else values  # so that no square overflows
        found, codes = np.unique(values, return_inverse=True)
        self.codes = codes.astype(np.int32)
        self._order = np.argsort(self.codes, kind="stable")
        self._ends = np.searchsorted(self.codes[self._order], np.arange(len(found)), side="right") - 1

    @cached_property
    def signs(self) -> np.ndarray:
        """Signs (N, N) of the differences of every two rows."""
        return np.asarray(np.sign(self.codes[:, None] - self.codes[None, :]), np.int8)

    def untied(self, weights: np.ndarray) -> np.ndarray:
        """How many ordered pairs of drawn rows have different values, (R,)."""
        ends = self._weights_up_to(weights)
        groups = np.diff(ends, axis=1, prepend=0.0)
        return np.asarray(ends[:, -1] ** 2 - (groups**2).sum(axis=1))

    def ranks(self, weights: np.ndarray) -> np.ndarray:
        """Average ranks of the drawn rows, less their mean, (R, N)."""
        ends = self._weights_up_to(weights)
        below = np.concatenate([np.zeros((len(ends), 1)), ends[:, :-1]], axis=1)
        return np.asarray(((below + ends - ends[:, -1:]) / 2)[:, self.codes])

    def deviations(self, weights: np.ndarray) -> np.ndarray:
        """Values less their mean over the drawn rows, (R, N); zeros where those are all equal."""
        means = weights @ self._values / np.maximum(weights.sum(axis=1), 1)
        deviations = self._values - means[:, None]
        squares, raw = ((weights * part**2).sum(axis=1) for part in (deviations, self._values))
        deviations[squares <= 1e-28 * raw] = 0.0  # nothing but rounding, or no row at all
        return np.asarray(deviations)

    def _weights_up_to(self, weights: np.ndarray) -> np.ndarray:
        """How many drawn rows have at most each value, (R, distinct values)."""
        return np.asarray(np.cumsum(weights[:, self._order], axis=1)[:, self._ends])


def _cosines(first: Sequence[np.ndarray], second: Sequence[np.ndarray], weights: np.ndarray) -> np.ndarray:
    """Correlations (R, P, L) of columns that are centred already, (R, N) each."""
    weighted = [weights * column for column in second]
    lengths = [
        np.sqrt(np.stack([np.einsum("rn,rn,rn->r", weights, one, one) for one in side], axis=1))
        for side in (first, second)
    ]
    products = np.stack(
        [np.stack([np.einsum("rn,rn->r", one, other) for other in weighted], axis=1) for one in first], axis=1
    )
    with np.errstate(invalid="ignore", divide="ignore"):
        cosines = products / (lengths[0][:, :, None] * lengths[1][:, None, :])
    return np.asarray(np.clip(np.where(np.isfinite(cosines), cosines, np.nan), -1, 1))
