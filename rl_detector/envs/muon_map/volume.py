"""Light material with a block of lead in it, in cosmic muons: voxels, the muons that cross it, their scattering.

Lengths in m, x and y horizontal, z up; slopes are horizontal distance per depth.
No energy is lost, the material is that along the unscattered line, and panels scatter nothing.
"""

from __future__ import annotations

import math

import numpy as np

from rl_detector.physics.cosmic_muons import BoolArray, Matter, Muons, Rays, sample_momenta, sample_rays
from rl_detector.physics.cosmic_muons import scatter as deflect
from rl_detector.physics.materials import material
from rl_detector.space import FloatArray, IntArray

VOLUME_SIZE = np.array([0.6, 1.0, 1.0])
"""Sides of the volume in x, y and z, in m."""


BLOCK_SIZE = np.array([0.5, 0.1, 0.1])
"""Sides of the block in x, y and z, in m."""


VOXEL_SIDE = 0.1
"""Side of a voxel in m."""


VOLUME_VOXELS = np.round(VOLUME_SIZE / VOXEL_SIDE).astype(np.intp)


BLOCK_VOXELS = np.round(BLOCK_SIZE / VOXEL_SIDE).astype(np.intp)
"""Voxels of the volume and of the block, in x, y and z."""


VOXEL_COUNT = int(VOLUME_VOXELS.prod())


BLOCK_PLACES = VOLUME_VOXELS - BLOCK_VOXELS + 1
"""Number of places of the block along x, y and z: it fills whole voxels."""


ZONE_HEIGHT = 0.5
"""Height in m of the zones above and below the volume in which panels can stand; our choice."""


FLOOR_HEIGHT, CEILING_HEIGHT, TOP_HEIGHT = ZONE_HEIGHT, ZONE_HEIGHT + VOLUME_SIZE[2], VOLUME_SIZE[2] + 2 * ZONE_HEIGHT
"""Heights in m of the volume's floor and ceiling and of the upper zone's top."""


MUON_MARGIN = VOLUME_SIZE[2] / 2 * math.tan(math.pi / 3)
"""Distance in m beside the volume at its middle height within which muons pass: covers zenith angles to 60 degrees."""


SCATTERING_PARTS = 40
"""Equal parts of the height in which the material along a muon is looked up."""


def densities(place: int, light: str, block: str = "Pb") -> FloatArray:
    """1 / X0 in 1/m of every voxel with the block at a place, and 0 for outside, [voxels + 1]."""
    inside, outside = (100 / material(name).radiation_length for name in (block, light))
    filled = np.full(VOLUME_VOXELS, outside)
    corner = np.unravel_index(place, BLOCK_PLACES)
    filled[tuple(slice(first, first + long) for first, long in zip(corner, BLOCK_VOXELS, strict=True))] = inside
    return np.append(filled.reshape(-1), 0.0)


def heights(parts: int) -> FloatArray:
    """Middle heights above the floor of equal parts of the volume, from the ceiling down, [parts]."""
    result: FloatArray = VOLUME_SIZE[2] * (1 - (np.arange(parts) + 0.5) / parts)
    return result


def voxels_along(position: FloatArray, slope: FloatArray, parts: int) -> IntArray:
    """Index of the voxel in the middle of each part of a way, `VOXEL_COUNT` for outside, [parts, rays].

    Args:
        position: x and y at the ceiling, [2, rays].
        slope: [2, rays].
        parts: of the height.
    """
    above = heights(parts)
    index = np.zeros((parts, position.shape[1]), dtype=np.int64)
    inside = np.ones(index.shape, dtype=bool)
    for axis in range(2):
        cell = np.floor((position[axis] + (VOLUME_SIZE[2] - above)[:, None] * slope[axis]) / VOXEL_SIDE).astype(
            np.int64
        )
        inside &= (cell >= 0) & (cell < VOLUME_VOXELS[axis])
        index = (index + cell) * VOLUME_VOXELS[axis + 1]
    layer = np.floor(above / VOXEL_SIDE).astype(np.int64)[:, None]
    return np.where(inside, index + layer, VOXEL_COUNT)


def voxels_at(points: FloatArray) -> IntArray:
    """Index of the voxel of each point x, y in m, z above the floor, [3, points]; `VOXEL_COUNT` for outside."""
    cells = np.floor(points / VOXEL_SIDE).astype(np.int64)
    inside = ((cells >= 0) & (cells < VOLUME_VOXELS[:, None])).all(axis=0)
    index = (cells[0] * VOLUME_VOXELS[1] + cells[1]) * VOLUME_VOXELS[2] + cells[2]
    return np.where(inside, index, VOXEL_COUNT)


def sample_muons(rng: np.random.Generator, muons: int) -> Muons:
    """Muons that cross the volume somewhere, at the top of the upper zone."""
    low, high = np.full(2, -MUON_MARGIN), VOLUME_SIZE[:2] + MUON_MARGIN
    kept: list[Rays] = []
    while (found := sum(each.slope.shape[1] for each in kept)) < muons:
        middle = sample_rays(rng, 4 * (muons - found) + 64, low, high)
        rays = Rays(middle.position - (TOP_HEIGHT - FLOOR_HEIGHT - VOLUME_SIZE[2] / 2) * middle.slope, middle.slope)
        kept.append(rays.take(np.flatnonzero(crosses(rays))))
    position = np.concatenate([each.position for each in kept], axis=1)[:, :muons]
    slope = np.concatenate([each.slope for each in kept], axis=1)[:, :muons]
    return Muons(Rays(position, slope), sample_momenta(rng, muons))


def crosses(rays: Rays) -> BoolArray:
    """Whether lines from the top cross the volume, [rays]: where they are within its sides is a range of depths."""
    with np.errstate(divide="ignore", invalid="ignore"):
        ends = np.sort([(-rays.position) / rays.slope, (VOLUME_SIZE[:2, None] - rays.position) / rays.slope], axis=0)
    enter = np.fmax.reduce([ends[0, 0], ends[0, 1], np.full(rays.slope.shape[1], TOP_HEIGHT - CEILING_HEIGHT)])
    leave = np.fmin.reduce([ends[1, 0], ends[1, 1], np.full(rays.slope.shape[1], TOP_HEIGHT - FLOOR_HEIGHT)])
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
    local = density[voxels_along(muons.rays.position + (TOP_HEIGHT - CEILING_HEIGHT) * slope, slope, SCATTERING_PARTS)]
    part, middle = VOLUME_SIZE[2] / SCATTERING_PARTS, heights(SCATTERING_PARTS)
    powers = np.stack([np.ones(SCATTERING_PARTS), middle, middle**2 + part**2 / 12])
    thickness, first, second = (powers @ local) * part * stretch
    return deflect(
        muons, Matter.of_moments(thickness, first * stretch, second * stretch**2), TOP_HEIGHT - FLOOR_HEIGHT, normals
    )
