"""Cosmic muons at sea level, and how matter on their way deflects and displaces them.

Lengths in m, momenta and energies in GeV, slopes are horizontal distance per depth (muons go down).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from rl_detector.physics.constants import MUON_MASS
from rl_detector.physics.scattering import highland_angle, velocity

FloatArray = NDArray[np.float64]
BoolArray = NDArray[np.bool_]
IntArray = NDArray[np.int64]

ZENITH_LIMIT = math.radians(70)
ENERGY_LOW, ENERGY_HIGH = 0.5, 500.0
"""Largest zenith angle in rad, lowest and highest energy in GeV (TomOpt)."""

FLUX_POWER, FLUX_OFFSET, FLUX_DECAY, FLUX_RADIUS = 3.0, 3.87, 854.0, 174.0
"""n, E0 [GeV], epsilon [GeV] and R/d of the flux (P. Shukla and S. Sankrith, arXiv:1606.06907)."""

STEEPEST = 0.1
"""Smallest depth component of a muon's direction after scattering, relative to that before; muons below are lost."""


@dataclass(frozen=True)
class Rays:
    """Straight lines that go down from a height: position at this height in m, and slope, [2, rays] each."""

    position: FloatArray
    slope: FloatArray

    def take(self, chosen: IntArray) -> Rays:
        """Select rays by index."""
        return Rays(self.position[:, chosen], self.slope[:, chosen])


@dataclass(frozen=True)
class Muons:
    """Muons at one height, and their momenta in GeV, [muons]."""

    rays: Rays
    momentum: FloatArray


@dataclass(frozen=True)
class Matter:
    """Matter that rays cross between two heights, [rays] each.

    Attributes:
        thickness: radiation lengths that the ray crosses.
        lever: mean distance in m along the ray from the matter to the lower height, weighted by radiation lengths.
        spread: standard deviation of this distance in m.
    """

    thickness: FloatArray
    lever: FloatArray
    spread: FloatArray

    @staticmethod
    def of_moments(thickness: FloatArray, first: FloatArray, second: FloatArray) -> Matter:
        """Make matter from the sums of x, x l and x l^2 over parts of thickness x at distances l in m."""
        whole = np.maximum(thickness, 1e-30)
        lever = first / whole
        return Matter(thickness, lever, np.sqrt(np.maximum(second / whole - lever**2, 0)))


def flux(energy: FloatArray, zenith: FloatArray) -> FloatArray:
    """Return the intensity of muons at sea level, not normalised: (E0 + E)^-n / (1 + E / eps) D(theta)^-(n - 1).

    E is the total energy in GeV, theta the zenith angle in rad.
    D(theta) = sqrt((R/d)^2 cos^2 + 2 R/d + 1) - R/d cos is the relative length of the way through the atmosphere
    (P. Shukla and S. Sankrith, arXiv:1606.06907).

    Examples:
        >>> vertical, slanted = flux(np.array([5.0]), np.array([0.0])), flux(np.array([5.0]), np.array([1.0]))
        >>> round(float((slanted / vertical)[0]), 2)
        0.3
    """
    cosine = np.cos(zenith)
    path = np.sqrt(FLUX_RADIUS**2 * cosine**2 + 2 * FLUX_RADIUS + 1) - FLUX_RADIUS * cosine
    result: FloatArray = (FLUX_OFFSET + energy) ** -FLUX_POWER / (1 + energy / FLUX_DECAY) * path ** (1 - FLUX_POWER)
    return result


def sample_rays(rng: np.random.Generator, rays: int, low: FloatArray, high: FloatArray) -> Rays:
    """Draw lines through a horizontal rectangle with the corners `low` and `high` in m.

    Positions are uniform. The zenith angle follows the flux times cos sin.

    Examples:
        >>> rays = sample_rays(np.random.default_rng(0), 1000, np.zeros(2), np.ones(2))
        >>> rays.position.shape, bool(rays.position.min() >= 0)
        ((2, 1000), True)
    """
    angles, cumulative = _zeniths()
    uniform = rng.random((4, rays))
    steepness, azimuth = np.tan(np.interp(uniform[0], cumulative, angles)), 2 * np.pi * uniform[1]
    position = uniform[2:] * (high - low)[:, None] + low[:, None]
    return Rays(position, steepness * np.stack([np.cos(azimuth), np.sin(azimuth)]))


def sample_momenta(rng: np.random.Generator, muons: int) -> FloatArray:
    """Draw momenta in GeV of vertical muons at sea level, [muons].

    Examples:
        >>> momenta = sample_momenta(np.random.default_rng(0), 10_000)
        >>> bool(0.4 < momenta.min()), round(float(np.median(momenta)))
        (True, 2)
    """
    energies, cumulative = _spectrum()
    energy = np.interp(rng.random(muons), cumulative, energies)
    momentum: FloatArray = np.sqrt(energy**2 - MUON_MASS**2)
    return momentum


@lru_cache
def _spectrum() -> tuple[FloatArray, FloatArray]:
    """Tabulate energies in GeV and the share of muons below each."""
    edges = np.geomspace(ENERGY_LOW, ENERGY_HIGH, 2049)
    middle = np.sqrt(edges[1:] * edges[:-1])
    return edges, _cumulative(flux(middle, np.zeros(1)) * np.diff(edges))


@lru_cache
def _zeniths() -> tuple[FloatArray, FloatArray]:
    """Tabulate zenith angles in rad and the share of muons below each."""
    edges = np.linspace(0, ZENITH_LIMIT, 1025)
    middle = (edges[1:] + edges[:-1]) / 2
    return edges, _cumulative(flux(np.ones(1), middle) * np.cos(middle) * np.sin(middle))


def _cumulative(weights: FloatArray) -> FloatArray:
    total = np.concatenate([[0.0], np.cumsum(weights)])
    result: FloatArray = total / total[-1]
    return result


def scatter(muons: Muons, matter: Matter, drop: float, normals: FloatArray) -> tuple[Rays, BoolArray]:
    """Carry muons down by `drop` m, through matter.

    Angles and offsets are Gaussian and correlated; their sum over all parts of the matter is drawn at once. The angle
    is theta0 g1, the offset theta0 (lever g1 + spread g2) with the mean lever arm and its spread. Highland's formula
    gives theta0 for the whole way.

    Args:
        muons: muons at the upper height.
        matter: matter that they cross.
        drop: distance between the two heights in m.
        normals: standard normal numbers g1, g2 in the plane of the zenith angle and across it, [2 planes, 2, muons].

    Returns:
        Rays at the lower height, [2, muons], and whether a muon still goes down, [muons].

    Examples:
        >>> muons = Muons(Rays(np.zeros((2, 1)), np.zeros((2, 1))), np.array([3.0]))
        >>> matter = Matter(np.array([1.0]), np.array([0.5]), np.array([0.3]))
        >>> below, down = scatter(muons, matter, drop=1.0, normals=np.zeros((2, 2, 1)))
        >>> below.slope[:, 0], bool(down[0])
        (array([0., 0.]), True)
    """
    slope, momentum = muons.rays.slope, muons.momentum * 1000
    steep = np.sqrt((slope**2).sum(axis=0))
    stretch = np.sqrt(1 + steep**2)
    theta = highland_angle(momentum, velocity(momentum), matter.thickness)
    along, across = ((theta * g1, theta * (matter.lever * g1 + matter.spread * g2)) for g1, g2 in normals)
    outward = slope / np.where(steep > 0, steep, 1.0)
    outward = np.where(steep > 0, outward, np.array([[1.0], [0.0]]))
    sideways = np.stack([-outward[1], outward[0]])
    forward = 1 - along[0] * steep
    down = forward > STEEPEST
    new_slope = (outward * (steep + along[0]) + sideways * across[0] * stretch) / np.where(down, forward, 1.0)
    shift = outward * along[1] / stretch + sideways * across[1] + new_slope * along[1] * steep / stretch
    return Rays(muons.rays.position + slope * drop + shift, new_slope), down
