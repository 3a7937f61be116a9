"""Halls with magnetised blocks, charged particles and readout planes, and the protocol of track simulators.

Lengths in cm, momenta in GeV, fields in T; z is the beam axis.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from rl_detector.errors import DesignError, SimulationError
from rl_detector.physics.constants import MUON_MASS, PION_MASS
from rl_detector.physics.magnets import Block
from rl_detector.physics.materials import material

FloatArray = NDArray[np.float64]
BoolArray = NDArray[np.bool_]

MASSES = {"mu+": MUON_MASS, "pi+": PION_MASS, "mu-": MUON_MASS, "pi-": PION_MASS}
"""Particles that can be tracked and their masses in GeV."""

MEDIA = {"vacuum": "G4_Galactic", "helium": "G4_He", "air": "G4_AIR"}
"""Medium that may fill the hall -> name in Geant4's NIST table (gases at 20 C and 1 atm)."""


@dataclass(frozen=True)
class Matter:
    """Material and density of a block.

    Attributes:
        name: a medium, or a material of `rl_detector.physics.materials`.
        density: in g/cm3; None takes the material's own. The radiation length follows the density.
    """

    name: str
    density: float | None = None

    def __post_init__(self) -> None:
        if self.name not in MEDIA:
            material(self.name)
        if self.density is not None and not 0 < self.density < np.inf:
            raise DesignError(f"the density of {self.name} must be positive and finite, got {self.density} g/cm3")

    @property
    def geant4(self) -> str:
        """Name in Geant4's NIST table."""
        return MEDIA.get(self.name) or material(self.name).geant4


IRON = Matter("Fe")


@dataclass(frozen=True)
class Hall:
    """Blocks that stand in a square hall, and the planes that see the particles.

    Attributes:
        blocks: blocks that may touch but not overlap.
        planes: z in cm, ascending; none inside a block. A plane covers the whole hall and stops nothing.
        matter: matter of each block, or one for all blocks.
        medium: name of the medium around the blocks, see MEDIA.
        half_width: half width of the hall in x and y, in cm; particles that leave the hall are lost.
    """

    blocks: tuple[Block, ...]
    planes: tuple[float, ...]
    matter: Matter | tuple[Matter, ...] = IRON
    medium: str = "air"
    half_width: float = 1000.0

    def __post_init__(self) -> None:
        if self.medium not in MEDIA:
            raise DesignError(f"unknown medium {self.medium!r} of the hall: known are {', '.join(MEDIA)}")
        if not 0 < self.half_width < np.inf:
            raise DesignError(f"the half width of the hall must be positive and finite, got {self.half_width} cm")
        if isinstance(self.matter, tuple) and len(self.matter) != len(self.blocks):
            raise DesignError(
                f"the hall has {len(self.blocks)} blocks but matter for {len(self.matter)}; give one Matter for each "
                "block, or one for all"
            )
        for index, block in enumerate(self.blocks):
            problem = _problem(block, self.half_width)
            if problem is not None:
                raise DesignError(f"block {index} of the hall: {problem}")
        self._check_planes()

    def _check_planes(self) -> None:
        if not self.planes or not np.all(np.isfinite(self.planes)) or np.any(np.diff(self.planes) <= 0):
            raise DesignError(f"a hall needs planes at finite, ascending z in cm, got {self.planes}")
        for plane in self.planes:
            inside = [i for i, block in enumerate(self.blocks) if block.z_in < plane < block.z_out]
            if inside:
                raise DesignError(f"the plane at {plane} cm lies inside block {inside[0]}: split the block there")

    def matter_of(self, block: int) -> Matter:
        """Return the matter of a block by its index."""
        return self.matter[block] if isinstance(self.matter, tuple) else self.matter


def _problem(block: Block, half_width: float) -> str | None:
    """Return the first error in the description of a block, or None."""
    corners = np.stack([block.corners_in, block.corners_out])
    if corners.shape != (2, 4, 2):
        return f"expected 4 corners (x, y) at each end, got shape {corners.shape}"
    if not np.all(np.isfinite([block.z_in, block.z_out, *corners.flat, *block.field])):
        return "ends, corners and field must be finite"
    if not block.z_in < block.z_out:
        return f"z_in must be below z_out, got {block.z_in} and {block.z_out} cm"
    if np.abs(corners).max() > half_width:
        return f"it reaches {np.abs(corners).max():.6g} cm from the axis, out of the hall of {half_width:.6g} cm"
    if any(area(end) <= 0 for end in corners):
        return "its corners must go counter-clockwise around an area > 0"
    return None


def area(corners: FloatArray) -> float:
    """Return the area of a polygon [corners, 2], positive if its corners go counter-clockwise."""
    (x, y), (next_x, next_y) = corners.T, np.roll(corners, -1, axis=0).T
    return float(np.sum(x * next_y - next_x * y)) / 2


@dataclass(frozen=True)
class Charged:
    """Charged particles at their start.

    Attributes:
        names: keys of MASSES, [particles].
        position: x, y, z in cm, [particles, 3].
        momentum: in GeV, [particles, 3].
    """

    names: tuple[str, ...]
    position: FloatArray
    momentum: FloatArray

    def __post_init__(self) -> None:
        unknown = sorted(set(self.names) - set(MASSES))
        if unknown:
            raise DesignError(f"unknown particles {unknown}: known are {', '.join(MASSES)}")
        for label, value in (("position", self.position), ("momentum", self.momentum)):
            if np.shape(value) != (len(self.names), 3) or not np.all(np.isfinite(value)):
                raise DesignError(
                    f"{label} must be finite and of shape {(len(self.names), 3)}, got shape {np.shape(value)} "
                    f"with {int(np.sum(~np.isfinite(value)))} values that are not finite"
                )
        if len(self) and not np.all(np.any(self.momentum != 0, axis=1)):
            raise DesignError("every particle needs a momentum > 0 GeV")

    def __len__(self) -> int:
        return len(self.names)

    @staticmethod
    def muons(position: FloatArray, momentum: FloatArray, charge: FloatArray) -> Charged:
        """Make muons of charge +1 or -1, [muons]."""
        return Charged(tuple("mu+" if q > 0 else "mu-" for q in charge), position, momentum)

    @property
    def masses(self) -> FloatArray:
        """Masses in GeV, [particles]."""
        return np.array([MASSES[name] for name in self.names])

    @property
    def energies(self) -> FloatArray:
        """Kinetic energies in GeV, [particles]."""
        squared = np.sum(self.momentum**2, axis=1)
        kinetic: FloatArray = squared / (np.sqrt(squared + self.masses**2) + self.masses)
        return kinetic


@dataclass(frozen=True)
class Crossings:
    """First crossing of every plane by every primary, in the direction of the beam.

    Attributes:
        seen: whether the particle reached the plane, [particles, planes].
        position: x, y in cm, [particles, planes, 2]; 0 where not seen.
        momentum: x, y, z in GeV, [particles, planes, 3]; 0 where not seen.
    """

    seen: BoolArray
    position: FloatArray
    momentum: FloatArray


class Tracker(Protocol):
    """Follows particles through halls.

    The result for one hall depends on (hall, particles, seed) alone. Other halls of the batch, the number of workers
    and the order of completion do not change it.
    """

    name: str

    def describe(self) -> Mapping[str, str]:
        """Return the facts that every result must state."""
        ...

    def crossings(
        self, halls: Sequence[Hall], particles: Sequence[Charged], seeds: Sequence[int]
    ) -> list[Crossings | SimulationError]:
        """Simulate halls; return the crossings that the planes see per hall, or the error that stopped it."""
        ...

    def close(self) -> None:
        """Free workers; the tracker may be used again afterwards."""
        ...
