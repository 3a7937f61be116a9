"""A ladle furnace in cosmic muons: the flux at sea level, the furnace's materials, and multiple scattering in it.

Lengths in m, momenta and energies in GeV, slopes are horizontal distance per depth (muons go down). No energy is lost
and the material is that along the unscattered line, as scattered tracks leave it by little. Panels scatter nothing.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from rl_detector.physics.scattering import MUON_MASS, highland_angle, velocity
from rl_detector.space import FloatArray, IntArray

BoolArray: TypeAlias = NDArray[np.bool_]

WIDTH = 1.0
"""Side of the square volume in m (TomOpt, ladle furnace benchmark)."""

TOP, PASSIVE_TOP, PASSIVE_BOTTOM = 1.8, 1.4, 0.4
"""Heights in m: top of the upper panels' zone, top and bottom of the furnace (TomOpt, ladle furnace benchmark)."""

LAYERS, VOXEL = 10, 0.1
"""Number of layers of the furnace and size of its voxels in m (TomOpt, ladle furnace benchmark)."""

FILL_HEIGHTS = np.round(np.arange(0.6, 1.31, 0.1), 1)
"""Heights of the surface of the liquid steel in m, all equally likely (TomOpt, ladle furnace benchmark)."""

RADIATION_LENGTHS: Mapping[str, float] = {"steel": 0.01782, "liquid steel": 0.01991, "slag": 0.08211, "air": 303.9}
"""X0 in m (TomOpt)."""

ZENITH_LIMIT = math.radians(70)
ENERGY_LOW, ENERGY_HIGH = 0.5, 500.0
"""Largest zenith angle, and energies in GeV (TomOpt)."""

FLUX_POWER, FLUX_OFFSET, FLUX_DECAY, FLUX_RADIUS = 3.0, 3.87, 854.0, 174.0
"""n, E0 [GeV], epsilon [GeV] and R/d of the flux (P. Shukla and S. Sankrith, arXiv:1606.06907)."""

MARGIN = math.tan(math.pi / 12) * TOP
"""Muons start at the top up to so many m beside the volume (TomOpt)."""

STEEPEST = 0.1
"""A muon whose direction has a smaller share along its old depth axis after scattering is lost."""


@dataclass(frozen=True)
class Rays:
    """Straight lines going down from a height: position at that height in m and slope, [2, rays] each."""

    position: FloatArray
    slope: FloatArray

    def take(self, chosen: IntArray) -> Rays:
        """Some of the rays."""
        return Rays(self.position[:, chosen], self.slope[:, chosen])


@dataclass(frozen=True)
class Muons:
    """Muons at the top of the volume, and their momenta in GeV, [muons]."""

    rays: Rays
    momentum: FloatArray


def flux(energy: FloatArray, zenith: FloatArray) -> FloatArray:
    """Intensity of muons at sea level, not normalised: (E0 + E)^-n / (1 + E / eps) D(theta)^-(n - 1).

    D(theta) = sqrt((R/d)^2 cos^2 + 2 R/d + 1) - R/d cos is the relative length of the way through the atmosphere
    (P. Shukla and S. Sankrith, arXiv:1606.06907).
    """
    cosine = np.cos(zenith)
    path = np.sqrt(FLUX_RADIUS**2 * cosine**2 + 2 * FLUX_RADIUS + 1) - FLUX_RADIUS * cosine
    result: FloatArray = (FLUX_OFFSET + energy) ** -FLUX_POWER / (1 + energy / FLUX_DECAY) * path ** (1 - FLUX_POWER)
    return result


def sample_muons(rng: np.random.Generator, muons: int) -> Muons:
    """Muons that cross the furnace somewhere: flux times cos(theta) sin(theta), positions uniform at the top."""
    position, slope = np.empty((2, 0)), np.empty((2, 0))
    while position.shape[1] < muons:
        rays = _any_rays(rng, 2 * (muons - position.shape[1]) + 64)
        inner, wall = _crossed(rays)
        crossing = (inner + wall).any(axis=0)
        position = np.concatenate([position, rays.position[:, crossing]], axis=1)
        slope = np.concatenate([slope, rays.slope[:, crossing]], axis=1)
    energies, cumulative = _spectrum()
    energy = np.interp(rng.random(muons), cumulative, energies)
    momentum = np.sqrt(energy**2 - (MUON_MASS / 1000) ** 2)
    return Muons(Rays(position[:, :muons], slope[:, :muons]), momentum)


def _any_rays(rng: np.random.Generator, rays: int) -> Rays:
    """Lines from anywhere around the top."""
    angles, cumulative = _zeniths()
    uniform = rng.random((4, rays))
    steepness, azimuth = np.tan(np.interp(uniform[0], cumulative, angles)), 2 * np.pi * uniform[1]
    position = uniform[2:] * (WIDTH + 2 * MARGIN) - MARGIN
    return Rays(position, steepness * np.stack([np.cos(azimuth), np.sin(azimuth)]))


@lru_cache
def _spectrum() -> tuple[FloatArray, FloatArray]:
    """Energies in GeV and the share of muons below."""
    edges = np.geomspace(ENERGY_LOW, ENERGY_HIGH, 2049)
    middle = np.sqrt(edges[1:] * edges[:-1])
    return edges, _cumulative(flux(middle, np.zeros(1)) * np.diff(edges))


@lru_cache
def _zeniths() -> tuple[FloatArray, FloatArray]:
    """Zenith angles in rad and the share of muons below."""
    edges = np.linspace(0, ZENITH_LIMIT, 1025)
    middle = (edges[1:] + edges[:-1]) / 2
    return edges, _cumulative(flux(np.ones(1), middle) * np.cos(middle) * np.sin(middle))


def _cumulative(weights: FloatArray) -> FloatArray:
    total = np.concatenate([[0.0], np.cumsum(weights)])
    result: FloatArray = total / total[-1]
    return result


def _crossed(rays: Rays) -> tuple[FloatArray, FloatArray]:
    """Whether a line crosses the inner part and the wall of each layer in its middle, 1 or 0, [layers, rays]."""
    depths = TOP - PASSIVE_TOP + (np.arange(LAYERS) + 0.5) * VOXEL
    away = np.zeros((LAYERS, rays.position.shape[1]))
    for start, slope in zip(rays.position, rays.slope, strict=True):
        away = np.maximum(away, np.abs(start - WIDTH / 2 + depths[:, None] * slope))
    inner = away < WIDTH / 2 - VOXEL
    return inner.astype(np.float64), ((away < WIDTH / 2) & ~inner).astype(np.float64)


def densities() -> FloatArray:
    """1 / X0 in 1/m inside the walls, for every fill height and layer from the top, [heights, layers].

    A floor of steel, liquid steel up to the fill height, slag one layer thick, air.
    """
    bottoms = np.round(PASSIVE_TOP - VOXEL * np.arange(1, LAYERS + 1), 3)
    names = np.full((len(FILL_HEIGHTS), LAYERS), "air", dtype="U12")
    names[bottoms < FILL_HEIGHTS[:, None] + VOXEL - 0.01] = "slag"
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
    middle = LAYERS - np.arange(LAYERS) - 0.5
    powers = np.stack([np.ones(LAYERS), middle, middle**2 + 1 / 12])
    return np.asarray(powers @ (inner * densities().T[:, fills] + wall / RADIATION_LENGTHS["steel"]))


def scatter(muons: Muons, fills: IntArray, normals: FloatArray) -> tuple[Rays, BoolArray]:
    """What comes out below.

    The sum over layers of correlated Gaussian angles and offsets is drawn at once: angle theta0 g1, offset theta0 times
    the mean lever arm g1 plus its spread g2, with theta0 from Highland's formula for the whole way through the furnace.

    Args:
        muons: at the top.
        fills: index of the fill height of the volume that each muon crosses, [muons].
        normals: standard normal g1, g2 in the plane of the zenith angle and across it, [2 planes, 2, muons].

    Returns:
        Rays at the floor of the furnace, [2, muons], and whether a muon still goes down, [muons].
    """
    slope, momentum = muons.rays.slope, muons.momentum * 1000
    steep = np.sqrt((slope**2).sum(axis=0))
    stretch = np.sqrt(1 + steep**2)
    step = VOXEL * stretch
    thickness, first, second = _moments(muons.rays, fills) * step
    theta = highland_angle(momentum, velocity(momentum), thickness)
    mean = first / np.maximum(thickness, 1e-30)
    spread = np.sqrt(np.maximum(second / np.maximum(thickness, 1e-30) - mean**2, 0))
    along, across = ((theta * g1, theta * step * (mean * g1 + spread * g2)) for g1, g2 in normals)
    outward = slope / np.where(steep > 0, steep, 1.0)
    outward = np.where(steep > 0, outward, np.array([[1.0], [0.0]]))
    sideways = np.stack([-outward[1], outward[0]])
    forward = 1 - along[0] * steep
    down = forward > STEEPEST
    new_slope = (outward * (steep + along[0]) + sideways * across[0] * stretch) / np.where(down, forward, 1.0)
    exit_point = muons.rays.position + slope * (TOP - PASSIVE_BOTTOM)
    shift = outward * along[1] / stretch + sideways * across[1] + new_slope * along[1] * steep / stretch
    return Rays(exit_point + shift, new_slope), down
