"""Fast simulation of a furnace in cosmic muons: their scattering, hits in the panels, and vertices.

A tracker such as Geant4 may follow the muons through the furnace instead.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from rl_detector.envs.muon_tomography.furnace import (
    FILL_HEIGHTS,
    FURNACE_BOTTOM,
    FURNACE_TOP,
    FURNACE_WIDTH,
    TOP_HEIGHT,
    sample_muons,
    scatter,
)
from rl_detector.envs.muon_tomography.geant4 import scattered
from rl_detector.envs.muon_tomography.layout import ABOVE_AND_BELOW, BUDGET_UNITS, PANELS_PER_SIDE, built, panels
from rl_detector.errors import SimulationError
from rl_detector.physics.closest_approach import Tracks, closest_approach, vertex_height_error
from rl_detector.physics.cosmic_muons import BoolArray, Muons, Rays
from rl_detector.simulators.batch import FromBatch
from rl_detector.simulators.hall import Tracker
from rl_detector.simulators.panels import measured_tracks
from rl_detector.space import Design, FloatArray, IntArray
from rl_detector.terms import Readout

EDGE_SHARE = 0.1
"""Share of the half width within which vertices near a wall's outside count less (TomOpt; the value is our choice)."""


MUONS_PER_BLOCK = 4096
"""Muons that are simulated together, a multiple of the number of fill heights; another number gives other events."""


POSITIVE_SHARE = 0.56
"""Share of positive muons at sea level (PDG 2024, "Cosmic rays": charge ratio 1.25 to 1.30)."""


NO_VERTEX = np.array([0.0, 1.0, 0.0])
"""Signals of a muon without a vertex in the furnace: height and its error in m, acceptance."""


@dataclass(frozen=True)
class TomographySimulator(FromBatch):
    """Vertices of muons that scatter in a ladle furnace, reconstructed from the hits of panels.

    Attributes:
        budget: what is spent exactly, see `built`; None: spans are as they are.
        smoothness: of the panels' edges, 0: sharp, see `nearness`.
        tracker: follows the muons through the furnace; None: fast scattering without loss of energy.
    """

    budget: float | None = BUDGET_UNITS
    smoothness: float = 0.0
    tracker: Tracker | None = None

    def simulate_batch(
        self, designs: Sequence[Design], events: int, seeds: Sequence[int]
    ) -> list[Readout | SimulationError]:
        """Readouts of many designs; those with equal seeds share the muons.

        Truth `height` [events] in m; signals z, its error (m) and acceptance [events, 3].
        """
        layouts = [built(design, self.budget) for design in designs]
        readouts: dict[int, Readout | SimulationError] = {}
        for seed in dict.fromkeys(seeds):
            chosen = [i for i, other in enumerate(seeds) if other == seed]
            try:
                found: Sequence[Readout | SimulationError] = self._readouts([layouts[i] for i in chosen], events, seed)
            except SimulationError as error:
                found = [error] * len(chosen)
            readouts.update(zip(chosen, found, strict=True))
        return [readouts[i] for i in range(len(designs))]

    def _readouts(self, layouts: Sequence[Design], events: int, seed: int) -> list[Readout]:
        signals = np.empty((len(layouts), events, 3))
        for first in range(0, events, MUONS_PER_BLOCK):
            last = min(first + MUONS_PER_BLOCK, events)
            draws = _Draws.of(seed, first // MUONS_PER_BLOCK, last - first, self.tracker)
            for row, layout in zip(signals, layouts, strict=True):
                row[first:last] = self._vertices(layout, draws)
        truth = np.resize(FILL_HEIGHTS, events)
        return [Readout({"height": truth}, each) for each in signals]

    def _vertices(self, layout: Design, draws: _Draws) -> FloatArray:
        """z, its error and acceptance of every muon, [muons, 3]; below, only muons that were seen above are traced."""
        upper, lower = (panels(layout, side) for side in ABOVE_AND_BELOW)
        above, good = measured_tracks(upper, draws.muons.rays, TOP_HEIGHT, *draws.noise(0), self.smoothness)
        kept = np.flatnonzero(good & draws.down)
        errors, luck = (each[..., kept] for each in draws.noise(1))
        rays = draws.scattered.take(kept)
        below, good = measured_tracks(lower, rays, FURNACE_BOTTOM, errors, luck, self.smoothness)
        result = np.tile(NO_VERTEX, (len(draws.down), 1))
        both = np.flatnonzero(good)
        result[kept[both]] = _reconstruct(above.take(kept[both]), below.take(both))
        return result

    def describe(self) -> Mapping[str, str]:
        """What is simulated."""
        edges = "sharp" if self.smoothness == 0 else f"smooth, {self.smoothness:g}"
        spent = "as designed" if self.budget is None else f"scaled to {self.budget:g} units"
        facts = {"simulator": "muons in a ladle furnace", "edges of panels": edges, "panels": spent}
        return facts if self.tracker is None else {**facts, **self.tracker.describe()}


def _reconstruct(above: Tracks, below: Tracks) -> FloatArray:
    """Height of the vertex and its error in m, and acceptance, [tracks, 3]; `NO_VERTEX` without a vertex inside."""
    plane = (FURNACE_TOP + FURNACE_BOTTOM) / 2
    level = np.full(above.good.shape, plane)
    vertex = closest_approach(above.at(level), above.slope, below.at(level), below.slope, plane)
    away = np.abs(np.stack([vertex.x, vertex.y]) - FURNACE_WIDTH / 2) / (FURNACE_WIDTH / 2)
    inside = vertex.good & (vertex.z > FURNACE_BOTTOM) & (vertex.z < FURNACE_TOP) & (away < 1).all(axis=0)
    error = vertex_height_error(above, below, vertex.z)
    acceptance = np.tanh((1 - away) / (2 * EDGE_SHARE)).prod(axis=0)
    return np.where(inside[:, None], np.stack([vertex.z, error, acceptance], axis=-1), NO_VERTEX)


@dataclass(frozen=True)
class _Draws:
    """Draws that do not depend on the design: muons, their scattering, and the panels' random numbers.

    Attributes:
        muons: incoming, [muons].
        scattered, down: outgoing, and whether they go down, [muons].
        errors, luck: of hits, for the upper and the lower panels, [2, 2, panels, muons] and [2, panels, muons].
    """

    muons: Muons
    scattered: Rays
    down: BoolArray
    errors: FloatArray
    luck: FloatArray

    @staticmethod
    def of(seed: int, block: int, muons: int, tracker: Tracker | None = None) -> _Draws:
        rng = np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(block,)))
        incoming = sample_muons(rng, muons)
        fills = np.resize(np.arange(len(FILL_HEIGHTS)), muons)
        normals = rng.standard_normal((2, 2, muons))
        outgoing, down = _outgoing(tracker, incoming, fills, normals, (seed, block))
        errors = rng.standard_normal((len(ABOVE_AND_BELOW), 2, PANELS_PER_SIDE, muons))
        return _Draws(incoming, outgoing, down, errors, rng.random((len(ABOVE_AND_BELOW), PANELS_PER_SIDE, muons)))

    def noise(self, side: int) -> tuple[FloatArray, FloatArray]:
        """Errors and luck of the hits above (0) or below (1)."""
        return self.errors[side], self.luck[side]


def _outgoing(
    tracker: Tracker | None, muons: Muons, fills: IntArray, normals: FloatArray, place: tuple[int, int]
) -> tuple[Rays, BoolArray]:
    """Muons below the furnace; a tracker has random numbers of its own for (seed, block)."""
    if tracker is None:
        return scatter(muons, fills, normals)
    rng = np.random.default_rng(np.random.SeedSequence(place[0], spawn_key=(place[1], 1)))
    charge = np.where(rng.random(len(fills)) < POSITIVE_SHARE, 1.0, -1.0)
    return scattered(tracker, muons, fills, charge, int(rng.integers(2**32)))
