"""Signals of sensors that are cut out of the showers of a library, fast or stored."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache

import numpy as np

from rl_detector.envs.slab_calorimeter.fast import FITTED_SHOWERS, FastLibrary
from rl_detector.envs.slab_calorimeter.layout import SILICON, Row, row
from rl_detector.envs.slab_calorimeter.library import SLAB_LENGTH_CM, Book, Library, SinglePrecision
from rl_detector.simulators.batch import FromBatch
from rl_detector.space import Design, FloatArray
from rl_detector.terms import Readout

FLUCTUATION, FLUCTUATION_POWER = 4.5, -0.4
"""Variance over mean of the signal of photon showers, in units of the mean signal of one particle, in 0.2 mm of
silicon, and the power of the thickness with which it changes: fitted to Geant4, experiments/slab_calorimeter."""


def sensor_variance(thickness: FloatArray) -> FloatArray:
    """Relative variance per particle that sensors of these thicknesses in mm add to that of the crossings."""
    whole = FLUCTUATION * (thickness / 0.2) ** FLUCTUATION_POWER
    added: FloatArray = np.maximum(whole - FITTED_SHOWERS.clumping, 0.0)
    return added


EVENTS_PER_BOOK = 2000
"""Events of one book, a multiple of the number of samples; more events are several books."""


@dataclass(frozen=True)
class SlabSimulator(FromBatch):
    """Signals of sensors that are cut out of stored showers.

    A sensor sees the particles that cross the plane next to it. Each leaves the energy of a minimum-ionising particle,
    with fluctuations. The signal of n particles is Gamma distributed with mean n and variance v n (approximation of
    Wilson and Hilferty); `sensor_variance` gives v. The straggling of the k-th sensor of all designs of one seed is the
    same. Left out: electronic noise, dead areas, the silicon's own effect on the shower.

    Attributes:
        library: where the showers come from.
        sensors: largest number of sensors.
    """

    library: Library = field(default_factory=FastLibrary)
    sensors: int = 60

    def simulate_batch(self, designs: Sequence[Design], events: int, seeds: Sequence[int]) -> list[Readout]:
        """Readouts of many designs; equal seeds share stored events and random numbers.

        Truth [events]: `sample` (see `library.SAMPLES`), `energy` in GeV, `pion`. Signals [events,
        sensors]: deposit in GeV times the published layer weight gap / thickness.
        """
        rows = [row(layout) for layout in designs]
        parts: list[list[Readout]] = [[] for _ in designs]
        for start in range(0, events, EVENTS_PER_BOOK):
            for built, seed, collected in zip(rows, seeds, parts, strict=True):
                collected.append(
                    self._cut_out(built, min(EVENTS_PER_BOOK, events - start), seed, start // EVENTS_PER_BOOK)
                )
        return [_joined(collected) for collected in parts]

    def describe(self) -> Mapping[str, str]:
        """Facts of the library."""
        return self.library.describe()

    def _cut_out(self, built: Row, events: int, seed: int, number: int) -> Readout:
        """Readout of one book."""
        book = self.library.book(_book_seed(seed, number), events)
        return cut_out(built, book, _normals(seed, number, events, self.sensors)[: len(built.gap)])


def cut_out(built: Row, book: Book, normal: SinglePrecision) -> Readout:
    """Readout of sensors in stored events; `normal` [sensors, events] are the standard normal numbers of straggling."""
    centre = (built.front + built.thickness / 2) / 10
    particles = book.crossings[book.planes(centre)]
    particles[centre >= SLAB_LENGTH_CM] = 0
    variance = sensor_variance(built.thickness)
    if book.thickness is not None:
        variance = np.maximum(variance - sensor_variance(np.array(book.thickness)), 0.0)
    signals = straggled(particles, variance.astype(np.float32)[:, None], normal)
    signals *= (built.gap / 10 * SILICON.mip_loss).astype(np.float32)[:, None]
    return Readout(book.events.truth, signals.T.astype(np.float64))


def straggled(particles: SinglePrecision, variance: SinglePrecision, normal: SinglePrecision) -> SinglePrecision:
    """Signals of numbers of particles in units of the mean signal of one, in the shape of `particles`."""
    ratio = variance / (9 * np.maximum(particles, np.float32(1e-3)))
    root = 1 - ratio + np.sqrt(ratio) * normal
    np.maximum(root, 0, out=root)
    signals: SinglePrecision = particles * (root * root * root)
    return signals


def _book_seed(seed: int, number: int) -> int:
    return int(np.random.SeedSequence(seed, spawn_key=(number, 0)).generate_state(1, np.uint64)[0])


@lru_cache(maxsize=8)
def _normals(seed: int, number: int, events: int, sensors: int) -> SinglePrecision:
    rng = np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(number, 1)))
    return rng.standard_normal((sensors, events), dtype=np.float32)


def _joined(parts: Sequence[Readout]) -> Readout:
    if len(parts) == 1:
        return parts[0]
    truth = {name: np.concatenate([part.truth[name] for part in parts]) for name in parts[0].truth}
    return Readout(truth, np.concatenate([part.signals for part in parts]))
