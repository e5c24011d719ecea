"""Which of several categorical decisions a value depends on: shares of its variance, by functional ANOVA.

The value is taken as a sum of one effect for each option of each decision, fitted by least squares, so that a decision
is not credited with what others do that were made along with it, as in the candidates of a searcher. If all options of
a decision were drawn alike often, the variance of its effects would be its main effect in the functional ANOVA, and the
share of all variance its first-order Sobol index (Sobol 1993; for configurations, Hutter 2014). What the sum leaves
over is noise and the joint effects of several decisions.

Letters: N rows, D decisions, K options of one of them, P coefficients of all of them.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from scipy.stats import t

ABSENT = -1
"""Number of the option of a decision that a row has not made, such as those of a layer that it lacks."""
LEAST_SEEN = 5
"""Options in fewer rows are put together, and their effects are not counted."""

_PARTS = 20
_SPARE_ROWS = 20


class Share(NamedTuple):
    """A share of the variance of a value, from 0 to 1, with its interval."""

    value: float
    low: float
    high: float


class Importance(NamedTuple):
    """How the variance of a value is shared out.

    Args:
        groups: The share of each group of decisions.
        decisions: The share of each decision, without interval.
        rest: The share of noise and of the joint effects of several decisions.
        effects: What each option of each decision adds to the value, (K,), against the mean of the options; NaN for
            options that are in fewer than `LEAST_SEEN` rows.
    """

    groups: list[Share]
    decisions: list[float]
    rest: Share
    effects: list[np.ndarray]


def main_effects(
    options: np.ndarray, values: np.ndarray, groups: Sequence[Sequence[int]], *, level: float = 0.95, seed: int = 0
) -> Importance | None:
    """Shares of the variance of a value that decisions account for by themselves.

    Shares are corrected for what noise alone would seem to explain. The intervals are those of a jackknife that leaves
    out a twentieth of the rows at a time.

    Args:
        options: (N, D) number of the option that each row has of each decision, from 0, or `ABSENT`.
        values: (N,) finite numbers.
        groups: Positions of the decisions of each group, such as those of one field.
        level: How often intervals hold the share that endless rows would give.
        seed: Seed of which rows are left out together.

    Returns:
        The shares; None where there are fewer than two rows for each coefficient and `_SPARE_ROWS` more, or all values
        are the same.
    """
    decisions = [_Decision(column) for column in np.asarray(options).T]
    design = np.hstack([np.ones((len(values), 1)), *(one.columns for one in decisions)])
    n, p = design.shape
    if n < 2 * p + _SPARE_ROWS or np.ptp(values) == 0:
        return None
    scaled = (values - values.mean()) / values.std()
    whole = _Fit(design, scaled, decisions)
    part_of_row = np.random.default_rng(seed).permutation(n) % _PARTS
    left = [_Fit(design[part_of_row != k], scaled[part_of_row != k], decisions) for k in range(_PARTS)]

    def share(of: Sequence[int] | None) -> Share:
        value, without = whole.share(of), np.array([fit.share(of) for fit in left])
        error = math.sqrt((_PARTS - 1) / _PARTS * float(((without - without.mean()) ** 2).sum()))
        reach = float(t.ppf((1 + level) / 2, _PARTS - 1)) * error
        return Share(*(min(1.0, max(0.0, one)) for one in (value, value - reach, value + reach)))

    return Importance(
        [share(group) for group in groups],
        [max(0.0, whole.share([d])) for d in range(len(decisions))],
        share(None),
        [effects * float(values.std()) for effects in whole.effects],
    )


class _Decision:
    """One decision as columns of the design."""

    def __init__(self, options: np.ndarray) -> None:
        seen = np.bincount(options[options != ABSENT], minlength=1)
        self.num_options = len(seen)
        self.counted = np.flatnonzero(seen >= LEAST_SEEN)
        self.presence = float((options != ABSENT).mean())
        kinds = [options == k for k in self.counted]
        if (rare := (options != ABSENT) & ~np.isin(options, self.counted)).any():
            kinds.append(rare)
        shown = np.array(kinds, float).reshape(len(kinds), len(options)).T
        # The first kind is the reference; a row without the decision has the mean of the effects of all kinds.
        self.columns = (shown - (options != ABSENT)[:, None] / max(1, len(kinds)))[:, 1:]
        # From coefficients to effects of the options that count, less their mean.
        is_counted = np.arange(max(1, len(kinds))) < len(self.counted)
        every = np.eye(len(is_counted))[is_counted] - is_counted / max(1, len(self.counted))
        self.contrasts = every[:, 1:]


class _Fit:
    """Least squares on some rows, and the variances of the effects, less what noise adds to them."""

    def __init__(self, design: np.ndarray, values: np.ndarray, decisions: Sequence[_Decision]) -> None:
        products = design.T @ design
        inverse = np.linalg.pinv(products, hermitian=True)
        coefficients = inverse @ (design.T @ values)
        left_over = values - design @ coefficients
        self.noise = float(left_over @ left_over) / (len(values) - np.linalg.matrix_rank(products, hermitian=True))
        self.effects, self.variances = [], []
        start = 1
        for one in decisions:
            within = slice(start, start := start + one.columns.shape[1])
            effects = one.contrasts @ coefficients[within]
            of_noise = self.noise * np.trace(one.contrasts @ inverse[within, within] @ one.contrasts.T)
            self.variances.append(one.presence * (float(effects @ effects) - of_noise) / max(1, len(effects)))
            every = np.full(one.num_options, np.nan)
            every[one.counted] = effects
            self.effects.append(every)
        self.total = sum(max(0.0, variance) for variance in self.variances) + self.noise

    def share(self, of: Sequence[int] | None) -> float:
        """The share of some decisions; None: of what no decision explains by itself."""
        part = self.noise if of is None else sum(self.variances[d] for d in of)
        return part / self.total if self.total > 0 else 0.0
