"""The calorimeter as a design problem; its card is in the docstring of the package."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import replace
from functools import lru_cache
from typing import Any

import numpy as np

from rl_detector.envs.calorimeter.fast import CalorimeterSimulator, engine
from rl_detector.envs.calorimeter.layout import (
    LENGTH_LIMIT,
    PRICE_LIMIT,
    baselines,
    components,
    event_features,
    length,
    price,
    space,
    view,
)
from rl_detector.errors import ConfigError
from rl_detector.problem import DesignProblem
from rl_detector.reach.mutual_information import MutualInformationReach
from rl_detector.reach.resolution import MINIMUM_EVENTS, ResolutionReach
from rl_detector.simulators.command.needs import Needs
from rl_detector.simulators.command.simulator import command_simulator
from rl_detector.simulators.fast_stack.simulator import FastStackSimulator
from rl_detector.simulators.stack import Beam, StackSimulator
from rl_detector.terms import Constraint, Cost, Features, Readout, Simulator

REFERENCE_EVENTS = 20_000


REFERENCE_SAMPLES = 16
"""Samples of `REFERENCE_EVENTS` events of the fast simulator that give the zero of the reach, to about 0.4 %."""


REFERENCE_SEED = 20_240_612
"""Seed of the first sample; any fixed number does."""


MOST_LAYERS = 500
"""Layers beyond which building the problem itself takes long."""


def _simulator(
    simulator: str | Mapping[str, Any] | StackSimulator, beam: Beam, layers: int, conditions: Mapping[str, float]
) -> Simulator:
    """A stack simulator with this beam and photostatistics; a user's executable (command) simulates both itself."""
    if not isinstance(simulator, (str, Mapping)):
        return CalorimeterSimulator(simulator, beam)
    if "command" in (simulator, simulator["name"] if isinstance(simulator, Mapping) else None):
        return command_simulator(simulator, Needs(space(layers), {"energy": "GeV"}, "GeV", layers, conditions))
    return CalorimeterSimulator(engine(simulator), beam)


def calorimeter(
    simulator: str | Mapping[str, Any] | StackSimulator = "fast",
    layers: int = 3,
    photon_fraction: float = 0.5,
    energy_low: float = 1.0,
    energy_high: float = 20.0,
    cost_weight: float = 0.05,
    penalty_weight: float = 5.0,
    reach: str = "resolution",
) -> DesignProblem:
    """The calorimeter as a design problem; `rl-detector list calorimeter` explains the arguments.

    Raises:
        ConfigError: an impossible setting.
    """
    if reach not in REACHES:
        raise ConfigError(f"unknown reach {reach!r} of the calorimeter: known are {', '.join(REACHES)}")
    if not 1 <= layers <= MOST_LAYERS:
        raise ConfigError(f"a calorimeter needs at least 1 layer, got {layers}; the most are {MOST_LAYERS}")
    beam = Beam({"gamma": photon_fraction, "pi+": 1 - photon_fraction}, energy_low, energy_high)
    conditions = {"photon_fraction": photon_fraction, "energy_low": energy_low, "energy_high": energy_high}
    problem = DesignProblem(
        name="calorimeter",
        space=space(layers),
        simulator=_simulator(simulator, beam, layers, conditions),
        reach=ResolutionReach(1.0),
        costs=(Cost("price", "EUR", PRICE_LIMIT, price),),
        constraints=(
            Constraint("length", "cm", LENGTH_LIMIT, length),
            Constraint("price", "EUR", PRICE_LIMIT, price),
        ),
        baselines=baselines(layers),
        cost_weight=cost_weight,
        penalty_weight=penalty_weight,
        conditions=conditions,
        layout=components,
        metric="mean (E_rec - E)^2 / (E + 1 GeV) [GeV]",
        minimum_events=MINIMUM_EVENTS,
        features=Features(view, event_features),
    )
    beamline = (layers, photon_fraction, energy_low, energy_high)
    if reach == "resolution":
        return replace(problem, reach=ResolutionReach(_reference(*beamline), photon_fraction == 1))
    information = MutualInformationReach("energy", _entropy(energy_low, energy_high), _information(*beamline))
    return replace(problem, reach=information, metric="minus the information on the energy [bits]")


REACHES = ("resolution", "mutual_information")
"""Names of what a design can be worth."""


@lru_cache
def _reference(layers: int, photon_fraction: float, energy_low: float, energy_high: float) -> float:
    """Metric of the first baseline in the fast simulator, in GeV."""
    beamline = (layers, photon_fraction, energy_low, energy_high)
    reach = ResolutionReach(1.0, photon_fraction == 1)
    return float(np.mean([reach.measure(readout).metric for readout in _references(*beamline)]))


@lru_cache
def _information(layers: int, photon_fraction: float, energy_low: float, energy_high: float) -> float:
    """Information of the first baseline in the fast simulator, in bits."""
    reach = MutualInformationReach("energy", _entropy(energy_low, energy_high))
    beamline = (layers, photon_fraction, energy_low, energy_high)
    return float(np.mean([reach.measure(readout).diagnostics["bits"] for readout in _references(*beamline)]))


def _references(layers: int, photon_fraction: float, energy_low: float, energy_high: float) -> Iterator[Readout]:
    """Samples of the first baseline in the fast simulator."""
    beam = Beam({"gamma": photon_fraction, "pi+": 1 - photon_fraction}, energy_low, energy_high)
    start = next(iter(baselines(layers).values()))
    simulator = CalorimeterSimulator(FastStackSimulator(), beam)
    for seed in range(REFERENCE_SEED, REFERENCE_SEED + REFERENCE_SAMPLES):
        yield simulator.simulate(start, REFERENCE_EVENTS, seed)


def _entropy(energy_low: float, energy_high: float) -> float:
    """Entropy of the uniform spectrum in bits, for energies in GeV."""
    if energy_low >= energy_high:
        raise ConfigError("a beam of one energy has no information to give: reach=mutual_information needs a spectrum")
    return math.log2(energy_high - energy_low)
