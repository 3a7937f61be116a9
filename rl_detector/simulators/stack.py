"""Stacks of flat layers, beams and primaries, and the protocol of calorimeter simulators."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from rl_detector.errors import ConfigError, DesignError, SimulationError
from rl_detector.physics.materials import material

PARTICLES = ("gamma", "e-", "pi+")

FloatArray = NDArray[np.float64]


@dataclass(frozen=True)
class Stack:
    """Flat layers along the beam axis, in the order in which the beam meets them.

    Attributes:
        materials: one name per layer, see `rl_detector.physics.materials`.
        thicknesses: one thickness per layer, in cm; 0 means that the layer is absent.
    """

    materials: tuple[str, ...]
    thicknesses: tuple[float, ...]

    def __post_init__(self) -> None:
        if len(self.materials) != len(self.thicknesses):
            raise DesignError(
                f"a stack has {len(self.materials)} materials but {len(self.thicknesses)} thicknesses; give one of "
                "each per layer"
            )
        for index, (name, thickness) in enumerate(zip(self.materials, self.thicknesses, strict=True)):
            material(name)
            if not (math.isfinite(thickness) and thickness >= 0):
                raise DesignError(f"layer {index} ({name}): thickness must be finite and >= 0 cm, got {thickness}")

    @property
    def length(self) -> float:
        """Total length in cm."""
        return sum(self.thicknesses)


@dataclass(frozen=True)
class Primaries:
    """Incoming particles, all along the axis of the stack.

    Attributes:
        particles: names from PARTICLES, [events].
        energies: kinetic energies in GeV, [events].
    """

    particles: tuple[str, ...]
    energies: FloatArray

    def __len__(self) -> int:
        return len(self.particles)


@dataclass(frozen=True)
class Beam:
    """A mixture of particles with a uniform energy spectrum.

    Attributes:
        fractions: particle name -> share of the events; must sum to 1.
        energy_low, energy_high: bounds of the spectrum in GeV; equal for a monoenergetic beam.
    """

    fractions: Mapping[str, float]
    energy_low: float = 1.0
    energy_high: float = 20.0

    def __post_init__(self) -> None:
        for name, share in self.fractions.items():
            if name not in PARTICLES:
                raise ConfigError(f"unknown particle {name!r} in the beam: known are {', '.join(PARTICLES)}")
            if not 0 <= share <= 1:
                raise ConfigError(f"the share of {name} in the beam must lie in [0, 1], got {share}")
        if not math.isclose(sum(self.fractions.values()), 1.0, abs_tol=1e-9):
            raise ConfigError(f"the shares of the beam must sum to 1, got {dict(self.fractions)}")
        if not 0 < self.energy_low <= self.energy_high < math.inf:
            raise ConfigError(f"beam energies need 0 < low <= high, got {self.energy_low} to {self.energy_high} GeV")

    def sample(self, events: int, rng: np.random.Generator) -> Primaries:
        """Draw primaries; they depend on the state of the generator alone, not on simulator or design."""
        names = tuple(self.fractions)
        kinds = rng.choice(len(names), size=events, p=list(self.fractions.values()))
        energies = rng.uniform(self.energy_low, self.energy_high, size=events)
        return Primaries(tuple(names[kind] for kind in kinds), energies)


class StackSimulator(Protocol):
    """Simulates primaries in stacks of layers.

    `deposits` returns per stack the energy deposited in GeV, [events, layers], or the SimulationError that stopped it.
    An error in one stack leaves the others' results intact. The result for one stack depends on (stack, primaries,
    seed) alone. Other stacks of the batch, the number of workers and the order of completion do not change it. Stacks
    of a batch may differ in their number of layers and of events.
    """

    name: str

    def describe(self) -> Mapping[str, str]:
        """Return the facts that every result must state: simulator, version, physics list."""
        ...

    def deposits(
        self, stacks: Sequence[Stack], primaries: Sequence[Primaries], seeds: Sequence[int]
    ) -> list[FloatArray | SimulationError]:
        """Simulate stacks; return one array [events, layers] in GeV per stack, or the error that stopped it."""
        ...

    def close(self) -> None:
        """Free workers; the simulator may be used again afterwards."""
        ...
