"""A ladle furnace in cosmic muons: its materials, the muons that cross it, and how they scatter in it.

Lengths in m, momenta and energies in GeV, slopes are horizontal distance per depth (muons go down).
No energy is lost, the material is that along the unscattered line, and panels scatter nothing.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np

from rl_detector.physics.constants import AIR_RADIATION_LENGTH_M
from rl_detector.physics.cosmic_muons import BoolArray, Matter, Muons, Rays, sample_momenta, sample_rays
from rl_detector.physics.cosmic_muons import scatter as deflect
from rl_detector.space import FloatArray, IntArray

FURNACE_WIDTH = 1.0
"""Side of the square volume in m (TomOpt, ladle furnace benchmark)."""


TOP_HEIGHT, FURNACE_TOP, FURNACE_BOTTOM = 1.8, 1.4, 0.4
"""Heights in m: top of the upper panels' zone, top and bottom of the furnace (TomOpt, ladle furnace benchmark)."""


FURNACE_LAYERS, VOXEL_SIDE = 10, 0.1
"""Number of layers of the furnace and size of its voxels in m (TomOpt, ladle furnace benchmark)."""


FILL_HEIGHTS = np.round(np.arange(0.6, 1.31, 0.1), 1)
"""Heights of the surface of the liquid steel in m, all equally likely (TomOpt, ladle furnace benchmark)."""


RADIATION_LENGTHS: Mapping[str, float] = {
    "steel": 0.01782,
    "liquid steel": 0.01991,
    "slag": 0.08211,
    "air": AIR_RADIATION_LENGTH_M,
}
"""X0 in m (TomOpt)."""


MUON_MARGIN = math.tan(math.pi / 12) * TOP_HEIGHT
"""Distance in m beside the volume within which muons start at the top (TomOpt)."""


_CORNER = np.zeros(2)


def sample_muons(rng: np.random.Generator, muons: int) -> Muons:
    """Muons that cross the furnace somewhere: flux times cos(theta) sin(theta), positions uniform at the top."""
    position, slope = np.empty((2, 0)), np.empty((2, 0))
    while position.shape[1] < muons:
        rays = sample_rays(
            rng, 2 * (muons - position.shape[1]) + 64, _CORNER - MUON_MARGIN, _CORNER + FURNACE_WIDTH + MUON_MARGIN
        )
        inner, wall = _crossed(rays)
        crossing = (inner + wall).any(axis=0)
        position = np.concatenate([position, rays.position[:, crossing]], axis=1)
        slope = np.concatenate([slope, rays.slope[:, crossing]], axis=1)
    return Muons(Rays(position[:, :muons], slope[:, :muons]), sample_momenta(rng, muons))


def _crossed(rays: Rays) -> tuple[FloatArray, FloatArray]:
    """Whether a line crosses the inner part and the wall of each layer in its middle, 1 or 0, [layers, rays]."""
    depths = TOP_HEIGHT - FURNACE_TOP + (np.arange(FURNACE_LAYERS) + 0.5) * VOXEL_SIDE
    away = np.zeros((FURNACE_LAYERS, rays.position.shape[1]))
    for start, slope in zip(rays.position, rays.slope, strict=True):
        away = np.maximum(away, np.abs(start - FURNACE_WIDTH / 2 + depths[:, None] * slope))
    inner = away < FURNACE_WIDTH / 2 - VOXEL_SIDE
    return inner.astype(np.float64), ((away < FURNACE_WIDTH / 2) & ~inner).astype(np.float64)


def densities() -> FloatArray:
    """1 / X0 in 1/m inside the walls, for every fill height and layer from the top, [heights, layers].

    A floor of steel, liquid steel up to the fill height, slag one layer thick, air.
    """
    bottoms = np.round(FURNACE_TOP - VOXEL_SIDE * np.arange(1, FURNACE_LAYERS + 1), 3)
    names = np.full((len(FILL_HEIGHTS), FURNACE_LAYERS), "air", dtype="U12")
    names[bottoms < FILL_HEIGHTS[:, None] + VOXEL_SIDE - 0.01] = "slag"
    names[bottoms < FILL_HEIGHTS[:, None] - 0.01] = "liquid steel"
    names[:, -1] = "steel"
    result: FloatArray = 1 / np.vectorize(RADIATION_LENGTHS.__getitem__, otypes=[np.float64])(names)
    return result


def _moments(rays: Rays, fills: IntArray) -> FloatArray:
    """Sum of x, x r and x r^2 with x the radiation lengths in a layer per m of track, [3, rays].

    r is how far the layer is above the floor of the furnace, in layers; what is spread evenly over a layer has the
    moments 1, r + 1/2 and (r + 1/2)^2 + 1/12.
    """
    inner, wall = _crossed(rays)
    middle = FURNACE_LAYERS - np.arange(FURNACE_LAYERS) - 0.5
    powers = np.stack([np.ones(FURNACE_LAYERS), middle, middle**2 + 1 / 12])
    return np.asarray(powers @ (inner * densities().T[:, fills] + wall / RADIATION_LENGTHS["steel"]))


def scatter(muons: Muons, fills: IntArray, normals: FloatArray) -> tuple[Rays, BoolArray]:
    """Muons below the furnace: `rl_detector.physics.cosmic_muons.scatter` with its material.

    Args:
        muons: at the top.
        fills: index of the fill height of the volume that each muon crosses, [muons].
        normals: standard normal numbers, [2 planes, 2, muons].

    Returns:
        Rays at the floor of the furnace, [2, muons], and whether a muon still goes down, [muons].
    """
    step = VOXEL_SIDE * np.sqrt(1 + (muons.rays.slope**2).sum(axis=0))
    thickness, first, second = _moments(muons.rays, fills) * step
    matter = Matter.of_moments(thickness, first * step, second * step**2)
    return deflect(muons, matter, TOP_HEIGHT - FURNACE_BOTTOM, normals)
