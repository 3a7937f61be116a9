"""Maps of the scattering density 1 / X0 from the kinks of muons: closest approach, and maximum likelihood.

A muon's kink is its change of angle and its offset behind the volume, in two planes. Divided by 13.6 MeV / (beta p),
both are Gaussian with a covariance that is linear in the densities of the voxels on the way, apart from Highland's
logarithm F:

    V = F sum over k of density_k length (1, l_k) (1, l_k)' + noise,    F = (1 + 0.038 ln(x / beta^2))^2,

with x the radiation lengths of the whole way and l_k the distance of its part k from where the offset is measured. The
likelihood is maximised by expectation maximisation (L. J. Schultz et al., IEEE Trans. Image Process. 16 (2007) 1985).
It starts at the map of closest approach, which puts a whole kink where the two tracks come closest (Schultz et al., NIM
A 519 (2004) 687). Lengths in m.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from rl_detector.physics.scattering import HIGHLAND_LOG

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.intp]

_THINNEST = 1e-6
"""Radiation lengths below which Highland's logarithm stands still."""


@dataclass(frozen=True)
class Kinks:
    """How muons were deflected, in units of 13.6 MeV / (beta p).

    Attributes:
        angle, offset: in two planes, [2, muons]; offset in m.
        noise: variance of the angle, covariance, variance of the offset from the resolution of hits, [3, muons].
        beta_squared: velocities over that of light, squared, [muons].
    """

    angle: FloatArray
    offset: FloatArray
    noise: FloatArray
    beta_squared: FloatArray


@dataclass(frozen=True)
class Paths:
    """The ways of the muons through the voxels, in parts of equal height.

    Attributes:
        voxels: index of the voxel of each part, [parts, muons]; `size` for outside.
        size: number of voxels.
        heights: of the parts above where the offset is measured, [parts].
        stretch: length of the way over its height, [muons].
        step: height of a part.
    """

    voxels: IntArray
    size: int
    heights: FloatArray
    stretch: FloatArray
    step: float

    @property
    def powers(self) -> FloatArray:
        """1, height and height^2 of the parts, [3, parts]."""
        return np.stack([np.ones_like(self.heights), self.heights, self.heights**2])

    def radiation_lengths(self, density: FloatArray) -> FloatArray:
        """x of every way in a map [voxels + 1], [muons]."""
        total: FloatArray = density[self.voxels].sum(axis=0) * self.step * self.stretch
        return total

    def summed(self, values: FloatArray) -> FloatArray:
        """Sums over the parts in each voxel of values [parts, muons], [voxels]."""
        counted = np.bincount(self.voxels.ravel(), values.ravel(), self.size + 1)[:-1]
        return counted.astype(np.float64)

    def tracks(self) -> FloatArray:
        """Length of all ways in each voxel, [voxels]."""
        return self.summed(np.broadcast_to(self.step * self.stretch, self.voxels.shape))


@dataclass(frozen=True)
class Prior:
    """Density assumed before any muon, in 1/m, with the weight of `length` m of track in every voxel."""

    density: float
    length: float


def logarithm(radiation_lengths: FloatArray, beta_squared: FloatArray) -> FloatArray:
    """F = (1 + 0.038 ln(x / beta^2))^2 (PDG 2024, eq. 34.16)."""
    factor: FloatArray = (1 + HIGHLAND_LOG * np.log(np.maximum(radiation_lengths, _THINNEST) / beta_squared)) ** 2
    return factor


def closest_approach_map(kinks: Kinks, paths: Paths, vertices: IntArray, prior: Prior) -> FloatArray:
    """Density of every voxel and 0 for outside, [voxels + 1]: squared angles of the vertices in it over track length.

    The logarithm is that of a way through the prior density; a voxel is never below a tenth of that.

    Args:
        kinks, paths: of the muons.
        vertices: index of the voxel of closest approach, `paths.size` for outside, [muons].
        prior: added to what is seen.
    """
    assumed = np.append(np.full(paths.size, prior.density), 0.0)
    factor = logarithm(paths.radiation_lengths(assumed), kinks.beta_squared)
    squared = ((kinks.angle**2).mean(axis=0) - kinks.noise[0]) / factor
    seen = np.bincount(vertices, squared, paths.size + 1)[:-1]
    density = (seen + prior.length * prior.density) / (paths.tracks() + prior.length)
    return np.append(np.maximum(density, prior.density / 10), 0.0)


def likelihood_map(kinks: Kinks, paths: Paths, start: FloatArray, prior: Prior, iterations: int) -> FloatArray:
    """Density of every voxel and 0 for outside, [voxels + 1], after steps of expectation maximisation from a start.

    One step replaces each density by the mean, over all track in the voxel, of the squared kinks expected there given
    what was measured. The logarithm is that of the map before the step.
    """
    density, seen = start, paths.tracks()
    for _ in range(iterations):
        expected = _expected(kinks, paths, density)
        density = np.append((expected + prior.length * prior.density) / (seen + prior.length), 0.0)
    return density


def _expected(kinks: Kinks, paths: Paths, density: FloatArray) -> FloatArray:
    """Sum over ways of the squared kinks expected in each voxel, per F, [voxels].

    A part of variance v = density length F has the expectation v + v^2 q with q the mean over both planes of
    (g' V^-1 d)^2 - g' V^-1 g, g = (1, l), d = (angle, offset). The offset that arises within a part, of variance
    v (length of the part)^2 / 12, is added to the noise.
    """
    local = density[paths.voxels]
    length, powers = paths.step * paths.stretch, paths.powers
    scale = np.stack([np.ones_like(paths.stretch), paths.stretch, paths.stretch**2])
    moments = (powers @ local) * length * scale
    moments[2] += moments[0] * length**2 / 12
    factor = logarithm(moments[0], kinks.beta_squared)
    v00, v01, v11 = moments * factor + kinks.noise
    determinant = v00 * v11 - v01**2
    a = (v11 * kinks.angle - v01 * kinks.offset) / determinant
    b = (v00 * kinks.offset - v01 * kinks.angle) / determinant
    q = np.stack([(a**2).mean(axis=0), 2 * (a * b).mean(axis=0), (b**2).mean(axis=0)])
    q -= np.stack([v11, -2 * v01, v00]) / determinant
    parts = local * length * (1 + local * (length * factor) * (powers.T @ (q * scale)))
    return paths.summed(np.maximum(parts, 0.0))  # below 0 only by rounding
