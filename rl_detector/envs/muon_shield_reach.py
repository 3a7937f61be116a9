"""What a shield is worth: the published objective, from muons at the sensitive plane and the mass of the iron.

FCN = (1 + exp(10 (W - W*) / W*)) (1 + sum of w) for W <= 3000 t, else 1e8 (olantwin/disney_common.py), where w is summed
over the muons of `PROTONS` protons.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from rl_detector.errors import SimulationError
from rl_detector.space import FloatArray
from rl_detector.terms import Measurement, Readout

MASS_SCALE = 1_915_820.0
"""W* in kg."""

HEAVIEST = 3e6
"""Mass in kg beyond which the objective is `FORBIDDEN`."""

FORBIDDEN = 1e8

LEFT, RIGHT, TOP = -3.0, 2.6, 5.0
"""Edges in m of the plane in charge-signed x, and in |y|."""

MOMENTUM = 1.0
"""GeV that a muon that counts has more of."""


def hit_weight(x: FloatArray, y: FloatArray, momentum: FloatArray, charge: FloatArray) -> FloatArray:
    """w = sqrt((5.6 - (x + 3)) / 5.6) for muons with P > 1 GeV, |y| < 5 m, -3 m < x < 2.6 m, else 0; [muons].

    Args:
        x, y: m at the plane. x counts charge-signed: as it is for a negative muon, mirrored for a positive one.
        momentum: GeV.
        charge: +1 or -1.
    """
    signed = -charge * x
    inside = (momentum > MOMENTUM) & (np.abs(y) < TOP) & (signed > LEFT) & (signed < RIGHT)
    weight: FloatArray = np.where(inside, np.sqrt(np.maximum(RIGHT - signed, 0.0) / (RIGHT - LEFT)), 0.0)
    return weight


def blurred_weight(x: FloatArray, y: FloatArray, momentum: FloatArray, charge: FloatArray, blur: float) -> FloatArray:
    """`hit_weight` convolved with a normal distribution of standard deviation `blur` in m in x and y; [muons].

    It sees muons that pass near the plane, too, and so has a far smaller variance: something to train with.
    """
    grid, across, upright = _profiles(blur)
    signed, high = np.interp(-charge * x, grid, across, 0.0, 0.0), np.interp(np.abs(y), grid, upright, 1.0, 0.0)
    weight: FloatArray = np.where(momentum > MOMENTUM, signed * high, 0.0)
    return weight


@lru_cache
def _profiles(blur: float) -> tuple[FloatArray, FloatArray, FloatArray]:
    """A grid in m, and the two blurred factors of the weight of a hit, that of signed x and that of |y|, on it."""
    reach = 6 * blur + TOP
    grid = np.linspace(-reach, reach, 2001)
    points = np.linspace(LEFT, RIGHT, 1401)
    points = (points[1:] + points[:-1]) / 2
    steps = (RIGHT - LEFT) / len(points) * np.sqrt((RIGHT - points) / (RIGHT - LEFT))
    kernel = np.exp(-(((grid[:, None] - points) / blur) ** 2) / 2) / (blur * math.sqrt(2 * math.pi))
    edges = [[math.erf((TOP + sign * y) / (blur * math.sqrt(2))) for y in grid] for sign in (1, -1)]
    return grid, kernel @ steps, np.array(edges).sum(axis=0) / 2


def mass_factor(mass: float) -> float:
    """1 + exp(10 (W - W*) / W*), the part of the objective that the mass in kg makes."""
    return 1 + math.exp(10 * (mass - MASS_SCALE) / MASS_SCALE)


def objective(mass: float, hits: FloatArray) -> FloatArray:
    """Per-event losses whose mean is FCN, from the mass in kg and the weighted hits [events]."""
    return mass_factor(mass) * (1 + hits) if mass <= HEAVIEST else np.full(len(hits), FORBIDDEN)


def continuous_loss(x: FloatArray, momentum: FloatArray, charge: FloatArray) -> FloatArray:
    """sqrt(1 + (x - 2.1) / 4.2) with the sign of x such that deflected muons have less; 0 without a muon; [muons].

    The newer studies' smooth loss, a diagnostic: it also counts muons that miss the plane. x beyond +-2.1 m counts as
    2.1 m.
    """
    signed = np.clip(charge * x, -2.1, 2.1)
    loss: FloatArray = np.where(momentum > MOMENTUM, np.sqrt(1 + (signed - 2.1) / 4.2), 0.0)
    return loss


@dataclass(frozen=True)
class ShieldReach:
    """reach = ln(reference / FCN); the metric is FCN, the mean of per-event losses factor(W) (1 + weight w).

    The standard error is that of a mean of weighted events; where no muon hits, that of one hit of average weight.

    Attributes:
        reference: metric of the published design, so that its reach is 0.
        blur: m; 0: the published weights, else `blurred_weight`, and the published objective is a diagnostic.
    """

    reference: float
    blur: float = 0.0

    def measure(self, readout: Readout) -> Measurement:
        """Reach of one readout of a `ShieldSimulator`.

        Raises:
            SimulationError: the mass is not a number > 0.
        """
        x, y, momentum, masses = readout.signals.T
        weight, charge, mass = readout.truth["weight"], readout.truth["charge"], float(masses[0])
        if not 0 < mass < math.inf:
            raise SimulationError(f"the mass of a shield must be > 0 kg and finite, got {mass}")
        hits = weight * hit_weight(x, y, momentum, charge)
        counted = weight * blurred_weight(x, y, momentum, charge, self.blur) if self.blur > 0 else hits
        losses, events = objective(mass, counted), len(counted)
        metric, error = float(losses.mean()), float(losses.std(ddof=1)) / math.sqrt(events)
        if not np.any(counted > 0):
            error = mass_factor(min(mass, HEAVIEST)) * float(weight.mean()) / events
        return Measurement(
            reach=math.log(self.reference / metric),
            error=error / metric,
            metric=metric,
            metric_error=error,
            losses=losses,
            diagnostics={
                "objective": float(objective(mass, hits).mean()),
                "hits": float(np.mean(weight * (hits > 0))),
                "arrived": float(np.mean(weight * (momentum > MOMENTUM))),
                "hit_events": float(np.count_nonzero(hits)),
                "continuous": float(np.mean(weight * continuous_loss(x, momentum, charge))),
            },
        )
