"""The map of radiation lengths as a design problem, and its simulator; the card is in the package's docstring."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache, partial

import numpy as np

from rl_detector.envs.muon_map.layout import (
    ABOVE_AND_BELOW,
    BUDGET_KEUR,
    MOST_PANELS,
    asked,
    baselines,
    built,
    components,
    panels,
    space,
)
from rl_detector.envs.muon_map.reach import MINIMUM_EVENTS, SIGNAL_CHANNELS, MapReach, signals_of
from rl_detector.envs.muon_map.volume import BLOCK_PLACES, FLOOR_HEIGHT, TOP_HEIGHT, densities, sample_muons, scatter
from rl_detector.errors import ConfigError
from rl_detector.physics.cosmic_muons import BoolArray, Muons, Rays
from rl_detector.physics.materials import material
from rl_detector.problem import DesignProblem
from rl_detector.simulators.batch import FromBatch
from rl_detector.simulators.panels import Panels, measured_tracks
from rl_detector.space import Design, FloatArray
from rl_detector.terms import Constraint, Cost, Readout

REFERENCE_SCANS, REFERENCE_SEED = 40, 20_251_017
"""Scans that give the zero of the reach, to about 8 %, and their seed; any fixed seed does."""


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


def muon_map(
    budget: float = BUDGET_KEUR,
    light: str = "water",
    muons_per_scan: int = 10_000,
    cost_weight: float = 0.1,
    penalty_weight: float = 5.0,
) -> DesignProblem:
    """The panels as a design problem; `rl-detector list muon_map` explains the arguments.

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


MOST_MUONS_PER_SCAN = 10_000_000
"""Most muons of a scan that fit in the memory of one computer."""


def _check(budget: float, light: str, muons: int) -> None:
    if not 0 < budget < np.inf:
        raise ConfigError(f"the budget of muon_map must be positive and finite, got {budget}")
    if not MINIMUM_EVENTS <= muons <= MOST_MUONS_PER_SCAN:
        raise ConfigError(
            f"a scan of muon_map needs at least {MINIMUM_EVENTS} muons, got {muons}; the most are {MOST_MUONS_PER_SCAN}"
        )
    if material(light).radiation_length < 2 * material("Pb").radiation_length:
        raise ConfigError(f"light material of muon_map must have at least twice the X0 of lead, got {light!r}")


@lru_cache
def _reference(simulator: MapSimulator) -> float:
    """Metric of the first baseline."""
    start = next(iter(baselines(simulator.budget).values()))
    readout = simulator.simulate(start, REFERENCE_SCANS * simulator.muons, REFERENCE_SEED)
    return MapReach(1.0, simulator.muons, simulator.light).measure(readout).metric
