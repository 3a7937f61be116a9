"""Reach of a row of sensors in a steel slab: relative resolution for photons and pions of 50 and 100 GeV."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from rl_detector.envs.slab_calorimeter.library import CALIBRATION_SAMPLE, SAMPLES
from rl_detector.errors import ConfigError
from rl_detector.reach.unseen import width_logarithm
from rl_detector.space import FloatArray, IntArray
from rl_detector.terms import Measurement, Readout

MINIMUM_EVENTS = 50
"""Fewest events per design, 10 of each sample."""


WORST_RESOLUTION = 10.0
"""Largest sigma / mean: beyond it, or where a sample leaves no signal at all, nothing is measured."""


BETA_RESOLUTIONS: tuple[float, ...] = (0.06422, 0.18377, 0.05256, 0.13707)
"""Sigma / mean of the baseline beta for `SAMPLES`, the zero of the reach: 400,000 events of the fast library, 0.4 %."""


CALIBRATIONS = ("global", "layers")


class Resolution(NamedTuple):
    """Sigma / mean of one sample, and what every event of it adds to ln(sigma / mean), [events of the sample]."""

    value: float
    influence: FloatArray
    mean: float


def resolution(energies: FloatArray) -> Resolution:
    """Sigma / mean and its influence function ((x - m)^2 / s^2 - 1) / 2 - (x - m) / m, which has mean 0.

    The logarithm of sigma has the mean of its distribution for normal events, `width_logarithm`. The influence is
    stretched by what it misses of that distribution's width in samples of normal events, 5 % for forty events.
    """
    mean, sigma = float(energies.mean()), float(energies.std())
    if sigma == 0 or mean <= 0:
        return Resolution(WORST_RESOLUTION, np.zeros(len(energies)), mean)
    offset = energies - mean
    events, known = len(energies), width_logarithm(len(energies))
    missed = known.error / math.sqrt((3 * (events - 1) / (events + 1) - 1) / 4 / events)
    influence = missed * ((offset / sigma) ** 2 - 1) / 2 - offset / mean
    unbiased = sigma * math.sqrt(events / (events - 1)) * math.exp(known.value)
    return Resolution(min(unbiased / mean, WORST_RESOLUTION), influence, mean)


LAYER_WEIGHT_PRIOR = 0.3
"""Width of the layer weights over the published ones before the fit, `calibration = layers`; our choice."""


def global_scale(signals: FloatArray, energies: FloatArray) -> float:
    """The number a that minimises sum (a x - E)^2, x the sum of the signals of an event."""
    total = signals.sum(axis=1)
    return float(total @ energies) / max(float(total @ total), 1e-12)


def layer_weights(signals: FloatArray, energies: FloatArray) -> FloatArray:
    """Weights of the layers [sensors] that minimise sum (w . s - E)^2 / E, with a Gaussian prior around the global one.

    w = a (1 + d), d of variance `LAYER_WEIGHT_PRIOR`^2 each: ridge regression towards the published weights.
    Residuals of the global fit give the noise of the events.
    """
    start = global_scale(signals, energies)
    scaled = start * signals / np.sqrt(energies)[:, None]
    residual = np.sqrt(energies) - scaled.sum(axis=1)
    noise = float(residual @ residual) / len(residual)
    normal = scaled.T @ scaled + np.eye(scaled.shape[1]) * (noise / LAYER_WEIGHT_PRIOR**2 + 1e-9)
    weights: FloatArray = start * (1 + np.linalg.solve(normal, scaled.T @ residual))
    return weights


@dataclass(frozen=True)
class SlabReach:
    """reach = ln(metric of beta / metric), metric = product of (sigma / mean)^weight over the four samples.

    The reach is the weighted mean of ln improvements: 50 and 100 GeV count alike, photons with the weight
    `electromagnetic`, pions with the rest.
    E_rec = a times the sum of the signals, which carry the published layer weights gap / thickness.
    The factor a is fitted by least squares to the calibration sample, photons and pions together.
    Sigma / mean does not depend on a; the diagnostics `linearity` do: mean E_rec / E of each sample.
    The losses are metric (1 + influence of the event): their mean is the metric, and their scatter gives its standard
    error and that of paired differences (delta method).

    With `calibration` "layers" every layer has a weight of its own, `layer_weights` of the calibration sample.
    The error that this adds comes from leaving out every tenth of the calibration events in turn.
    There are no losses then.

    Attributes:
        electromagnetic: weight of the photons, between 0 and 1.
        calibration: "global" or "layers".
        reference: sigma / mean of the baseline for `SAMPLES`.
    """

    electromagnetic: float = 0.5
    calibration: str = "global"
    reference: tuple[float, ...] = BETA_RESOLUTIONS

    def __post_init__(self) -> None:
        if self.calibration not in CALIBRATIONS:
            raise ConfigError(f"unknown calibration {self.calibration!r}: known are {', '.join(CALIBRATIONS)}")
        if not 0 <= self.electromagnetic <= 1:
            raise ConfigError(f"the weight of the photons must lie in [0, 1], got {self.electromagnetic}")

    @property
    def weights(self) -> tuple[float, ...]:
        """Weight of each sample, sum 1."""
        shares = {"gamma": self.electromagnetic, "pi+": 1 - self.electromagnetic}
        return tuple(shares[particle] / 2 for particle, _ in SAMPLES)

    def measure(self, readout: Readout) -> Measurement:
        """Reach of one readout of a `SlabSimulator`."""
        calibration = np.flatnonzero(readout.truth["sample"] == CALIBRATION_SAMPLE)
        found = self._resolutions(readout, calibration)
        influence = np.zeros(len(readout.signals))
        for number, (weight, part) in enumerate(zip(self.weights, found, strict=True)):
            factor = weight * len(influence) / len(part.influence)
            influence[readout.truth["sample"] == number] = factor * part.influence
        logarithm, fitted = self._logarithm(found), self.calibration == "layers"
        spread = float(influence.std(ddof=1)) / math.sqrt(len(influence)) or 1 / WORST_RESOLUTION
        error = math.hypot(spread, self._calibration_error(readout, calibration)) if fitted else spread
        metric = math.exp(logarithm)
        return Measurement(
            reach=sum(w * math.log(zero) for w, zero in zip(self.weights, self.reference, strict=True)) - logarithm,
            error=error,
            metric=metric,
            metric_error=error * metric,
            losses=None if fitted else metric * (1 + influence),
            diagnostics={**_named("resolution", [part.value for part in found]), **_linearity(found)},
        )

    def _resolutions(self, readout: Readout, calibration: IntArray) -> list[Resolution]:
        """Of E_rec for every sample, with the calibration from these events."""
        signals, energies = readout.signals[calibration], readout.truth["energy"][calibration]
        one = self.calibration == "global"
        found = (
            readout.signals.sum(axis=1) * global_scale(signals, energies)
            if one
            else readout.signals @ layer_weights(signals, energies)
        )
        return [resolution(found[readout.truth["sample"] == number]) for number in range(len(SAMPLES))]

    def _logarithm(self, found: list[Resolution]) -> float:
        """Of the metric."""
        return sum(weight * math.log(part.value) for weight, part in zip(self.weights, found, strict=True))

    def _calibration_error(self, readout: Readout, calibration: IntArray) -> float:
        """Standard error of the reach from the calibration sample (delete-a-group jackknife)."""
        left = [np.delete(calibration, slice(group, None, JACKKNIFE_GROUPS)) for group in range(JACKKNIFE_GROUPS)]
        values = np.array([self._logarithm(self._resolutions(readout, events)) for events in left])
        return math.sqrt((JACKKNIFE_GROUPS - 1) * float(values.var()))


JACKKNIFE_GROUPS = 10
"""Groups of the jackknife."""


def _named(what: str, values: list[float]) -> Mapping[str, float]:
    return {
        f"{what} {particle} {energy:g} GeV": value for (particle, energy), value in zip(SAMPLES, values, strict=True)
    }


def _linearity(found: list[Resolution]) -> Mapping[str, float]:
    """Mean E_rec over E of every sample."""
    return _named("linearity", [part.mean / energy for part, (_, energy) in zip(found, SAMPLES, strict=True)])
