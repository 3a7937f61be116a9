"""The spectrometer with tracks from a simulator of tracks such as Geant4: same tracks, same hits, same fit."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from rl_detector.envs.spectrometer.fast import Draws, Spectrometer, Stations, Tracks
from rl_detector.errors import SimulationError
from rl_detector.physics.magnets import Block
from rl_detector.physics.materials import material
from rl_detector.physics.tracks import Dipole, exact_path
from rl_detector.simulators.hall import Charged, Crossings, Hall, Matter, Tracker
from rl_detector.space import FloatArray
from rl_detector.terms import Readout

HALL_HALF_WIDTH = 300.0
"""Of hall, stations and field in cm: wider than any station, so that none has an edge that scatters less."""


LONGEST_STEP, ENERGY_THRESHOLD = 5.0, 0.05
"""Longest step in cm in field and stations, and kinetic energy in GeV below which tracks are dropped."""


_PLANE = 1e-3
"""Distance in cm of a plane in front of its station; there is no field in this gap."""


_NONE = (0.0, 0.0, 0.0)


_SQUARE = (HALL_HALF_WIDTH - 1) * np.array([[-1.0, -1], [1, -1], [1, 1], [-1, 1]])


_SEED = (4,)
"""Spawn key of the tracker's seed; those before belong to tracks and hits."""


@dataclass(frozen=True)
class TrackedSpectrometer:
    """A spectrometer whose tracks another simulator bends, scatters and slows.

    Every station is silicon of its thickness in radiation lengths. Pions are followed as muons of the same momentum and
    lost as in the fast simulator, as the data-free list of Geant4 has no pions above 30 GeV.

    Attributes:
        spectrometer: magnet, beam, hits and fit.
        tracker: follows the tracks.
        medium: what fills the gaps.
    """

    spectrometer: Spectrometer
    tracker: Tracker
    medium: str

    def readouts(
        self, layouts: Sequence[Stations], events: int, seeds: Sequence[int]
    ) -> list[Readout | SimulationError]:
        """See `Spectrometer.readouts`; a failure stands in its place."""
        most = max(len(layout.position) for layout in layouts)
        draws = {seed: Draws.of(self.spectrometer.beam, events, seed, most) for seed in set(seeds)}
        halls = [hall(layout, self.spectrometer.magnet, self.medium) for layout in layouts]
        numbers = [int(np.random.SeedSequence(seed, spawn_key=_SEED).generate_state(1)[0]) for seed in seeds]
        found = self.tracker.crossings(halls, [muons(draws[seed].tracks) for seed in seeds], numbers)
        return [
            each if isinstance(each, SimulationError) else self._readout(layout, draws[seed], each)
            for layout, seed, each in zip(layouts, seeds, found, strict=True)
        ]

    def _readout(self, layout: Stations, draws: Draws, found: Crossings) -> Readout:
        """The fit is linear in the parameters of a track, so it gets the hits of a linear track with the same noise.

        The difference between circle and parabola is subtracted, as an iterated fit would do.
        """
        x, y = np.moveaxis(found.position, (2, 1), (0, 1)) / 100
        linear = x - curvature(layout.position[:, None], draws.tracks, self.spectrometer.magnet)
        there = found.seen.T & np.isfinite(linear) & (np.abs(x) < self.spectrometer.width / 2)
        steps = self.spectrometer.steps(layout, draws.tracks)
        return self.spectrometer.measured(layout, steps, draws, np.where(there, linear, np.inf), y)

    def describe(self) -> Mapping[str, str]:
        """Facts of the tracker, magnet and beam."""
        return {**self.spectrometer.describe(), **self.tracker.describe()}


def hall(layout: Stations, magnet: Dipole, medium: str) -> Hall:
    """Stations, and the field of the magnet in them and in the gas between them; a plane in front of every station."""
    front = 100 * layout.position
    back = front + layout.radiation * material("Si").radiation_length
    low, high = 100 * magnet.start, 100 * (magnet.start + magnet.length)
    edges = np.clip(np.stack([front - _PLANE, back], axis=1).reshape(-1), low, high)
    gas = np.concatenate([[low], edges, [high]]).reshape(-1, 2)
    bent = (0.0, -magnet.field, 0.0)  # a positive charge goes to positive x
    inside = (low < front) & (front < high)
    silicon = [_block(a, b, bent if there else _NONE) for a, b, there in zip(front, back, inside, strict=True)]
    filling = [_block(a, b, bent) for a, b in gas if a < b]
    matter = (Matter("Si"),) * len(silicon) + (Matter(medium),) * len(filling)
    return Hall((*silicon, *filling), tuple((front - _PLANE).tolist()), matter, medium, HALL_HALF_WIDTH)


def _block(z_in: float, z_out: float, field: tuple[float, float, float]) -> Block:
    return Block(float(z_in), float(z_out), _SQUARE, _SQUARE, field)


def curvature(z: FloatArray, tracks: Tracks, magnet: Dipole) -> FloatArray:
    """Exact position less that of first order in m, of unscattered tracks at z in m."""
    linear = tracks.slope_x * z + tracks.kappa * magnet.bend(z)
    return exact_path(z, tracks.slope_x, tracks.kappa, magnet) - linear


def muons(tracks: Tracks) -> Charged:
    """The tracks as muons; their momentum is that in the bending plane."""
    pz = tracks.momentum / np.hypot(1.0, tracks.slope_x)
    position = 100 * np.stack([tracks.x, tracks.y, np.zeros_like(tracks.x)], axis=1)
    momentum = pz[:, None] * np.stack([tracks.slope_x, tracks.slope_y, np.ones_like(pz)], axis=1)
    return Charged.muons(position, momentum, np.sign(tracks.kappa))
