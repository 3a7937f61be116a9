"""Logarithms of rates and widths from few events, with an error that covers rare unseen events.

A Poisson count n with Jeffreys' prior 1 / sqrt(mu) leaves a Gamma distribution of shape n + 1/2 for its mean mu
(Jeffreys, Theory of Probability, 3.1). Its mean of ln mu is psi(n + 1/2), within 1 / (24 n^2) of ln n, and its variance
is psi'(n + 1/2). A well-measured rate is unchanged, and n = 0 means ln mu = -2.0 +- 2.2.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from scipy.special import gammaincinv, polygamma, psi  # type: ignore[import-untyped]

from rl_detector.space import FloatArray

JEFFREYS = 0.5
"""Hits that are added to those seen."""

FAINT = 0.01
"""Part of a whole hit below which a sum of contributions is no evidence of the size of a hit; our choice."""

STRETCH = 2.0
"""Largest factor by which losses may be stretched to carry an error; beyond it, most of the error is unseen."""

_PROBABILITIES = (np.arange(200) + 0.5) / 200


class Logarithm(NamedTuple):
    """Mean and standard deviation of the logarithm of a quantity."""

    value: float
    error: float


class Rate(NamedTuple):
    """Gamma distribution of a sum of weighted hits; `seen` hits are evidence of their size."""

    shape: float
    scale: float
    seen: float

    def logarithm(self, offset: float = 0.0) -> Logarithm:
        """ln(offset + rate), offset >= 0.

        >>> [round(each, 2) for each in Rate(0.5, 1.0, 0.0).logarithm()]
        [-1.96, 2.22]
        """
        if offset == 0:
            return Logarithm(float(psi(self.shape) + np.log(self.scale)), float(polygamma(1, self.shape)) ** 0.5)
        values = np.log(offset + self.scale * gammaincinv(self.shape, _PROBABILITIES))
        return Logarithm(float(values.mean()), float(values.std()))


def weighted_rate(contributions: FloatArray, whole: float) -> Rate:
    """Rate from the contribution of each event; an unseen hit is assumed to add `whole`.

    Weighted hits w count as a scaled Poisson number, with the mean sum w and the variance sum w^2 (Bohm and Zech,
    Nuclear Instruments and Methods A 748 (2014) 1). Half a hit of size u is added to them (Jeffreys). The size of the
    n = (sum w)^2 / sum w^2 effective hits is s = sum w^2 / sum w; u = (n s + whole) / (n + 1) is as if one whole hit
    had been among them. In n, `FAINT` times `whole` is added to the hits in quadrature: traces are no hits.

    Args:
        contributions: w >= 0, [events].
        whole: > 0.
    """
    total, squares = float(contributions.sum()), float((contributions**2).sum())
    seen = total**2 / (squares + (FAINT * whole) ** 2)
    size = squares / total if total > 0 else 0.0
    unseen = (seen * size + whole) / (seen + 1)
    mean, variance = total + JEFFREYS * unseen, squares + JEFFREYS * unseen**2
    return Rate(mean**2 / variance, variance / mean, seen)


def width_logarithm(events: int) -> Logarithm:
    """ln(sigma / s) for the unbiased s of normal events, with a prior 1 / sigma.

    (n - 1) s^2 / sigma^2 has a chi-squared distribution of n - 1 degrees of freedom. s is too small on average in its
    logarithm, by 0.058 for ten events.
    """
    half = (events - 1) / 2
    return Logarithm(float(np.log(half) - psi(half)) / 2, float(polygamma(1, half)) ** 0.5 / 2)


def carrying(losses: FloatArray, metric: float, error: float, limit: float = STRETCH) -> FloatArray | None:
    """Losses shifted and stretched so that their mean is the metric and its standard error the one stated.

    None if that takes a stretch beyond `limit`: differences between designs are then not those of the events seen.

    Args:
        losses: [events].
        metric, error: of the mean, in the unit of the losses.
        limit: largest stretch.
    """
    spread = float(losses.std(ddof=1)) / len(losses) ** 0.5
    if error > limit * spread:
        return None
    carried: FloatArray = metric + (losses - losses.mean()) * (error / spread)
    return carried
