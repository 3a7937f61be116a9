"""The reach of designs with very few events each: relative to each other first, then to a common level."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from rl_detector.reconstruct.bayesian_ridge import fit_ridge
from rl_detector.reconstruct.shared import kernel_basis
from rl_detector.space import FloatArray, IntArray

EVENT_FLOORS = (np.inf, 3.0, 1.0, 0.3)
"""Losses, in means of the study, above which an event may count less (see `relative`)."""

LEVEL_RANK = 40
"""Functions of the design by which the reaches of batches are brought to one level."""

_ASSUMED_RELIABILITY = 0.2
"""Reliability assumed where it cannot be measured: one event per design, or a single batch without correlation."""


@dataclass(frozen=True)
class BatchLosses:
    """Losses of one batch.

    Attributes:
        losses: [designs, events].
        common: whether column i is the same primary, with the same random numbers, for all designs.
    """

    losses: FloatArray
    common: bool


def reaches(
    batches: Sequence[BatchLosses], coordinates: FloatArray, reference: float, logarithmic: bool
) -> tuple[FloatArray, float]:
    """Reaches of all designs and their standard error within a batch.

    ln(reference / mean loss) of few events is biased, most of all for good designs. The losses of the published start
    scatter by 2.3 times their mean, those of the best calorimeter by 3.8 times. So 5 events bias the logarithm by +0.5
    and +0.9, and it scatters by 1.1 and 1.5 (bias of 1 event: +1.9 and +2.7; of 25: +0.1 and +0.2).

    Three steps instead:

    1. Compare the designs of a batch on common events (`relative`); the effect of each event cancels.
    2. Relative losses y become -ln(1 + r s (y - 1)) / r. That is a straight line, without bias, where they are noise,
       and a logarithm as far as they are reliable (`calibration`). Even independent events then have a bias of +0.1 and
       +0.2 with 5 events and r = 0.2.
    3. The level of a batch, ln(reference / its mean loss), has the noise of its few events. A regression of the reaches
       on the design with one offset per batch (mixed linear model) takes it out. One constant brings the mean of the
       fitted levels to that of the losses.

    Args:
        batches: in the order of the study.
        coordinates: of all designs, in this order, [designs, coordinates].
        reference: see SharedReach.
        logarithmic: see SharedReach; otherwise differences are taken instead of ratios and there is no step 2.

    Returns:
        Reaches, [designs], and the standard error of their differences within a batch over sqrt(2).
    """
    level = float(np.mean([batch.losses.mean() for batch in batches]))
    if logarithmic:
        floor, slope, reliability = calibration(batches, level)
        values = [relative(batch, floor * level) for batch in batches]
        inside = [-np.log1p(reliability * slope * (value - 1)) / reliability for value in values]
        outside = [float(np.log(reference / max(batch.losses.mean(), 1e-300))) for batch in batches]
    else:
        inside = [batch.losses.mean() - batch.losses.mean(axis=1) for batch in batches]
        outside = [reference - float(batch.losses.mean()) for batch in batches]
    raw = np.concatenate([value + shift for value, shift in zip(inside, outside, strict=True)])
    numbers: IntArray = np.repeat(np.arange(len(batches)), [len(batch.losses) for batch in batches])
    offsets, smooth, error = batch_offsets(raw, numbers, coordinates)
    result = raw - offsets[numbers]
    if logarithmic:
        fitted = reference * np.exp(-smooth)  # of the regression: noise would add to the mean of an exponential
        by_batch = [fitted[numbers == number].mean() for number in range(len(batches))]
        result += np.log(np.mean(by_batch) / level)
    return result, error


def relative(batch: BatchLosses, floor: float) -> FloatArray:
    """Loss of each design over the mean of its batch, [designs].

    On common events the loss is nearly a product of design and event. 60 to 80 % of its variance is that of the event
    effect c_i, its mean over the designs. Rare events with a large c_i drown the others, so events may have weights 1 /
    (c_i + floor), equal for all designs. 5 events then rank good calorimeters as 50 to 250 independent ones do.
    """
    if not (batch.common and np.isfinite(floor)):
        plain: FloatArray = batch.losses.mean(axis=1) / max(batch.losses.mean(), 1e-300)
        return plain
    effects = batch.losses.mean(axis=0)
    weights = 1 / (effects + max(floor, 1e-300))
    weighted: FloatArray = batch.losses @ weights / max(float(effects @ weights), 1e-300)
    return weighted


def calibration(batches: Sequence[BatchLosses], level: float) -> tuple[float, float, float]:
    """Floor of the weights, slope s and reliability r, from two halves A, B of the events of each batch.

    The halves have independent noise, and the reach is defined by the plain relative loss u. The chosen floor is the
    one whose y_A correlates best with u_B; weights that favour events on which a blind detector guesses well lose here.
    s = cov(y_A, u_B) / cov(y_A, y_B) brings y to the scale of u. r is the correlation of y_A and y_B, extended to all
    events by the formula of Spearman and Brown. r s < 1 holds, so that the logarithm exists for y = 0.
    """
    sums = [sum((_half_products(batch, floor * level) for batch in batches), np.zeros(3)) for floor in EVENT_FLOORS]
    scores = [crossed / np.sqrt(alone) if alone > 0 else 0.0 for crossed, _, alone in sums]
    best = int(np.argmax(scores))
    crossed, shared, alone = sums[best]
    if not alone > 0:
        return EVENT_FLOORS[0], 1.0, _ASSUMED_RELIABILITY
    correlation = float(np.clip(shared / alone, 0.02, 0.98))
    reliability = float(np.clip(2 * correlation / (1 + correlation), 0.1, 0.95))
    slope = float(np.clip(crossed / shared, 0.2, 1.0)) if shared > 0.05 * alone else 1.0
    return EVENT_FLOORS[best], slope, reliability


def _half_products(batch: BatchLosses, floor: float) -> FloatArray:
    """Means over both ways of the sums over designs of y_A u_B, y_A y_B and y_A^2 of a batch, centred."""
    if batch.losses.shape[1] < 2 or len(batch.losses) < 3:
        return np.zeros(3)
    halves = [BatchLosses(batch.losses[:, first::2], batch.common) for first in (0, 1)]
    y, u = ([relative(half, each) - 1 for half in halves] for each in (floor, np.inf))
    y = [value - value.mean() for value in y]
    return np.array([(y[0] @ u[1] + y[1] @ u[0]) / 2, y[0] @ y[1], (y[0] @ y[0] + y[1] @ y[1]) / 2])


def batch_offsets(
    reaches: FloatArray, batches: IntArray, coordinates: FloatArray
) -> tuple[FloatArray, FloatArray, float]:
    """The regression y = g(x) + b_batch + noise: offset of every batch, g of every design, and the scatter around."""
    count = int(batches.max()) + 1
    members = (batches[:, None] == np.arange(count)).astype(np.float64)
    basis = kernel_basis(coordinates, LEVEL_RANK)
    mean = reaches.mean()
    features = np.concatenate([np.ones((len(basis), 1)), basis, members], axis=1)
    fit = fit_ridge(features, reaches - mean, np.ones(len(basis)), (1, basis.shape[1], count))
    smooth = mean + features[:, :-count] @ fit.mean[:-count]
    return fit.mean[-count:], smooth, float(np.sqrt(fit.noise))
