"""Statistics over few runs, after Agarwal et al. 2021, arXiv:2108.13264 ("Deep RL at the edge of the precipice").

Scores come as one array per problem, [..., runs]; leading axes are resamples.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from rl_detector.space import FloatArray

RESAMPLES = 2000
"""Bootstrap resamples; the ends of an interval are then known to a few per cent of its length."""

CONFIRMATIONS = 5
"""Updates after the first one at a target; their mean must reach the target, too."""


class Interval(NamedTuple):
    """An estimate with the ends of its 95 % interval."""

    value: float
    low: float
    high: float


def interquartile_mean(scores: FloatArray) -> FloatArray:
    """Mean of the middle half of the scores along the last axis (section 4.2): a quarter is cut at each end."""
    runs = scores.shape[-1]
    cut = runs // 4
    middle: FloatArray = np.sort(scores, axis=-1)[..., cut : runs - cut].mean(axis=-1)
    return middle


def aggregate(scores: Sequence[FloatArray]) -> FloatArray:
    """Interquartile mean over all runs of all problems together (section 4.2)."""
    return interquartile_mean(np.concatenate(scores, axis=-1))


def improvement(first: Sequence[FloatArray], second: Sequence[FloatArray]) -> FloatArray:
    """Probability that a run of the first beats one of the second, mean over problems (section 4.2).

    P(X > Y) is the mean over problems of the mean over all pairs of runs of S(x, y), which is 1 if x > y, 1/2 if x = y,
    else 0.
    """
    wins = [
        ((x[..., :, None] > y[..., None, :]) + 0.5 * (x[..., :, None] == y[..., None, :])).mean(axis=(-2, -1))
        for x, y in zip(first, second, strict=True)
    ]
    probability: FloatArray = np.mean(wins, axis=0)
    return probability


def resample(scores: Sequence[FloatArray], rng: np.random.Generator) -> list[FloatArray]:
    """Stratified bootstrap: runs drawn with replacement within every problem (section 4.1), [resamples, runs] each."""
    return [one[rng.integers(len(one), size=(RESAMPLES, len(one)))] for one in scores]


def _interval(value: FloatArray, resampled: FloatArray) -> Interval:
    low, high = np.percentile(resampled, (2.5, 97.5))  # percentile bootstrap, 95 %
    return Interval(float(value), float(low), float(high))


def aggregate_interval(scores: Sequence[FloatArray], seed: int = 0) -> Interval:
    """Interquartile mean over runs and problems with its interval."""
    return _interval(aggregate(scores), aggregate(resample(scores, np.random.default_rng(seed))))


def improvement_interval(first: Sequence[FloatArray], second: Sequence[FloatArray], seed: int = 0) -> Interval:
    """Probability of improvement with its interval."""
    rng = np.random.default_rng(seed)
    return _interval(improvement(first, second), improvement(resample(first, rng), resample(second, rng)))


def events_to_target(events: FloatArray, gains: FloatArray, target: float) -> float:
    """First events at which the gain and its mean over the next updates reach the target; infinite if they never do.

    A gain of the last update alone is not confirmed by a later one, and does not count.

    Args:
        events, gains: after every update, [updates].
        target: gain to reach.
    """
    for index in np.flatnonzero(gains >= target):
        later = gains[index + 1 : index + 1 + CONFIRMATIONS]
        if len(later) and later.mean() >= target:
            return float(events[index])
    return float("inf")


def at_events(events: FloatArray, gains: FloatArray, wanted: FloatArray) -> FloatArray:
    """Gain after the latest update at or before these events, [wanted]; 0, the start's, before the first update."""
    position = np.searchsorted(events, wanted, side="right")
    values: FloatArray = np.concatenate([[0.0], gains])[position]
    return values
