"""Mutual information between truth and readout as physics reach, independent of the analysis of the readout."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from rl_detector.errors import ConfigError
from rl_detector.reconstruct.least_squares import leave_one_out, shower_features
from rl_detector.space import FloatArray
from rl_detector.terms import Measurement, Readout

MINIMUM_EVENTS = 20
"""Fewest events for a regression."""

LN2 = math.log(2)

FREEDOMS = (3.0, 6.0, 200.0)
"""Degrees of freedom of the Student distribution around the prediction, from long tails (leakage) to Gaussian."""


@dataclass(frozen=True)
class MutualInformationReach:
    """reach = (I - I_reference) ln 2, metric = -I, with a lower bound I of the mutual information in bits.

    I(truth; readout) = h(truth) - h(truth | readout) >= h(truth) + <log2 q(truth | readout)> for every density q
    (Barber and Agakov, NIPS 16 (2003) 201), with equality when q is the posterior. Here q is a Student distribution
    around a weighted regression of the truth; its width is regressed on the features, too. No event is predicted by a
    fit that saw it. Unlike the bound of Donsker and Varadhan (MINE, Belghazi et al., arXiv:1801.04062), this one is a
    mean of single events: its variance is small, and an imperfect fit can only lower it.

    In nats the reach of a Gaussian channel is ln(sigma_reference / sigma): half the reach of a squared resolution.

    Attributes:
        target: name in the truth of a readout.
        entropy: h(truth) in bits, known from the beam; log2(b - a) for a uniform spectrum.
        information: I_reference, the bits of the baseline design, so that its reach is 0.
    """

    target: str
    entropy: float
    information: float = 0.0

    @property
    def reference(self) -> float:
        """Mean loss, in nats, at which the reach is 0."""
        return (self.entropy - self.information) * LN2

    @property
    def logarithmic(self) -> bool:
        """The reach is reference - mean loss."""
        return False

    @property
    def needs_variance(self) -> bool:
        """The losses need the width of q."""
        return True

    def weights(self, target: FloatArray) -> FloatArray:
        """1 / (y + mean y / 10) for positive targets, whose variance grows with them; else 1."""
        if not (target > 0).all():
            return np.ones_like(target)
        weights: FloatArray = 1 / (target + 0.1 * target.mean())
        return weights

    def losses(self, predicted: FloatArray, variance: FloatArray | None, target: FloatArray) -> FloatArray:
        """-ln q(truth | readout) in nats, [events]."""
        if variance is None:
            raise ConfigError("a mutual information needs the variance of the prediction")
        return student_loss(target - predicted, variance)

    def measure(self, readout: Readout) -> Measurement:
        """Reach of one readout, from its own events."""
        return self.measure_batch([readout])[0]

    def measure_batch(self, readouts: Sequence[Readout]) -> list[Measurement]:
        """Reach of many readouts, one after the other."""
        return [self._measure(readout) for readout in readouts]

    def _measure(self, readout: Readout) -> Measurement:
        target = readout.truth[self.target]
        if len(target) < MINIMUM_EVENTS:
            raise ConfigError(
                f"mutual information needs at least {MINIMUM_EVENTS} events per design, got {len(target)}"
            )
        losses = variational_losses(readout.signals, target, self.weights(target))
        bits = self.entropy - float(losses.mean()) / LN2
        error = float(losses.std(ddof=1)) / math.sqrt(len(losses))
        reach = (bits - self.information) * LN2
        return Measurement(reach, error, -bits, error / LN2, diagnostics={"bits": bits})


def variational_losses(signals: FloatArray, target: FloatArray, weights: FloatArray) -> FloatArray:
    """-ln q(target | signals) in nats of every event, each by fits to the other events, [events].

    Args:
        signals: [events, channels].
        target, weights: [events].
    """
    features = plain_or_shower(signals)[None]
    predicted = leave_one_out(features, target[None], weights[None])[0]
    squares = (target - predicted) ** 2
    floor = 1e-4 * np.median(squares) + 1e-300
    wide = np.concatenate([features, predicted[None, :, None], np.sqrt(np.abs(predicted))[None, :, None]], axis=2)
    shape = leave_one_out(wide, np.log(squares + floor)[None], np.ones((1, len(target))))[0]
    return student_loss(target - predicted, np.exp(shape - shape.mean()) * _robust_scale(squares, shape))


def _robust_scale(squares: FloatArray, shape: FloatArray) -> float:
    """Mean of residual^2 / shape within its central 98 %."""
    ratios = squares / np.exp(shape - shape.mean())
    return float(ratios[ratios <= np.quantile(ratios, 0.98)].mean()) + 1e-300


def plain_or_shower(signals: FloatArray) -> FloatArray:
    """Shower features of signals >= 0, else 1 and the signals, [events, features]."""
    if (signals >= 0).all():
        features: FloatArray = shower_features(signals[None])[0]
        return features
    return np.concatenate([np.ones((len(signals), 1)), signals], axis=1)


def student_loss(residuals: FloatArray, variance: FloatArray) -> FloatArray:
    """-ln of the Student density with this variance and the best of FREEDOMS, in nats, [events].

    One choice among three for all events adds less than ln(3) / events nats to the information.
    """
    return min((_student_loss(residuals, variance, n) for n in FREEDOMS), key=lambda loss: float(loss.mean()))


def _student_loss(residuals: FloatArray, variance: FloatArray, n: float) -> FloatArray:
    scale = variance * (n - 2) / n
    constant = math.lgamma(n / 2) - math.lgamma((n + 1) / 2) + 0.5 * math.log(n * math.pi)
    loss: FloatArray = constant + 0.5 * np.log(scale) + (n + 1) / 2 * np.log1p(residuals**2 / (n * scale))
    return loss
