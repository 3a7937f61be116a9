"""Blocks with fields in a hall, charged particles one by one, and planes that see them. Worker process only.

Planes read primaries only. Primaries and secondaries are dropped below the threshold.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rl_detector.errors import SimulationError
from rl_detector.physics.magnets import Block
from rl_detector.simulators.geant4.callbacks import Setup, actions, detector
from rl_detector.simulators.geant4.physics_lists import Physics
from rl_detector.simulators.hall import Hall, Matter

PLANE = 1e-4
"""Thickness of a plane in cm. A plane lies behind its z; a block that begins there begins behind the plane."""

VALUES_PER_PLANE = 6
"""Values that a plane reads per particle: 1 for seen, x and y in cm, momentum in GeV (3). All are 0 if not seen."""

_OVERLAP_POINTS, _OVERLAP_DEPTH = 100, 1e-4
"""Points checked for overlaps on the surface of every block, and the depth in cm up to which none is reported."""


@dataclass(frozen=True)
class TrackSettings:
    """Settings of a worker for halls, fixed when it starts.

    Attributes:
        physics: physics list and data sets.
        cut: production cut in mm.
        step: longest step in a block, in cm.
        threshold: kinetic energy in GeV below which every particle is dropped.
    """

    physics: Physics
    cut: float
    step: float
    threshold: float
    limited = True

    def setup(self, g4: Any) -> Setup:
        """Make geometry and readout; `g4` is the module geant4_pybind."""
        return HallSetup(g4, self.step, self.threshold)


@dataclass(frozen=True)
class TrackChunk:
    """A task: some particles in one hall.

    Attributes:
        hall: blocks and planes with their positions.
        ends: lowest and highest z of the hall, in cm.
        key: equal for equal halls and ends.
        names: particle names.
        states: x, y, z in cm and momentum in GeV, [particles, 6].
        seeds: four positive 31-bit numbers.
        limit: seconds that the parent waits.
    """

    hall: Hall
    ends: tuple[float, float]
    key: str
    names: tuple[str, ...]
    states: NDArray[np.float64]
    seeds: tuple[int, ...]
    limit: float

    def __len__(self) -> int:
        return len(self.names)


class HallSetup:
    """Hall with blocks and planes as Geant4 calls it back (`callbacks.Setup`)."""

    def __init__(self, g4: Any, step: float, threshold: float) -> None:
        """Prepare an empty hall in geant4_pybind's module `g4`; step in cm, threshold in GeV."""
        far, never = 1e9 * g4.m, 1e9 * g4.s
        self.g4 = g4
        self.free = g4.G4UserLimits("hall", far, far, never, threshold * g4.GeV)
        self.stepped = g4.G4UserLimits("block", step * g4.cm, far, never, threshold * g4.GeV)
        self.chunk: TrackChunk | None = None
        self.key = ""
        self.overlap: str | None = None
        self.middle = 0.0
        self.kept: list[Any] = []
        self.blocks: list[tuple[Any, tuple[float, float, float]]] = []
        self.planes: list[Any] = []
        self.fields: dict[tuple[float, float, float], tuple[Any, Any]] = {}
        self.sensor: Any = None
        self.found: NDArray[np.float64] = np.zeros((0, 0, VALUES_PER_PLANE))
        self.row: NDArray[np.float64] = self.found[:0]
        self.detector = detector(self)
        self.actions = actions(self)

    def place(self, chunk: TrackChunk) -> bool:
        """Take the hall of a chunk; return whether it differs from the hall already built."""
        changed, self.chunk, self.key = chunk.key != self.key, chunk, chunk.key
        return changed

    def shoot(self, chunk: TrackChunk) -> NDArray[np.float64]:
        """Take the particles of a chunk; return the array [particles, planes, VALUES_PER_PLANE] that the run fills.

        Raises:
            SimulationError: blocks overlap.
        """
        if self.overlap is not None:
            raise SimulationError(f"overlap: {self.overlap}")
        self.found = np.zeros((len(chunk), len(chunk.hall.planes), VALUES_PER_PLANE))
        return self.found

    def build(self) -> Any:
        """Build the world volume with its blocks and planes."""
        self.overlap, self.blocks, self.planes, self.kept = None, [], [], []
        if self.chunk is None:  # before the first chunk
            return self._put(self.g4.G4Box("world", 1.0, 1.0, 1.0), Matter("vacuum"), None, 0.0)[1]
        hall, cm = self.chunk.hall, self.g4.cm
        low, high = self.chunk.ends
        self.middle, half = (low + high) / 2, hall.half_width * cm
        box = self.g4.G4Box("world", half, half, (high - low) / 2 * cm)
        self.world = self._put(box, Matter(hall.medium), None, self.middle)
        for index, block in enumerate(hall.blocks):
            self._block(index, block, hall)
        for index, z in enumerate(hall.planes):
            box = self.g4.G4Box("plane", half, half, PLANE / 2 * cm)
            self.planes.append(self._put(box, Matter(hall.medium), self.world[0], z + PLANE / 2, index)[0])
        return self.world[1]

    def _block(self, index: int, block: Block, hall: Hall) -> None:
        g4 = self.g4
        start = max([block.z_in, *(z + PLANE for z in hall.planes if z <= block.z_in < z + PLANE)])
        corners = [*block.corners_in[::-1], *block.corners_out[::-1]]  # clockwise
        vertices = g4.G4TwoVectorVector([g4.G4TwoVector(x * g4.cm, y * g4.cm) for x, y in corners])
        solid = g4.G4GenericTrap("block", (block.z_out - start) / 2 * g4.cm, vertices)
        self.kept.append(vertices)
        volume, physical = self._put(solid, hall.matter_of(index), self.world[0], (start + block.z_out) / 2, index)
        self.blocks.append((volume, block.field))
        if physical.CheckOverlaps(_OVERLAP_POINTS, _OVERLAP_DEPTH * g4.cm, False):
            self.overlap = self.overlap or f"block {index} ({block.z_in:.6g} to {block.z_out:.6g} cm)"

    def _put(self, solid: Any, matter: Matter, mother: Any, z: float, number: int = 0) -> tuple[Any, Any]:
        """Place a solid at z in cm; return its logical and physical volume."""
        g4 = self.g4
        volume = g4.G4LogicalVolume(solid, self._material(matter), solid.GetName())
        volume.SetUserLimits(self.free if mother is None else self.stepped)
        offset = g4.G4ThreeVector(0, 0, 0 if mother is None else (z - self.middle) * g4.cm)
        physical = g4.G4PVPlacement(None, offset, volume, solid.GetName(), mother, False, number)
        self.kept += [solid, volume, physical]
        return volume, physical

    def _material(self, matter: Matter) -> Any:
        g4, nist = self.g4, self.g4.G4NistManager.Instance()
        if matter.density is None:
            return nist.FindOrBuildMaterial(matter.geant4)
        name, density = f"{matter.geant4}_{matter.density!r}", matter.density * g4.g / g4.cm3
        return nist.FindOrBuildMaterial(name) or nist.BuildMaterialWithNewDensity(name, matter.geant4, density)

    def attach(self) -> None:
        """Attach the sensor to the planes and the fields to the blocks."""
        if self.sensor is None:
            self.sensor = _sensor(self)
            self.g4.G4SDManager.GetSDMpointer().AddNewDetector(self.sensor)
        for volume in self.planes:
            volume.SetSensitiveDetector(self.sensor)
        for volume, field in self.blocks:
            if any(field):
                volume.SetFieldManager(self._field(field), True)

    def _field(self, field: tuple[float, float, float]) -> Any:
        """Return the manager of a uniform field in T; it is kept because later halls reuse it."""
        g4 = self.g4
        if field not in self.fields:
            uniform = g4.G4UniformMagField(g4.G4ThreeVector(*(component * g4.tesla for component in field)))
            manager = g4.G4FieldManager(uniform)
            manager.CreateChordFinder(uniform)
            self.fields[field] = (uniform, manager)
        return self.fields[field][1]

    def aim(self, gun: Any, event: int) -> None:
        """Point the gun for one event."""
        if self.chunk is None:
            return
        g4, (x, y, z, *momentum) = self.g4, self.chunk.states[event].tolist()
        self.row = self.found[event]
        gun.SetParticleDefinition(g4.G4ParticleTable.GetParticleTable().FindParticle(self.chunk.names[event]))
        gun.SetParticlePosition(g4.G4ThreeVector(x * g4.cm, y * g4.cm, (z - self.middle) * g4.cm))
        vector = g4.G4ThreeVector(*(component * g4.GeV for component in momentum))
        gun.SetParticleMomentumDirection(vector.unit())
        mass = gun.GetParticleDefinition().GetPDGMass()
        gun.SetParticleEnergy(vector.mag2() / ((vector.mag2() + mass**2) ** 0.5 + mass))

    def see(self, step: Any) -> None:
        """Record a primary that enters a plane: only its first crossing in beam direction."""
        track, point = step.GetTrack(), step.GetPreStepPoint()
        if track.GetTrackID() != 1:
            return
        seen, momentum = self.row[point.GetTouchable().GetReplicaNumber(0)], point.GetMomentum()
        if seen[0] == 0 and momentum.z > 0:
            position, cm, gev = point.GetPosition(), self.g4.cm, self.g4.GeV
            seen[:] = (1, position.x / cm, position.y / cm, momentum.x / gev, momentum.y / gev, momentum.z / gev)

    def read(self, event: Any) -> None:
        """Do nothing: `see` has recorded the crossings during the event."""


def _sensor(setup: HallSetup) -> Any:
    class Sensor(setup.g4.G4VSensitiveDetector):  # type: ignore[name-defined, misc]
        def ProcessHits(self, step: Any, history: Any) -> bool:
            setup.see(step)
            return True

    return Sensor("planes")
