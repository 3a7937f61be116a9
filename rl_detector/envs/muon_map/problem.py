"""Muon tomography of a block of lead in light material: panels above and below, and a map of radiation lengths.

A block of lead of 0.5 x 0.1 x 0.1 m3 lies somewhere in 0.6 x 1 x 1 m3 of light material (x, y, z); where, changes from
scan to scan. Two to four panels above and below, each with position, size and technology, see the muons go in and come
out; the map of X0 in 600 voxels of 10 cm is judged. Physics as in TomOpt (G. C. Strong et al.,
github.com/GilesStrong/tomopt): cosmic muons at sea level with known momenta, multiple scattering, no energy loss.

An event is one muon that crosses the volume. A scan is so many events in a row; the events of a seed are the same
muons, scattered alike, for all designs.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache, partial

import numpy as np

from rl_detector.envs.muon_map.layout import (
    BUDGET,
    MOST,
    SIDES,
    asked,
    baselines,
    built,
    components,
    panels,
    space,
)
from rl_detector.envs.muon_map.reach import CHANNELS, MINIMUM_EVENTS, MapReach, signals_of
from rl_detector.envs.muon_map.volume import BOTTOM, PLACES, TOP, densities, sample_muons, scatter
from rl_detector.errors import ConfigError
from rl_detector.physics.cosmic_muons import BoolArray, Muons, Rays
from rl_detector.physics.materials import material
from rl_detector.problem import DesignProblem
from rl_detector.simulators.batch import FromBatch
from rl_detector.simulators.panels import Panels, measured_tracks
from rl_detector.space import Design, FloatArray
from rl_detector.terms import Constraint, Cost, Readout

REFERENCE_SCANS, REFERENCE_SEED = 40, 20_251_017
"""Scans from which the zero of the reach is taken, to about 8 %, and their seed; any fixed number does."""


@dataclass(frozen=True)
class MapSimulator(FromBatch):
    """Muons through light material with a block of lead, and their tracks above and below.

    Attributes:
        budget: kEUR, see `built`.
        muons: per scan, in which the block keeps its place.
        light: the light material.
    """

    budget: float = BUDGET
    muons: int = 10_000
    light: str = "water"

    def simulate_batch(self, designs: Sequence[Design], events: int, seeds: Sequence[int]) -> list[Readout]:
        """Readouts of many designs; those with equal seeds share the muons.

        Truth `place` of the block [events]; signals `CHANNELS` [events, 13].
        """
        layouts = [built(design, self.budget) for design in designs]
        signals = np.zeros((len(designs), events, len(CHANNELS)))
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
    upper, lower = (panels(layout, side) for side in SIDES)
    above, good = measured_tracks(upper, draws.muons.rays, TOP, *draws.noise(0, upper), 0.0)
    kept = np.flatnonzero(good & draws.down)
    errors, luck = (each[..., kept] for each in draws.noise(1, lower))
    below, good = measured_tracks(lower, draws.scattered.take(kept), BOTTOM, errors, luck, 0.0)
    both = np.flatnonzero(good)
    seen = kept[both]
    signals[seen] = signals_of(draws.muons.momentum[seen], above.take(seen), below.take(both))


@dataclass(frozen=True)
class _Draws:
    """What does not depend on the design: place of the block, muons, scattering, random numbers of the panels.

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
        place = int(rng.integers(PLACES.prod()))
        incoming = sample_muons(rng, muons)
        scattered, down = scatter(incoming, densities(place, light), rng.standard_normal((2, 2, muons)))
        errors = rng.standard_normal((len(SIDES), 2, MOST, muons))
        return _Draws(place, incoming, scattered, down, errors, rng.random((len(SIDES), MOST, muons)))

    def noise(self, side: int, panels: Panels) -> tuple[FloatArray, FloatArray]:
        """Errors and luck of the hits above (0) or below (1)."""
        count = len(panels.heights)
        return self.errors[side, :, :count], self.luck[side, :count]


def muon_map(
    budget: float = BUDGET,
    light: str = "water",
    muons_per_scan: int = 10_000,
    cost_weight: float = 0.1,
    penalty_weight: float = 5.0,
) -> DesignProblem:
    """The panels around light material with a block of lead as a design problem.

    The zero of the reach is the metric of the first baseline, RPCs, with the same settings. Whole scans are sensible:
    eight give an error of the reach of about 0.2, half of it common to designs with the same muons.

    Args:
        budget: kEUR; a dearer design is built smaller, see `built`.
        light: the light material, one of `rl_detector.physics.materials`.
        muons_per_scan: muons that cross the volume in one scan; 10,000 are about a minute.
        cost_weight: reach that spending the whole budget must buy.
        penalty_weight: reach per relative excess over the budget, which `built` does not allow.

    Raises:
        ConfigError: an impossible setting.
    """
    _check(budget, light, muons_per_scan)
    simulator = MapSimulator(budget, muons_per_scan, light)

    def price(layout: Design) -> float:
        return asked(built(layout, budget))

    return DesignProblem(
        name="muon_map",
        space=space(),
        simulator=simulator,
        reach=MapReach(_reference(simulator), muons_per_scan, light),
        costs=(Cost("panels", "kEUR", budget, price),),
        constraints=(Constraint("budget", "kEUR", budget * (1 + 1e-9), price),),
        baselines=baselines(budget),
        cost_weight=cost_weight,
        penalty_weight=penalty_weight,
        conditions={"budget": budget, "muons_per_scan": float(muons_per_scan)},
        layout=partial(components, light=light),
        metric="rms error of ln X0 in a map",
        minimum_events=MINIMUM_EVENTS,
    )


MOST_MUONS = 10_000_000
"""Muons of a scan that still fit in the memory of one computer."""


def _check(budget: float, light: str, muons: int) -> None:
    if not 0 < budget < np.inf:
        raise ConfigError(f"the budget of muon_map must be positive and finite, got {budget}")
    if not MINIMUM_EVENTS <= muons <= MOST_MUONS:
        raise ConfigError(
            f"a scan of muon_map needs at least {MINIMUM_EVENTS} muons, got {muons}; the most are {MOST_MUONS}"
        )
    if material(light).radiation_length < 2 * material("Pb").radiation_length:
        raise ConfigError(f"light material of muon_map must have at least twice the X0 of lead, got {light!r}")


@lru_cache
def _reference(simulator: MapSimulator) -> float:
    """Metric of the first baseline."""
    start = next(iter(baselines(simulator.budget).values()))
    readout = simulator.simulate(start, REFERENCE_SCANS * simulator.muons, REFERENCE_SEED)
    return MapReach(1.0, simulator.muons, simulator.light).measure(readout).metric
