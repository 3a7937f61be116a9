"""The spectrometer as a design problem, and its simulator; the card is in the docstring of the package."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any

import numpy as np

from rl_detector.envs.spectrometer.fast import MINIMUM_HITS, Spectrometer, TrackBeam
from rl_detector.envs.spectrometer.geant4 import ENERGY_THRESHOLD, LONGEST_STEP, TrackedSpectrometer
from rl_detector.envs.spectrometer.layout import (
    MAGNET_LENGTH,
    MAGNET_START,
    STATION_WIDTH,
    baselines,
    channels,
    components,
    price,
    space,
    stations_of,
)
from rl_detector.envs.spectrometer.reach import MomentumReach
from rl_detector.errors import ConfigError, SimulationError
from rl_detector.physics.constants import AIR_RADIATION_LENGTH_M
from rl_detector.physics.tracks import Dipole
from rl_detector.problem import DesignProblem
from rl_detector.simulators.batch import FromBatch
from rl_detector.simulators.trackers import tracker_of
from rl_detector.space import Design
from rl_detector.terms import Constraint, Cost, Readout

GASES: Mapping[str, float] = {"vacuum": math.inf, "helium": 5671.0, "air": AIR_RADIATION_LENGTH_M}
"""Radiation length in m of what fills the gaps (PDG 2024, at 20 C and 1 atm)."""


REFERENCE_EVENTS = 20_000


REFERENCE_SAMPLES = 10


REFERENCE_SEED = 20_241_215
"""Samples that give the zero of the reach, to about 0.3 %, and the seed of the first one."""


MOST_STATIONS = 500
"""Stations beyond which building the problem itself takes long."""


@dataclass(frozen=True)
class SpectrometerSimulator(FromBatch):
    """Tracks and their fitted momenta for designs of this space.

    Attributes:
        spectrometer: magnet, gas, aperture and beam, with fast tracks or tracks from another simulator.
    """

    spectrometer: Spectrometer | TrackedSpectrometer

    def simulate_batch(
        self, designs: Sequence[Design], events: int, seeds: Sequence[int]
    ) -> Sequence[Readout | SimulationError]:
        """Readouts of many designs; equal seeds share tracks and random numbers.

        Truth `kappa` = q / p, signals fitted kappa, its error [1/GeV], number of hits.
        """
        return self.spectrometer.readouts([stations_of(layout) for layout in designs], events, seeds)

    def describe(self) -> Mapping[str, str]:
        """Facts of magnet and beam."""
        return self.spectrometer.describe()


def spectrometer(
    stations: int = 8,
    field: float = 1.0,
    momentum_low: float = 2.0,
    momentum_high: float = 200.0,
    pion_fraction: float = 0.5,
    gas: str = "helium",
    cost_weight: float = 0.05,
    penalty_weight: float = 5.0,
    simulator: str | Mapping[str, Any] = "fast",
) -> DesignProblem:
    """The spectrometer as a design problem; `rl-detector list spectrometer` explains the arguments.

    Raises:
        ConfigError: an impossible setting.
    """
    _check(stations, gas, field)
    magnet = Dipole(field, MAGNET_START / 100, MAGNET_LENGTH / 100)
    beam = TrackBeam(momentum_low, momentum_high, pion_fraction)
    layouts = baselines(stations)
    fast = Spectrometer(magnet, GASES[gas], STATION_WIDTH / 100, beam)
    tracker = tracker_of("the spectrometer", simulator, step=LONGEST_STEP, threshold=ENERGY_THRESHOLD)
    start = layouts["equidistant"]
    problem = DesignProblem(
        name="spectrometer",
        space=space(stations),
        simulator=SpectrometerSimulator(fast if tracker is None else TrackedSpectrometer(fast, tracker, gas)),
        reach=MomentumReach(1.0),
        costs=(Cost("price", "EUR", price(start), price),),
        constraints=(Constraint("channels", "channels", channels(start), channels),),
        baselines=layouts,
        cost_weight=cost_weight,
        penalty_weight=penalty_weight,
        conditions={
            "field": field,
            "momentum_low": momentum_low,
            "momentum_high": momentum_high,
            "pion_fraction": pion_fraction,
        },
        layout=components,
        metric="mean sigma_p / p, a lost track counts as 1/3",
        minimum_events=MINIMUM_EVENTS,
    )
    return replace(problem, reach=MomentumReach(_reference(SpectrometerSimulator(fast), stations)))


MINIMUM_EVENTS = 10
"""Fewest tracks per design that give a mean error and its own error."""


def _check(stations: int, gas: str, field: float) -> None:
    if not MINIMUM_HITS < stations <= MOST_STATIONS:
        raise ConfigError(
            f"a spectrometer needs more than {MINIMUM_HITS} stations, got {stations}; the most are {MOST_STATIONS}"
        )
    if gas not in GASES:
        raise ConfigError(f"unknown gas {gas!r} of the spectrometer: known are {', '.join(GASES)}")
    if not 0 < field < math.inf:
        raise ConfigError(f"a spectrometer needs a field > 0 T, got {field}")


@lru_cache
def _reference(simulator: SpectrometerSimulator, stations: int) -> float:
    """Metric of the first baseline."""
    start = baselines(stations)["equidistant"]
    seeds = range(REFERENCE_SEED, REFERENCE_SEED + REFERENCE_SAMPLES)
    found = [MomentumReach(1.0).measure(simulator.simulate(start, REFERENCE_EVENTS, seed)) for seed in seeds]
    return float(np.mean([measurement.metric for measurement in found]))
