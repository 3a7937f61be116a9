"""The reach of designs that are judged by very few events each: relative to each other, then to a common level."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from rl_detector.reconstruct.bayesian_ridge import fit_ridge
from rl_detector.reconstruct.shared import kernel_basis
from rl_detector.space import FloatArray, IntArray

EVENT_FLOOR = 0.3
"""Loss, in means of the study, above which an event counts less (see `relative`)."""

LEVEL_RANK = 40
"""Functions of the design by which the reaches of batches are brought to one level."""

_UNKNOWN = 0.2
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

    ln(reference / mean loss) of 5 events is useless: the losses of a good calorimeter scatter by three to four times
    their mean, so its logarithm is biased by +0.6 and scatters by 1.2. Three steps instead:

    1. Within a batch the designs are compared on the same events (`relative`), which cancels what the events share.
    2. Relative losses y become -ln(1 + r s (y - 1)) / r: a straight line where they are noise, a logarithm as far as
       they are reliable (`slope_and_reliability`).
    3. The level of a batch, ln(reference / its mean loss), has the noise of its few events. A regression of the
       reaches on the design with one offset per batch (mixed linear model) takes it out; one constant brings the mean
       of the fitted levels to that of the losses.

    Args:
        batches: in the order of the study.
        coordinates: of all designs, in the same order, [designs, coordinates].
        reference: see SharedReach.
        logarithmic: see SharedReach; otherwise differences are taken instead of ratios and there is no step 2.

    Returns:
        Reaches, [designs], and the standard error of their differences within a batch over sqrt(2).
    """
    level = float(np.mean([batch.losses.mean() for batch in batches]))
    if logarithmic:
        values = [relative(batch, level) for batch in batches]
        slope, reliability = slope_and_reliability(batches, level)
        inside = [-np.log1p(reliability * slope * (value - 1)) / reliability for value in values]
        outside = [float(np.log(reference / max(batch.losses.mean(), 1e-300))) for batch in batches]
    else:
        inside = [batch.losses.mean() - batch.losses.mean(axis=1) for batch in batches]
        outside = [reference - float(batch.losses.mean()) for batch in batches]
    raw = np.concatenate([value + shift for value, shift in zip(inside, outside, strict=True)])
    numbers: IntArray = np.repeat(np.arange(len(batches)), [len(batch.losses) for batch in batches])
    offsets, error = batch_offsets(raw, numbers, coordinates)
    result = raw - offsets[numbers]
    if logarithmic:
        fitted = reference * np.exp(-result - error**2 / 2)  # without what noise adds to the mean of an exponential
        by_batch = [fitted[numbers == number].mean() for number in range(len(batches))]
        result += np.log(np.mean(by_batch) / level)
    return result, error


def relative(batch: BatchLosses, level: float) -> FloatArray:
    """Loss of each design over the mean of its batch, [designs].

    On common events the loss is nearly a product of design and event: 60 to 80 % of its variance is that of the event
    effect c_i, its mean over the designs. Rare events with a large c_i drown the others, so events have the weights
    1 / (c_i + EVENT_FLOOR * level): 5 events then rank good calorimeters as 50 to 250 independent ones do. The weights
    are the same for all designs; what they change in the meaning of y the slope of `slope_and_reliability` mends.
    """
    if not batch.common:
        plain: FloatArray = batch.losses.mean(axis=1) / max(batch.losses.mean(), 1e-300)
        return plain
    weights = event_weights(batch.losses, level)
    weighted: FloatArray = batch.losses @ weights / max(float(batch.losses.mean(axis=0) @ weights), 1e-300)
    return weighted


def event_weights(losses: FloatArray, level: float) -> FloatArray:
    """1 / (c_i + EVENT_FLOOR * level), [events]."""
    weights: FloatArray = 1 / (losses.mean(axis=0) + EVENT_FLOOR * max(level, 1e-300))
    return weights


def slope_and_reliability(batches: Sequence[BatchLosses], level: float) -> tuple[float, float]:
    """Slope s of plain on weighted relative losses, and reliability r of the weighted ones.

    From two halves A, B of the events of each batch, whose noise is independent: s = cov(y_A, u_B) / cov(y_A, y_B) with
    plain relative losses u, and r from the correlation of y_A and y_B by the formula of Spearman and Brown. Both are
    kept where r s < 1, so that the logarithm exists for y = 0.
    """
    sums = np.zeros(3)
    for batch in batches:
        sums += _half_products(batch, level)
    crossed, shared, alone = sums
    if not alone > 0:
        return 1.0, _UNKNOWN
    correlation = float(np.clip(shared / alone, 0.02, 0.98))
    reliability = float(np.clip(2 * correlation / (1 + correlation), 0.1, 0.95))
    slope = float(np.clip(crossed / shared, 0.2, 1.0)) if shared > 0.05 * alone else 1.0
    return slope, reliability


def _half_products(batch: BatchLosses, level: float) -> FloatArray:
    """Sums over designs of y_A u_B (both ways), y_A y_B and y^2 of a batch, centred."""
    events = batch.losses.shape[1]
    if events < 2 or len(batch.losses) < 3:
        return np.zeros(3)
    halves = [BatchLosses(batch.losses[:, first::2], batch.common) for first in (0, 1)]
    y = [relative(half, level) - 1 for half in halves]
    u = [half.losses.mean(axis=1) / max(half.losses.mean(), 1e-300) - 1 for half in halves]
    return np.array([(y[0] @ u[1] + y[1] @ u[0]) / 2, y[0] @ y[1], (y[0] @ y[0] + y[1] @ y[1]) / 2])


def batch_offsets(reaches: FloatArray, batches: IntArray, coordinates: FloatArray) -> tuple[FloatArray, float]:
    """Offset of every batch, and the scatter of the reaches around the regression: y = g(x) + b_batch + noise."""
    count = int(batches.max()) + 1
    members = (batches[:, None] == np.arange(count)).astype(np.float64)
    basis = kernel_basis(coordinates, LEVEL_RANK)
    mean = reaches.mean()
    features = np.concatenate([np.ones((len(basis), 1)), basis, members], axis=1)
    fit = fit_ridge(features, reaches - mean, np.ones(len(basis)), (1, basis.shape[1], count))
    return fit.mean[-count:], float(np.sqrt(fit.noise))
