"""Light material with a block of lead in it, in cosmic muons: voxels, the muons that cross it, their scattering.

Lengths in m, x and y horizontal, z up; slopes are horizontal distance per depth. No energy is lost and the material is
that along the unscattered line. Panels scatter nothing.
"""

from __future__ import annotations

import math

import numpy as np

from rl_detector.physics.cosmic_muons import BoolArray, Matter, Muons, Rays, sample_momenta, sample_rays
from rl_detector.physics.cosmic_muons import scatter as deflect
from rl_detector.physics.materials import material
from rl_detector.space import FloatArray, IntArray

SIZE = np.array([0.6, 1.0, 1.0])
"""Of the volume in x, y and z, in m."""


BLOCK = np.array([0.5, 0.1, 0.1])
"""Of the block in x, y and z, in m."""


VOXEL = 0.1
"""Side of a voxel in m."""


VOXELS = np.round(SIZE / VOXEL).astype(np.intp)


LONG = np.round(BLOCK / VOXEL).astype(np.intp)
"""Voxels of the volume and of the block, in x, y and z."""


COUNT = int(VOXELS.prod())


PLACES = VOXELS - LONG + 1
"""Places of the block along x, y and z: it fills whole voxels."""


ZONE = 0.5
"""Height in m of the zones above and below the volume in which panels can stand; our choice."""


BOTTOM, CEILING, TOP = ZONE, ZONE + SIZE[2], SIZE[2] + 2 * ZONE
"""Heights in m of the volume's floor and ceiling and of the upper zone's top."""


MARGIN = SIZE[2] / 2 * math.tan(math.pi / 3)
"""Muons pass the middle height of the volume up to so many m beside it: all that cross it up to 60 degrees."""


PARTS = 40
"""Equal parts of its height in which the material on a way is looked up."""


def densities(place: int, light: str, block: str = "Pb") -> FloatArray:
    """1 / X0 in 1/m of every voxel with the block at a place, and 0 for outside, [voxels + 1]."""
    inside, outside = (100 / material(name).radiation_length for name in (block, light))
    filled = np.full(VOXELS, outside)
    corner = np.unravel_index(place, PLACES)
    filled[tuple(slice(first, first + long) for first, long in zip(corner, LONG, strict=True))] = inside
    return np.append(filled.reshape(-1), 0.0)


def heights(parts: int) -> FloatArray:
    """Middle heights above the floor of equal parts of the volume, from the ceiling down, [parts]."""
    result: FloatArray = SIZE[2] * (1 - (np.arange(parts) + 0.5) / parts)
    return result


def voxels_along(position: FloatArray, slope: FloatArray, parts: int) -> IntArray:
    """Index of the voxel in the middle of each part of a way, `COUNT` for outside, [parts, rays].

    Args:
        position: x and y at the ceiling, [2, rays].
        slope: [2, rays].
        parts: of the height.
    """
    above = heights(parts)
    index = np.zeros((parts, position.shape[1]), dtype=np.int64)
    inside = np.ones(index.shape, dtype=bool)
    for axis in range(2):
        cell = np.floor((position[axis] + (SIZE[2] - above)[:, None] * slope[axis]) / VOXEL).astype(np.int64)
        inside &= (cell >= 0) & (cell < VOXELS[axis])
        index = (index + cell) * VOXELS[axis + 1]
    layer = np.floor(above / VOXEL).astype(np.int64)[:, None]
    return np.where(inside, index + layer, COUNT)


def voxels_at(points: FloatArray) -> IntArray:
    """Index of the voxel of each point x, y in m, z above the floor, [3, points]; `COUNT` for outside."""
    cells = np.floor(points / VOXEL).astype(np.int64)
    inside = ((cells >= 0) & (cells < VOXELS[:, None])).all(axis=0)
    index = (cells[0] * VOXELS[1] + cells[1]) * VOXELS[2] + cells[2]
    return np.where(inside, index, COUNT)


def sample_muons(rng: np.random.Generator, muons: int) -> Muons:
    """Muons that cross the volume somewhere, at the top of the upper zone."""
    low, high = np.full(2, -MARGIN), SIZE[:2] + MARGIN
    kept: list[Rays] = []
    while (found := sum(each.slope.shape[1] for each in kept)) < muons:
        middle = sample_rays(rng, 4 * (muons - found) + 64, low, high)
        rays = Rays(middle.position - (TOP - BOTTOM - SIZE[2] / 2) * middle.slope, middle.slope)
        kept.append(rays.take(np.flatnonzero(crosses(rays))))
    position = np.concatenate([each.position for each in kept], axis=1)[:, :muons]
    slope = np.concatenate([each.slope for each in kept], axis=1)[:, :muons]
    return Muons(Rays(position, slope), sample_momenta(rng, muons))


def crosses(rays: Rays) -> BoolArray:
    """Whether lines from the top cross the volume, [rays]: where they are within its sides is a range of depths."""
    with np.errstate(divide="ignore", invalid="ignore"):
        ends = np.sort([(-rays.position) / rays.slope, (SIZE[:2, None] - rays.position) / rays.slope], axis=0)
    enter = np.fmax.reduce([ends[0, 0], ends[0, 1], np.full(rays.slope.shape[1], TOP - CEILING)])
    leave = np.fmin.reduce([ends[1, 0], ends[1, 1], np.full(rays.slope.shape[1], TOP - BOTTOM)])
    crossing: BoolArray = enter < leave
    return crossing


def scatter(muons: Muons, density: FloatArray, normals: FloatArray) -> tuple[Rays, BoolArray]:
    """Rays at the floor of the volume and whether a muon still goes down, see `rl_detector.physics.cosmic_muons`.

    Args:
        muons: at the top of the upper zone.
        density: 1 / X0 in 1/m of every voxel and of outside, [voxels + 1].
        normals: standard normal numbers, [2 planes, 2, muons].
    """
    slope = muons.rays.slope
    stretch = np.sqrt(1 + (slope**2).sum(axis=0))
    local = density[voxels_along(muons.rays.position + (TOP - CEILING) * slope, slope, PARTS)]
    part, middle = SIZE[2] / PARTS, heights(PARTS)
    powers = np.stack([np.ones(PARTS), middle, middle**2 + part**2 / 12])
    thickness, first, second = (powers @ local) * part * stretch
    return deflect(muons, Matter.of_moments(thickness, first * stretch, second * stretch**2), TOP - BOTTOM, normals)
