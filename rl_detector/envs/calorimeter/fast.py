"""Signals of the calorimeter: energy deposits of the fast simulator, or of Geant4, and photoelectron statistics."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from rl_detector.envs.calorimeter.layout import PHOTOELECTRONS_PER_GEV, stack
from rl_detector.errors import ConfigError, SimulationError
from rl_detector.settings import check_settings
from rl_detector.simulators.batch import FromBatch
from rl_detector.simulators.fast_stack.simulator import FastStackSimulator
from rl_detector.simulators.geant4 import Geant4Simulator
from rl_detector.simulators.stack import Beam, Primaries, Stack, StackSimulator
from rl_detector.space import Design, FloatArray
from rl_detector.terms import Readout


@dataclass(frozen=True)
class CalorimeterSimulator(FromBatch):
    """Signals of the scintillators: energy deposits of a stack simulator plus photostatistics.

    Attributes:
        engine: simulates showers in stacks.
        beam: what comes in.
    """

    engine: StackSimulator
    beam: Beam

    def simulate_batch(
        self, designs: Sequence[Design], events: int, seeds: Sequence[int]
    ) -> list[Readout | SimulationError]:
        """Readouts of many designs; equal seeds share primaries and random numbers.

        Truth `energy` [events] in GeV, signals [events, scintillators] in GeV.
        """
        draws = {seed: _Draws.of(self.beam, events, seed, _scintillators(designs)) for seed in seeds}
        stacks = [stack(design) for design in designs]
        primaries = [draws[seed].primaries for seed in seeds]
        deposits = self.engine.deposits(stacks, primaries, [draws[seed].shower_seed for seed in seeds])
        return [
            deposit if isinstance(deposit, SimulationError) else _readout(built, deposit, draws[seed])
            for built, deposit, seed in zip(stacks, deposits, seeds, strict=True)
        ]

    def replicas(self, design: Design, events: int, seed: int, copies: int) -> list[Readout]:
        """Readouts of the same primaries, each with other showers and other light; the first is that of `simulate`."""
        built, count = stack(design), _scintillators([design])
        first = _Draws.of(self.beam, events, seed, count)
        numbers = np.random.SeedSequence(seed, spawn_key=(3,)).generate_state(copies - 1, np.uint64) >> np.uint64(1)
        others = [_Draws.of(self.beam, events, int(number), count) for number in numbers]
        draws = [first, *(replace(other, primaries=first.primaries) for other in others)]
        found = self.engine.deposits([built] * copies, [first.primaries] * copies, [d.shower_seed for d in draws])
        for deposits in found:
            if isinstance(deposits, SimulationError):
                raise deposits
        good = (deposits for deposits in found if not isinstance(deposits, SimulationError))
        return [_readout(built, deposits, draw) for deposits, draw in zip(good, draws, strict=True)]

    def describe(self) -> Mapping[str, str]:
        """Facts of the engine and the beam."""
        shares = ", ".join(f"{share:.0%} {name}" for name, share in self.beam.fractions.items())
        return {**self.engine.describe(), "beam": f"{shares}, {self.beam.energy_low:g}-{self.beam.energy_high:g} GeV"}


@dataclass(frozen=True)
class _Draws:
    """The random numbers of one seed that do not depend on the design."""

    primaries: Primaries
    shower_seed: int
    light: FloatArray

    @staticmethod
    def of(beam: Beam, events: int, seed: int, scintillators: int) -> _Draws:
        beam_seed, shower_seed, light_seed = np.random.SeedSequence(seed).spawn(3)
        light = np.random.default_rng(light_seed).standard_normal((scintillators, events)).T
        shower = int(shower_seed.generate_state(1, np.uint64)[0] >> 1)
        return _Draws(beam.sample(events, np.random.default_rng(beam_seed)), shower, light)


def _scintillators(designs: Sequence[Design]) -> int:
    return max(len(design["layer"]) for design in designs)


def _readout(built: Stack, deposits: FloatArray, draws: _Draws) -> Readout:
    """Scintillator deposits plus photostatistics: N_pe has variance N_pe, so sigma(E)^2 = E / yield."""
    visible = deposits[:, 1::2]
    yields = np.array([PHOTOELECTRONS_PER_GEV[name] for name in built.materials[1::2]])
    noise = np.sqrt(np.clip(visible, 0, None) / yields) * draws.light[:, : visible.shape[1]]
    return Readout({"energy": draws.primaries.energies}, np.clip(visible + noise, 0, None))


ENGINES: Mapping[str, Callable[..., StackSimulator]] = {"fast": FastStackSimulator, "geant4": Geant4Simulator}


def engine(simulator: str | Mapping[str, Any]) -> StackSimulator:
    """A stack simulator from its name, or from its name and settings such as {"name": "geant4", "workers": 2}.

    Raises:
        ConfigError: the name or a setting is unknown.
    """
    settings = {"name": simulator} if isinstance(simulator, str) else dict(simulator)
    name = settings.pop("name")
    if name not in ENGINES:
        raise ConfigError(f"unknown simulator {name!r} of the calorimeter: known are {', '.join(ENGINES)}")
    return ENGINES[name](**check_settings("simulator", ENGINES[name], settings))
