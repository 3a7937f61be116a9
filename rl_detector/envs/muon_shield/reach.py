"""Reach of the shield: the published objective, from muons at the sensitive plane and the mass of the iron.

FCN = (1 + exp(10 (W - W*) / W*)) (1 + sum of w) for W <= 3000 t, else 1e8 (olantwin/disney_common.py), where w is
summed over the muons of `PROTONS` protons.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from scipy.special import ndtr, ndtri  # type: ignore[import-untyped]

from rl_detector.errors import SimulationError
from rl_detector.reach.unseen import carrying, weighted_rate
from rl_detector.space import FloatArray
from rl_detector.terms import Measurement, Readout

MASS_SCALE = 1_915_820.0
"""W* of the objective in kg."""


LARGEST_MASS = 3e6
"""Mass in kg beyond which the objective is `FORBIDDEN_OBJECTIVE`."""


FORBIDDEN_OBJECTIVE = 1e8


PLANE_LEFT, PLANE_RIGHT, PLANE_TOP = -3.0, 2.6, 5.0
"""Edges in m of the plane in charge-signed x, and in |y|."""


LEAST_MOMENTUM = 1.0
"""Momentum in GeV above which a muon counts."""


def hit_weight(x: FloatArray, y: FloatArray, momentum: FloatArray, charge: FloatArray) -> FloatArray:
    """w = sqrt((5.6 - (x + 3)) / 5.6) for muons with P > 1 GeV, |y| < 5 m, -3 m < x < 2.6 m, else 0; [muons].

    Args:
        x, y: m at the plane. x counts charge-signed: as it is for a negative muon, mirrored for a positive one.
        momentum: GeV.
        charge: +1 or -1.
    """
    signed = -charge * x
    inside = (momentum > LEAST_MOMENTUM) & (np.abs(y) < PLANE_TOP) & (signed > PLANE_LEFT) & (signed < PLANE_RIGHT)
    weight: FloatArray = np.where(
        inside, np.sqrt(np.maximum(PLANE_RIGHT - signed, 0.0) / (PLANE_RIGHT - PLANE_LEFT)), 0.0
    )
    return weight


def blurred_weight(
    x: FloatArray, y: FloatArray, momentum: FloatArray, charge: FloatArray, blur: float, knee: float = math.inf
) -> FloatArray:
    """`hit_weight` smeared by a normal distribution in x and y; [muons].

    It also counts muons that pass near the plane, so its variance is far smaller: agents train with it. The
    standard deviation is `blur` in m up to the momentum `knee` in GeV and falls like 1 / p above, as scattering does.
    """
    width = blur * np.minimum(1.0, knee / np.maximum(momentum, LEAST_MOMENTUM))
    signed = -charge * x + width * _NODES[:, None]
    across = np.where(
        (signed > PLANE_LEFT) & (signed < PLANE_RIGHT),
        np.sqrt(np.clip(PLANE_RIGHT - signed, 0, PLANE_RIGHT - PLANE_LEFT)),
        0.0,
    )
    upright = ndtr((PLANE_TOP - y) / width) - ndtr((-PLANE_TOP - y) / width)
    mean = across.mean(axis=0) / math.sqrt(PLANE_RIGHT - PLANE_LEFT)
    weight: FloatArray = np.where(momentum > LEAST_MOMENTUM, mean * upright, 0.0)
    return weight


_NODES = ndtri((np.arange(21) + 0.5) / 21)
"""Points of equal probability of a normal distribution."""


def mass_factor(mass: float) -> float:
    """1 + exp(10 (W - W*) / W*), the part of the objective that the mass in kg makes."""
    return 1 + math.exp(10 * (mass - MASS_SCALE) / MASS_SCALE)


def objective(mass: float, hits: FloatArray) -> FloatArray:
    """Per-event losses whose mean is FCN, from the mass in kg and the weighted hits [events]."""
    return mass_factor(mass) * (1 + hits) if mass <= LARGEST_MASS else np.full(len(hits), FORBIDDEN_OBJECTIVE)


def continuous_loss(x: FloatArray, momentum: FloatArray, charge: FloatArray) -> FloatArray:
    """sqrt(1 + (x - 2.1) / 4.2) with the sign of x such that deflected muons have less; 0 without a muon; [muons].

    The smooth loss of the newer studies is a diagnostic: it also counts muons that miss the plane.
    x beyond +-2.1 m counts as 2.1 m.
    """
    signed = np.clip(charge * x, -2.1, 2.1)
    loss: FloatArray = np.where(momentum > LEAST_MOMENTUM, np.sqrt(1 + (signed - 2.1) / 4.2), 0.0)
    return loss


@dataclass(frozen=True)
class ShieldReach:
    """reach = ln(reference / metric); the metric is FCN = factor(W) (1 + S) with the sum S of blurred hit weights.

    S is known from few hits at best; its distribution is that of `rl_detector.reach.unseen.weighted_rate`.
    A hit that was not seen has the average weight of the muons that arrive.
    The reach is the mean of ln(reference / FCN) over the distribution, its standard deviation the error.
    The metric is exp of the mean. From twenty effective hits on that is the plain mean of FCN within 1 to 2 %, and a
    tenth of the error. The diagnostic `objective` is the plain mean without blur: average that over samples.

    Attributes:
        reference: metric of the published design, so that its reach is 0.
        blur, knee: m and GeV of `blurred_weight`, and the published objective is a diagnostic; blur 0: published
            weights.
    """

    reference: float
    blur: float = 0.0
    knee: float = math.inf

    def measure(self, readout: Readout) -> Measurement:
        """Reach of one readout of a `ShieldSimulator`; no losses where few hits were seen.

        Raises:
            SimulationError: the mass is not a number > 0.
        """
        x, y, momentum, masses = readout.signals.T
        weight, charge, mass = readout.truth["weight"], readout.truth["charge"], float(masses[0])
        if not 0 < mass < math.inf:
            raise SimulationError(f"the mass of a shield must be > 0 kg and finite, got {mass}")
        hits = weight * hit_weight(x, y, momentum, charge)
        counted = weight * blurred_weight(x, y, momentum, charge, self.blur, self.knee) if self.blur > 0 else hits
        likely = weight[momentum > LEAST_MOMENTUM] if np.any(momentum > LEAST_MOMENTUM) else weight
        rate = weighted_rate(counted / len(weight), float(likely.mean()) / len(weight))
        logarithm = rate.logarithm(1.0)
        metric = mass_factor(mass) * math.exp(logarithm.value) if mass <= LARGEST_MASS else FORBIDDEN_OBJECTIVE
        error = logarithm.error * metric
        return Measurement(
            reach=math.log(self.reference / metric),
            error=logarithm.error,
            metric=metric,
            metric_error=error,
            losses=carrying(objective(mass, counted), metric, error),
            diagnostics={
                "objective": float(objective(mass, hits).mean()),
                "effective_hits": rate.seen,
                "hits": float(np.mean(weight * (hits > 0))),
                "arrived": float(np.mean(weight * (momentum > LEAST_MOMENTUM))),
                "hit_events": float(np.count_nonzero(hits)),
                "continuous": float(np.mean(weight * continuous_loss(x, momentum, charge))),
            },
        )
