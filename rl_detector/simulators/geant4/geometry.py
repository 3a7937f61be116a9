"""Layers, particle gun and scoring of one worker, made from geant4_pybind's classes. Worker process only."""

from __future__ import annotations

from typing import Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from rl_detector.simulators.geant4.callbacks import actions, detector

MARGIN = 10.0
"""Vacuum between the layers and the end of the world, in cm. The gun stands half as far in front of the first layer."""

_ALWAYS_STOPPED = 1e6
"""Kinetic energy in GeV below which nuclei stop at once, if the physics list has G4UserSpecialCuts: all nuclei."""

_DETECTOR = "stack"
_SCORER = "deposit"


class Layer(NamedTuple):
    """One layer that is built."""

    column: int
    """Column of the result."""
    material: str
    """Name in the NIST table of Geant4."""
    thickness: float
    """In cm."""


class Stacked(Protocol):
    """Some events of one stack, see `worker.Chunk`."""

    @property
    def layers(self) -> tuple[Layer, ...]: ...
    @property
    def columns(self) -> int: ...
    @property
    def particles(self) -> tuple[str, ...]: ...
    @property
    def energies(self) -> tuple[float, ...]: ...


class StackSetup:
    """Stack of layers as Geant4 calls it back: geometry, gun, copy of the deposits per event (`callbacks.Setup`)."""

    def __init__(self, g4: Any, width: float) -> None:
        """Prepare an empty stack in geant4_pybind's module `g4`; `width` is the full transverse size in cm."""
        self.g4, self.width = g4, width
        self.layers: tuple[Layer, ...] = ()
        self.volumes: list[Any] = []
        self.scorers: list[Any] = []
        self.collection = -1
        self.particles: tuple[str, ...] = ()
        self.energies: tuple[float, ...] = ()
        self.deposits: NDArray[np.float64] = np.zeros((0, 0))
        self.limits = g4.G4UserLimits("stopIons")
        self.limits.SetUserMinEkine(_ALWAYS_STOPPED * g4.GeV)
        self.detector = detector(self)
        self.actions = actions(self)

    def place(self, chunk: Stacked) -> bool:
        """Take the layers of a chunk; return whether they differ from the layers already built."""
        changed, self.layers = chunk.layers != self.layers, chunk.layers
        return changed

    def shoot(self, chunk: Stacked) -> NDArray[np.float64]:
        """Take the primaries of a chunk; return the array [events, layers] that the run fills, in GeV."""
        self.particles, self.energies = chunk.particles, chunk.energies
        self.deposits = np.zeros((len(chunk.particles), chunk.columns))
        return self.deposits

    def build(self) -> Any:
        """Build the world volume with its layers, the first one at the lowest z."""
        g4 = self.g4
        half = sum(layer.thickness for layer in self.layers) * g4.cm / 2
        side, margin = self.width * g4.cm / 2, MARGIN * g4.cm
        self.volumes = []
        world = self._box("world", "G4_Galactic", (side + margin, half + margin), None, (0.0, 0))
        front = -half
        for layer in self.layers:
            depth = layer.thickness * g4.cm / 2
            self._box("layer", layer.material, (side, depth), world[1], (front + depth, layer.column))
            front += 2 * depth
        self.start = -half - margin / 2
        return world[2]

    def _box(
        self, name: str, material: str, halves: tuple[float, float], mother: Any, place: tuple[float, int]
    ) -> tuple[Any, Any, Any]:
        g4, (side, depth), (centre, column) = self.g4, halves, place
        solid = g4.G4Box(name, side, side, depth)
        logical = g4.G4LogicalVolume(solid, g4.G4NistManager.Instance().FindOrBuildMaterial(material), name)
        position = g4.G4ThreeVector(0, 0, centre)
        physical = g4.G4PVPlacement(None, position, logical, name, mother, False, column)
        self.volumes.append((solid, logical, physical))
        return solid, logical, physical

    def attach(self) -> None:
        """Score the energy deposits of all layers in C++; a layer's copy number is its column in the result."""
        if not self.scorers:
            scored, scorer = self.g4.G4MultiFunctionalDetector(_DETECTOR), self.g4.G4PSEnergyDeposit(_SCORER)
            scored.RegisterPrimitive(scorer)
            self.g4.G4SDManager.GetSDMpointer().AddNewDetector(scored)
            self.scorers = [scored, scorer]
        for _, logical, _ in self.volumes[1:]:
            logical.SetSensitiveDetector(self.scorers[0])
            logical.SetUserLimits(self.limits)

    def aim(self, gun: Any, event: int) -> None:
        """Point the gun for one event."""
        g4 = self.g4
        gun.SetParticleDefinition(g4.G4ParticleTable.GetParticleTable().FindParticle(self.particles[event]))
        gun.SetParticleEnergy(self.energies[event] * g4.GeV)
        gun.SetParticlePosition(g4.G4ThreeVector(0, 0, self.start))
        gun.SetParticleMomentumDirection(g4.G4ThreeVector(0, 0, 1))

    def read(self, event: Any) -> None:
        """Copy the deposits of a finished event, converted from MeV to GeV."""
        if self.collection < 0:
            self.collection = self.g4.G4SDManager.GetSDMpointer().GetCollectionID(f"{_DETECTOR}/{_SCORER}")
        row = self.deposits[event.GetEventID()]
        for column, energy in event.GetHCofThisEvent().GetHC(self.collection):
            row[column] = energy / self.g4.GeV
