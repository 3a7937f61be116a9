"""Build iron magnets with a coil window on either side from blocks of uniform field, and compute their mass.

The drawing is one quadrant of the cross-section. f is the width of the iron, h half the height of the window, g its
width. The flux of the core returns through iron of width f; joints are mitred at 45 degrees:

    y = h + f  +------------------------+
               | \\        top         / |
    y = h      |   +----------------+   |
               | c |     window     | r |      c: core, half of it; r: return yoke
    y = 0      +---+                +---+
             x = 0  f             f + g  2 f + g

Every corner moves linearly in z between the two ends. Lengths in cm, fields in T, masses in kg.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from rl_detector.errors import DesignError

FloatArray = NDArray[np.float64]


@dataclass(frozen=True)
class Section:
    """Cross-section of a magnet.

    Attributes:
        iron: f in cm, the width of half the core and of a return yoke, and the thickness of top and bottom.
        height: half height h of the coil window in cm.
        gap: width g of the coil window in cm.
    """

    iron: float
    height: float
    gap: float

    @property
    def half_width(self) -> float:
        """Largest x in cm."""
        return 2 * self.iron + self.gap

    @property
    def half_height(self) -> float:
        """Largest y in cm."""
        return self.iron + self.height

    @property
    def outline(self) -> float:
        """Area in cm2 including the windows."""
        return 4 * self.half_width * self.half_height

    @property
    def window(self) -> float:
        """Area in cm2 of one window."""
        return 2 * self.gap * self.height


@dataclass(frozen=True)
class Magnet:
    """One magnet of the row.

    Attributes:
        half_length: in cm.
        entrance, exit: cross-sections at its two ends.
        field: B_y of the core in T; negative for the other polarity.
    """

    half_length: float
    entrance: Section
    exit: Section
    field: float

    def __post_init__(self) -> None:
        lengths = [self.half_length, *(getattr(s, n) for s in (self.entrance, self.exit) for n in ("iron", "height"))]
        gaps = [self.entrance.gap, self.exit.gap]
        if not (all(0 < n < math.inf for n in lengths) and all(0 <= g < math.inf for g in gaps)):
            raise DesignError(f"a magnet needs lengths > 0 and gaps >= 0, all finite, in cm, got {self}")
        if not math.isfinite(self.field):
            raise DesignError(f"the field of a magnet must be finite, got {self.field} T")

    def mass(self, density: float = 7.874) -> float:
        """Compute the mass of the iron in kg for a density in g/cm3: the frustum of the outline minus two windows."""
        iron = frustum(self.entrance.outline, self.exit.outline, 2 * self.half_length)
        windows = 2 * frustum(self.entrance.window, self.exit.window, 2 * self.half_length)
        return 1e-3 * density * (iron - windows)


def frustum(area_in: float, area_out: float, length: float) -> float:
    """Compute the volume of a frustum between two similar faces: L / 3 (A1 + A2 + sqrt(A1 A2)).

    Examples:
        >>> frustum(4.0, 4.0, 3.0)
        12.0
        >>> frustum(4.0, 0.0, 3.0)
        4.0
    """
    return length / 3 * (area_in + area_out + math.sqrt(area_in * area_out))


@dataclass(frozen=True, eq=False)
class Block:
    """A piece of iron with a uniform field; its corners move linearly between the two ends.

    Attributes:
        z_in, z_out: ends in cm, z_in < z_out.
        corners_in, corners_out: (x, y) in cm at z_in and z_out, counter-clockwise in the x-y plane, [4, 2].
        field: (B_x, B_y, B_z) in T.
    """

    z_in: float
    z_out: float
    corners_in: FloatArray
    corners_out: FloatArray
    field: tuple[float, float, float]


def magnet_blocks(magnet: Magnet, z_in: float) -> tuple[Block, ...]:
    """Divide a magnet that begins at z_in into eight blocks: core, top, return yoke and bottom, x > 0 before x < 0.

    For a positive field, the flux goes up the core, outwards in the top, down the yokes and inwards in the bottom.

    Examples:
        >>> section = Section(iron=10.0, height=20.0, gap=5.0)
        >>> blocks = magnet_blocks(Magnet(50.0, section, section, 1.7), z_in=0.0)
        >>> len(blocks), blocks[0].z_out, blocks[0].field
        (8, 100.0, (0.0, 1.7, 0.0))
    """
    first, last = (_quadrants(section) for section in (magnet.entrance, magnet.exit))
    z_out, b = z_in + 2 * magnet.half_length, magnet.field
    fields = ((0.0, b, 0.0), (b, 0.0, 0.0), (0.0, -b, 0.0), (-b, 0.0, 0.0))
    right = [Block(z_in, z_out, one, other, field) for one, other, field in zip(first, last, fields, strict=True)]
    left = [
        Block(z_in, z_out, _mirrored(block.corners_in), _mirrored(block.corners_out), (-bx, by, bz))
        for block in right
        for bx, by, bz in [block.field]
    ]
    return (*right, *left)


def row_blocks(magnets: Sequence[Magnet], z_in: float = 0.0) -> tuple[Block, ...]:
    """Divide magnets that stand one behind the other into blocks; the first magnet begins at z_in in cm.

    Examples:
        >>> section = Section(iron=10.0, height=20.0, gap=5.0)
        >>> row = row_blocks([Magnet(50.0, section, section, 1.7)] * 2)
        >>> len(row), row[-1].z_out
        (16, 200.0)
    """
    ends = z_in + np.cumsum([0.0, *(2 * magnet.half_length for magnet in magnets)])
    return tuple(block for magnet, z in zip(magnets, ends.tolist(), strict=False) for block in magnet_blocks(magnet, z))


def _quadrants(section: Section) -> tuple[FloatArray, ...]:
    """Return the corners of core, top, return yoke and bottom for x > 0, [4, 2] each."""
    f, h, g = section.iron, section.height, section.gap
    core = [(0, -h - f), (f, -h), (f, h), (0, h + f)]
    top = [(f, h), (f + g, h), (2 * f + g, h + f), (0, h + f)]
    yoke = [(f + g, -h), (2 * f + g, -h - f), (2 * f + g, h + f), (f + g, h)]
    bottom = [(0, -h - f), (2 * f + g, -h - f), (f + g, -h), (f, -h)]
    return tuple(np.array(corners, dtype=np.float64) for corners in (core, top, yoke, bottom))


def _mirrored(corners: FloatArray) -> FloatArray:
    """Reflect corners at x = 0 and keep them counter-clockwise."""
    mirrored: FloatArray = corners[::-1] * np.array([-1.0, 1.0])
    return mirrored
