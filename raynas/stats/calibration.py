"""Whether a classifier is right as often as its probabilities say: bins of confidence and what they differ by.

N images; B bins; R resamples. The confidence of an image is the probability of its most probable class.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from raynas.stats.resampling import resampled_weights

BINS = 15
"""Bins of equal width, as many as Guo et al. have."""

_RESAMPLES = 500


@dataclass(frozen=True)
class CalibrationBins:
    """Images by their confidence, in bins of equal width: (low, high] each, the first one with 0.

    Args:
        images: (B,) how many images each bin has, int64.
        correct: (B,) how many of them are classified rightly, int64.
        confidence: (B,) their mean confidence; NaN where there are none.
    """

    images: np.ndarray
    correct: np.ndarray
    confidence: np.ndarray

    @property
    def accuracy(self) -> np.ndarray:
        """(B,) the share of each bin's images that are classified rightly; NaN where there are none."""
        return np.where(self.images > 0, self.correct / np.maximum(self.images, 1), np.nan)


@dataclass(frozen=True)
class CalibrationError:
    """The expected calibration error with how sure it is.

    Args:
        value: The error, in [0, 1].
        low: Lower bound of its interval.
        high: Upper bound.
        by_chance: What the mean error of a classifier is that is calibrated, with these confidences on as many images.
    """

    value: float
    low: float
    high: float
    by_chance: float


def calibration_bins(confidences: np.ndarray, is_correct: np.ndarray, bins: int = BINS) -> CalibrationBins:
    """Put images into bins of confidence.

    Args:
        confidences: (N,) probabilities of the most probable class, in [0, 1].
        is_correct: (N,) whether that class is the right one.
        bins: How many bins there are, all equally wide.
    """
    numbers = _bin_numbers(confidences, bins)
    images = np.bincount(numbers, minlength=bins)
    correct = np.bincount(numbers[np.asarray(is_correct, bool)], minlength=bins)
    sums = np.bincount(numbers, np.asarray(confidences, float), minlength=bins)
    return CalibrationBins(images, correct, np.where(images > 0, sums / np.maximum(images, 1), np.nan))


def calibration_error(
    confidences: np.ndarray, is_correct: np.ndarray, *, bins: int = BINS, level: float = 0.95, seed: int = 0
) -> CalibrationError:
    """The expected calibration error (ECE) of Guo et al. (2017, arXiv 1706.04599, equation 3).

    It is the mean over images of how far the accuracy of an image's bin lies from the bin's mean confidence. On few
    images it is above zero for a calibrated classifier, too, since bins are right more or less often by chance:
    `by_chance` says by how much. For the same reason resamples of the images err more than the images do; so the
    interval is that of the basic bootstrap (Davison & Hinkley 1997, section 5.2), which mirrors theirs about the value,
    cut to [0, 1] and never without the value. It begins at 0 where a calibrated classifier may well have such an error
    (consistency resampling, Bröcker & Smith 2007): near 0 the bootstrap alone is too sure.

    Args:
        confidences: (N,) probabilities of the most probable class, in [0, 1]; N is at least 1.
        is_correct: (N,) whether that class is the right one.
        bins: How many bins there are, all equally wide.
        level: Probability that the interval is to cover.
        seed: Seed of the resamples.
    """
    confidences, right = np.asarray(confidences, float), np.asarray(is_correct, float)
    n, numbers = len(confidences), _bin_numbers(confidences, bins)
    gaps = np.zeros((n, bins))
    gaps[np.arange(n), numbers] = right - confidences
    value = float(np.abs(gaps.sum(0)).sum()) / n
    resampled = np.concatenate(
        [np.abs(weights @ gaps).sum(1) / n for weights in resampled_weights(n, _RESAMPLES, seed)]
    )
    low, high = 2 * value - np.quantile(resampled, [(1 + level) / 2, (1 - level) / 2])
    rng = np.random.default_rng([seed, 1])
    calibrated = [
        float(np.abs(np.bincount(numbers, (rng.random(n) < confidences) - confidences)).sum()) / n
        for _ in range(_RESAMPLES)
    ]
    if value <= np.quantile(calibrated, (1 + level) / 2):
        low = 0.0
    return CalibrationError(
        value, float(np.clip(low, 0, value)), float(np.clip(high, value, 1)), by_chance=float(np.mean(calibrated))
    )


def _bin_numbers(confidences: np.ndarray, bins: int) -> np.ndarray:
    """(N,) the bin of each confidence, int64."""
    inner = np.arange(1, bins) / bins
    return np.searchsorted(inner, np.asarray(confidences, float), side="left")
