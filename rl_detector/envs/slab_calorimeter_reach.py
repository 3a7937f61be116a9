"""What a row of sensors in a steel slab is worth: relative resolution for photons and pions of 50 and 100 GeV."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from rl_detector.envs.slab_calorimeter_library import CALIBRATION, SAMPLES
from rl_detector.errors import ConfigError
from rl_detector.space import FloatArray
from rl_detector.terms import Measurement, Readout

MINIMUM_EVENTS = 50
"""Fewest events per design, 10 of each sample."""

WORST = 10.0
"""Largest sigma / mean: beyond it, or where a sample leaves no signal at all, nothing is measured."""

BETA: tuple[float, ...] = (0.04425, 0.10985, 0.0401, 0.09766)
"""Sigma / mean of the baseline beta for `SAMPLES` in the fast library, the zero of the reach."""


class Resolution(NamedTuple):
    """Sigma / mean of one sample, and what every event of it adds to ln(sigma / mean), [events of the sample]."""

    value: float
    influence: FloatArray
    mean: float


def resolution(energies: FloatArray) -> Resolution:
    """Sigma / mean and its influence function ((x - m)^2 / s^2 - 1) / 2 - (x - m) / m, which has mean 0."""
    mean, sigma = float(energies.mean()), float(energies.std())
    if sigma == 0 or mean <= 0:
        return Resolution(WORST, np.zeros(len(energies)), mean)
    offset = energies - mean
    influence = ((offset / sigma) ** 2 - 1) / 2 - offset / mean
    unbiased = sigma * math.sqrt(len(energies) / (len(energies) - 1))
    return Resolution(min(unbiased / mean, WORST), influence, mean)


@dataclass(frozen=True)
class SlabReach:
    """reach = ln(metric of beta / metric), metric = product of (sigma / mean)^weight over the four samples.

    So the reach is the weighted mean of ln improvements: 50 and 100 GeV count alike, photons with the weight
    `electromagnetic`, pions with the rest. E_rec = a sum of the signals, which carry the published layer weights gap /
    thickness; a from least squares on the calibration sample, photons and pions together. Sigma / mean does not depend on
    a; the diagnostics `linearity` do: mean E_rec / E of each sample. The losses are metric (1 + influence of the event),
    so that their mean is the metric, and their scatter gives its standard error and that of paired differences (delta
    method).

    Attributes:
        electromagnetic: weight of the photons, between 0 and 1.
        reference: sigma / mean of the baseline for `SAMPLES`.
    """

    electromagnetic: float = 0.5
    reference: tuple[float, ...] = BETA

    def __post_init__(self) -> None:
        if not 0 <= self.electromagnetic <= 1:
            raise ConfigError(f"the weight of the photons must lie in [0, 1], got {self.electromagnetic}")

    @property
    def weights(self) -> tuple[float, ...]:
        """Weight of each sample, sum 1."""
        shares = {"gamma": self.electromagnetic, "pi+": 1 - self.electromagnetic}
        return tuple(shares[particle] / 2 for particle, _ in SAMPLES)

    def measure(self, readout: Readout) -> Measurement:
        """Reach of one readout of a `SlabSimulator`."""
        energies = readout.signals.sum(axis=1)
        sample, events = readout.truth["sample"], len(energies)
        found = [resolution(energies[sample == number]) for number in range(len(SAMPLES))]
        influence = np.zeros(events)
        for number, (weight, part) in enumerate(zip(self.weights, found, strict=True)):
            influence[sample == number] = weight * part.influence * events / len(part.influence)
        logarithms = [w * math.log(part.value / zero) for w, part, zero in self._terms(found)]
        metric = math.exp(sum(w * math.log(part.value) for w, part, _ in self._terms(found)))
        error = max(float(influence.std(ddof=1)), math.sqrt(events) / WORST * (not influence.any())) / math.sqrt(events)
        return Measurement(
            reach=-sum(logarithms),
            error=error,
            metric=metric,
            metric_error=error * metric,
            losses=metric * (1 + influence),
            diagnostics={**_named("resolution", [part.value for part in found]), **_linearity(readout, found)},
        )

    def _terms(self, found: list[Resolution]) -> list[tuple[float, Resolution, float]]:
        return list(zip(self.weights, found, self.reference, strict=True))


def _named(what: str, values: list[float]) -> Mapping[str, float]:
    return {
        f"{what} {particle} {energy:g} GeV": value for (particle, energy), value in zip(SAMPLES, values, strict=True)
    }


def _linearity(readout: Readout, found: list[Resolution]) -> Mapping[str, float]:
    """Mean E_rec over E of every sample, E_rec calibrated with the one number a."""
    chosen = readout.truth["sample"] == CALIBRATION
    signals, energies = readout.signals[chosen].sum(axis=1), readout.truth["energy"][chosen]
    scale = float(signals @ energies) / max(float(signals @ signals), 1e-12)
    return _named("linearity", [scale * part.mean / energy for part, (_, energy) in zip(found, SAMPLES, strict=True)])
