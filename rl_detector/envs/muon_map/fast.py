"""Fast simulation of a scan: muons through light material with a block of lead, and their tracks in the panels."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from rl_detector.envs.muon_map.layout import ABOVE_AND_BELOW, BUDGET_KEUR, MOST_PANELS, built, panels
from rl_detector.envs.muon_map.reach import SIGNAL_CHANNELS, signals_of
from rl_detector.envs.muon_map.volume import BLOCK_PLACES, FLOOR_HEIGHT, TOP_HEIGHT, densities, sample_muons, scatter
from rl_detector.physics.cosmic_muons import BoolArray, Muons, Rays
from rl_detector.simulators.batch import FromBatch
from rl_detector.simulators.panels import Panels, measured_tracks
from rl_detector.space import Design, FloatArray
from rl_detector.terms import Readout


@dataclass(frozen=True)
class MapSimulator(FromBatch):
    """Muons through light material with a block of lead, and their tracks above and below.

    Attributes:
        budget: kEUR, see `built`.
        muons: per scan, in which the block keeps its place.
        light: the light material.
    """

    budget: float = BUDGET_KEUR
    muons: int = 10_000
    light: str = "water"

    def simulate_batch(self, designs: Sequence[Design], events: int, seeds: Sequence[int]) -> list[Readout]:
        """Readouts of many designs; those with equal seeds share the muons.

        Truth `place` of the block [events]; signals `SIGNAL_CHANNELS` [events, 13].
        """
        layouts = [built(design, self.budget) for design in designs]
        signals = np.zeros((len(designs), events, len(SIGNAL_CHANNELS)))
        places = np.empty((len(designs), events))
        for seed in dict.fromkeys(seeds):
            chosen = [i for i, other in enumerate(seeds) if other == seed]
            for first in range(0, events, self.muons):
                scan = slice(first, min(first + self.muons, events))
                draws = _Draws.of(seed, first // self.muons, scan.stop - first, self.light)
                places[chosen, scan] = draws.place
                for i in chosen:
                    _see(layouts[i], draws, signals[i, scan])
        return [Readout({"place": place}, each) for place, each in zip(places, signals, strict=True)]

    def describe(self) -> Mapping[str, str]:
        """What is simulated."""
        return {"simulator": f"muons through lead in {self.light}", "scan": f"{self.muons} muons"}


def _see(layout: Design, draws: _Draws, signals: FloatArray) -> None:
    """Write the signals of the muons that are seen above and below; below, only those seen above are traced."""
    upper, lower = (panels(layout, side) for side in ABOVE_AND_BELOW)
    above, good = measured_tracks(upper, draws.muons.rays, TOP_HEIGHT, *draws.noise(0, upper), 0.0)
    kept = np.flatnonzero(good & draws.down)
    errors, luck = (each[..., kept] for each in draws.noise(1, lower))
    below, good = measured_tracks(lower, draws.scattered.take(kept), FLOOR_HEIGHT, errors, luck, 0.0)
    both = np.flatnonzero(good)
    seen = kept[both]
    signals[seen] = signals_of(draws.muons.momentum[seen], above.take(seen), below.take(both))


@dataclass(frozen=True)
class _Draws:
    """Draws that do not depend on the design: place of the block, muons, scattering, random numbers of the panels.

    Attributes:
        place: of the block.
        muons: at the top, [muons].
        scattered, down: at the floor of the volume, and whether they go down, [muons].
        errors, luck: of hits, for the upper and lower panels, [2, 2, panels, muons] and [2, panels, muons].
    """

    place: int
    muons: Muons
    scattered: Rays
    down: BoolArray
    errors: FloatArray
    luck: FloatArray

    @staticmethod
    def of(seed: int, scan: int, muons: int, light: str) -> _Draws:
        rng = np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(scan,)))
        place = int(rng.integers(BLOCK_PLACES.prod()))
        incoming = sample_muons(rng, muons)
        scattered, down = scatter(incoming, densities(place, light), rng.standard_normal((2, 2, muons)))
        errors = rng.standard_normal((len(ABOVE_AND_BELOW), 2, MOST_PANELS, muons))
        return _Draws(place, incoming, scattered, down, errors, rng.random((len(ABOVE_AND_BELOW), MOST_PANELS, muons)))

    def noise(self, side: int, panels: Panels) -> tuple[FloatArray, FloatArray]:
        """Errors and luck of the hits above (0) or below (1)."""
        count = len(panels.heights)
        return self.errors[side, :, :count], self.luck[side, :count]
