"""The shower library of a steel slab: events are simulated once, sensors are cut out of them afterwards.

A book of a library holds for each event how many fast particles cross each of many planes. Designs that share a seed
share their book, and so their events. `fast` makes every seed a book of its own; `stored` draws books from a file.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from rl_detector.physics.materials import material
from rl_detector.space import FloatArray, IntArray

SinglePrecision = NDArray[np.float32]


STEEL = material("steel")


SLAB_LENGTH_CM = 200.0
"""Length of the slab in cm (github.com/shahrukhqasim/CaloOptimization)."""


CALIBRATION_LOW, CALIBRATION_HIGH = 9.0, 200.0
"""Spectrum of the calibration sample in GeV, uniform, photons and pi+ in turn (CaloOptimization)."""


SAMPLES: tuple[tuple[str, float], ...] = (("gamma", 50.0), ("pi+", 50.0), ("gamma", 100.0), ("pi+", 100.0))
"""Particles and energies in GeV at which the resolution is measured (CaloOptimization)."""


CALIBRATION_SAMPLE = float(len(SAMPLES))
"""Number of the calibration sample in the truth of a readout."""


@dataclass(frozen=True)
class Events:
    """Primaries: sample number (see `SAMPLES`, `CALIBRATION_SAMPLE`), energy in GeV, whether a pion, arrays [events].

    Samples take turns, so that n events are n / 5 of each; the calibration events are photons and pions in turn.
    """

    sample: FloatArray
    energy: FloatArray
    pion: NDArray[np.bool_]

    @staticmethod
    def of(events: int, rng: np.random.Generator) -> Events:
        turn, number = np.divmod(np.arange(events), len(SAMPLES) + 1)
        calibration = number == CALIBRATION_SAMPLE
        fixed = np.minimum(number, len(SAMPLES) - 1)
        spectrum = rng.uniform(CALIBRATION_LOW, CALIBRATION_HIGH, events)
        energy = np.where(calibration, spectrum, np.array([energy for _, energy in SAMPLES])[fixed])
        pion = np.where(calibration, turn % 2 == 1, np.array([name == "pi+" for name, _ in SAMPLES])[fixed])
        return Events(number.astype(np.float64), energy, pion)

    @property
    def truth(self) -> dict[str, FloatArray]:
        """The truth of a readout."""
        return {"sample": self.sample, "energy": self.energy, "pion": self.pion.astype(np.float64)}


@dataclass(frozen=True)
class Book:
    """Stored events.

    Attributes:
        events: the primaries.
        crossings: fast particles, in units of their mean deposit, at every plane, [planes, events].
        pitch: distance of the planes in cm.
        first: depth of the first one in cm.
        thickness: of the silicon in mm whose fluctuations are in `crossings` already, None for none.
        alone: whether a plane serves one sensor only; the next sensors then get the planes behind.
    """

    events: Events
    crossings: SinglePrecision
    pitch: float
    first: float
    thickness: float | None = None
    alone: bool = False

    def planes(self, depth: FloatArray) -> IntArray:
        """Number of the plane for sensors at ascending depths in cm, at most the last one."""
        nearest = np.maximum(np.floor((depth - self.first) / self.pitch + 0.5), 0)
        if self.alone:
            order = np.arange(len(depth))
            nearest = np.maximum.accumulate(nearest - order) + order
        return np.minimum(nearest, len(self.crossings) - 1).astype(np.intp)


class Library(Protocol):
    """Gives the book of a seed: equal arguments, equal books."""

    def book(self, seed: int, events: int) -> Book:
        """Stored events of this seed."""
        ...

    def describe(self) -> Mapping[str, str]:
        """Facts that every result must state."""
        ...
