"""The muon shield with muons from a simulator of tracks such as Geant4: same source and plane, air around the iron."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from rl_detector.envs.muon_shield.fast import ShieldSimulator
from rl_detector.envs.muon_shield.layout import length, mass, shield_blocks
from rl_detector.envs.muon_shield.source import START_Z, MuonSource, Primaries
from rl_detector.errors import SimulationError
from rl_detector.simulators.batch import FromBatch
from rl_detector.simulators.hall import Charged, Crossings, Hall, Tracker
from rl_detector.space import Design, FloatArray
from rl_detector.terms import Readout

HALL_HALF_WIDTH = 1200.0
"""Half width of the hall in cm.

A muon outside goes straight on, away from the 5 m of the plane, which a blur of 1 m makes 10 m.
"""


ENERGY_THRESHOLD = 0.85
"""Kinetic energy in GeV below which muons are dropped; those that count have a momentum of 1 GeV, that is 0.90 GeV."""


_SEED = (1, 0)
"""Spawn key of the tracker's seed, none of those of the fast simulator."""


@dataclass(frozen=True)
class TrackedShieldSimulator(FromBatch):
    """Muons at the sensitive plane behind the shield, followed by another simulator.

    Attributes:
        fast: source of the muons and distance of the plane.
        tracker: follows them through iron and air.
    """

    fast: ShieldSimulator
    tracker: Tracker

    def simulate_batch(
        self, designs: Sequence[Design], events: int, seeds: Sequence[int]
    ) -> list[Readout | SimulationError]:
        """Readouts of many designs; equal seeds share the muons at the target.

        Truth, signals and primaries are those of `ShieldSimulator.simulate_batch`.
        """
        primaries = {seed: draw(self.fast.source, events, seed) for seed in set(seeds)}
        halls = [hall(design, self.fast.distance) for design in designs]
        numbers = [int(np.random.SeedSequence(seed, spawn_key=_SEED).generate_state(1)[0]) for seed in seeds]
        found = self.tracker.crossings(halls, [muons(primaries[seed]) for seed in seeds], numbers)
        return [
            each if isinstance(each, SimulationError) else Readout(truth(primaries[seed]), signals(design, each))
            for design, seed, each in zip(designs, seeds, found, strict=True)
        ]

    def describe(self) -> Mapping[str, str]:
        """Facts of the tracker, the source and the plane."""
        return {**self.fast.describe(), "iron": "uniform fields, air around it", **self.tracker.describe()}


def draw(source: MuonSource, events: int, seed: int) -> Primaries:
    """The muons that the fast simulator draws for a seed."""
    return source.sample(events, np.random.default_rng(np.random.SeedSequence(seed).spawn(1)[0]))


def truth(primaries: Primaries) -> dict[str, FloatArray]:
    """Truth of a readout, see `ShieldSimulator.simulate_batch`."""
    momentum = np.sqrt((primaries.momentum**2).sum(axis=0))
    return {"weight": primaries.weight, "momentum": momentum, "charge": primaries.charge}


def hall(layout: Design, distance: float) -> Hall:
    """Absorber and magnets, and the sensitive plane at a distance in cm behind them."""
    return Hall(shield_blocks(layout), (length(layout) + distance,), half_width=HALL_HALF_WIDTH)


def muons(primaries: Primaries) -> Charged:
    """The muons at their start."""
    z = np.full((1, len(primaries.charge)), START_Z)
    return Charged.muons(np.concatenate([primaries.position, z]).T, primaries.momentum.T, primaries.charge)


def signals(layout: Design, found: Crossings) -> FloatArray:
    """x and y in m and momentum in GeV at the plane, 0 for a muon that does not get there, and the mass in kg."""
    position, momentum = found.position[:, 0] / 100, np.sqrt((found.momentum[:, 0] ** 2).sum(axis=1))
    return np.column_stack([position, momentum, np.full(len(momentum), mass(layout))])
