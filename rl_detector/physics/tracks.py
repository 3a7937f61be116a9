"""Charged tracks in a dipole: a parabola inside the field, straight lines outside; fits with the full covariance.

Bending plane only. Lengths in m, field in T, momenta in GeV; kappa = q / p in 1/GeV. To first order in the angle a
track is linear in its three parameters,

    x(z) = x0 + z t0 + kappa D(z),    D'' = 0.2998 B(z),

so that a least-squares fit with the full covariance of measurement and multiple scattering is exact (Gluckstern, NIM 24
(1963) 381; PDG 2024, "Particle detectors at accelerators", sec. 35.14). A Kalman filter (Fruehwirth, NIM A 262 (1987)
444) gives an equal estimate of kappa for every track, without a matrix per track, even where hits are missing.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from rl_detector.errors import DesignError
from rl_detector.physics.constants import CURVATURE_GEV_PER_T_M

FloatArray = NDArray[np.float64]
BoolArray = NDArray[np.bool_]


@dataclass(frozen=True)
class Dipole:
    """A homogeneous field with sharp edges.

    Attributes:
        field: B in T, 0 for none.
        start, length: extent along the beam in m.
    """

    field: float
    start: float
    length: float

    def __post_init__(self) -> None:
        if not (np.isfinite([self.field, self.start, self.length]).all() and self.length > 0):
            raise DesignError(f"a dipole needs finite field and start and a length > 0 in m, got {self}")

    def kick(self, z: ArrayLike) -> FloatArray:
        """Return D'(z) in GeV: the change of slope per kappa of a track that starts at z = -infinity."""
        inside = np.clip(np.asarray(z, dtype=np.float64) - self.start, 0, self.length)
        bent: FloatArray = CURVATURE_GEV_PER_T_M * self.field * inside
        return bent

    def bend(self, z: ArrayLike) -> FloatArray:
        """Return D(z) in m GeV: the displacement per kappa of a track that starts at z = -infinity."""
        behind = np.asarray(z, dtype=np.float64) - self.start
        inside = np.clip(behind, 0, self.length)
        bent: FloatArray = CURVATURE_GEV_PER_T_M * self.field * inside * (np.maximum(behind, 0) - inside / 2)
        return bent


def basis(z: ArrayLike, dipole: Dipole) -> FloatArray:
    """Return the derivatives of x(z) with respect to x0, t0 and kappa, [..., n, 3], for planes at z [..., n] in m.

    Examples:
        >>> dipole = Dipole(field=1.0, start=1.0, length=1.0)
        >>> basis([0.0, 1.0, 2.0], dipole).round(3)
        array([[1.  , 0.  , 0.  ],
               [1.  , 1.  , 0.  ],
               [1.  , 2.  , 0.15]])
    """
    planes = np.asarray(z, dtype=np.float64)
    return np.stack([np.ones_like(planes), planes, dipole.bend(planes)], axis=-1)


def arc(z: ArrayLike, slope: ArrayLike, kappa: ArrayLike, field: float) -> FloatArray:
    """Return the exact displacement in m after z in m of homogeneous field, to check the parabola.

    sin(angle) grows by 0.2998 B kappa per m: a circle, x = R (cos a0 - cos a1). Tracks that curl up give NaN.

    Examples:
        >>> round(float(arc(1.0, slope=0.0, kappa=0.1, field=1.0)), 5), round(CURVATURE_GEV_PER_T_M * 0.1 / 2, 5)
        (0.01499, 0.01499)
    """
    sine = np.sin(np.arctan(slope))
    curvature = CURVATURE_GEV_PER_T_M * field * np.asarray(kappa, dtype=np.float64)
    end = sine + curvature * np.asarray(z, dtype=np.float64)
    with np.errstate(invalid="ignore"):
        total: FloatArray = np.asarray(z) * (sine + end) / (np.sqrt(1 - sine**2) + np.sqrt(1 - end**2))
    return total


def exact_path(z: ArrayLike, slope: ArrayLike, kappa: ArrayLike, dipole: Dipole) -> FloatArray:
    """Return x(z) - x0 in m, exactly, for a track that starts at z = 0 in front of a dipole: line, circle, line.

    `basis` is its first order in slope and kappa. Tracks that curl up give NaN from there on.

    Examples:
        >>> dipole = Dipole(field=1.0, start=1.0, length=1.0)
        >>> exact, first_order = exact_path([3.0], 0.0, 0.1, dipole), 0.1 * dipole.bend([3.0])
        >>> round(float(exact[0]), 4), round(float(first_order[0]), 4)
        (0.045, 0.045)
    """
    planes = np.asarray(z, dtype=np.float64)
    inside = np.clip(planes - dipole.start, 0, dipole.length)
    straight = np.asarray(slope) * np.minimum(planes, dipole.start)
    end = np.sin(np.arctan(slope)) + CURVATURE_GEV_PER_T_M * dipole.field * np.asarray(kappa, dtype=np.float64) * inside
    with np.errstate(invalid="ignore"):
        leaving = end / np.sqrt(1 - end**2) * np.maximum(planes - dipole.start - dipole.length, 0)
    path: FloatArray = straight + arc(inside, slope, kappa, dipole.field) + leaving
    return path


def scattering_covariance(z: ArrayLike, planes: ArrayLike, gaps: ArrayLike = 0.0) -> FloatArray:
    """Return the covariance of positions from multiple scattering upstream, [..., n, n] in m^2.

    A thin plane at z_k adds theta_k^2 (z_i - z_k)(z_j - z_k) to all i, j behind it. Matter in the gap of length l
    behind it adds theta_k^2 (l^2 / 3 + l (a + b) / 2 + a b), with the distances a, b of i, j from the end of the gap.

    Args:
        z: positions [..., n] in m, ascending.
        planes: projected angles theta in rad of the planes themselves, [..., n].
        gaps: projected angles in rad of the matter in the gaps, [..., n - 1].

    Examples:
        >>> 1e6 * scattering_covariance([0.0, 1.0, 2.0], planes=[1e-3, 0.0, 0.0])
        array([[0., 0., 0.],
               [0., 1., 2.],
               [0., 2., 4.]])
    """
    at, thin = np.broadcast_arrays(np.asarray(z, dtype=np.float64), np.asarray(planes, dtype=np.float64))
    behind = np.maximum(at[..., None, :] - at[..., :, None], 0)  # [..., k, i]
    total: FloatArray = np.einsum("...k,...ki,...kj->...ij", thin**2, behind, behind)
    lengths = np.diff(at, axis=-1)
    thick = np.broadcast_to(np.asarray(gaps, dtype=np.float64), lengths.shape)
    reach, there = behind[..., 1:, :], (at[..., None, :] >= at[..., 1:, None]).astype(np.float64)
    for weight, left, right in (
        (lengths**2 / 3, there, there),
        (lengths / 2, there, reach),
        (lengths / 2, reach, there),
        (np.ones_like(lengths), reach, reach),
    ):
        total = total + np.einsum("...k,...ki,...kj->...ij", thick**2 * weight, left, right)
    return total


def weighted_fit(design: FloatArray, covariance: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Compute the best linear unbiased estimate of track parameters (Gauss and Markov): (A' V^-1 A)^-1 A' V^-1.

    Args:
        design: A, derivatives of the positions, [..., n, parameters], of full rank.
        covariance: V of the positions, [..., n, n], positive definite.

    Returns:
        Weights [..., parameters, n], to be applied to positions, and the covariance of the parameters.

    Examples:
        >>> line = np.array([[1.0, 0.0], [1.0, 1.0], [1.0, 2.0]])
        >>> weights, errors = weighted_fit(line, np.eye(3))
        >>> (weights @ np.array([1.0, 3.0, 5.0])).round(6), round(float(errors[1, 1]), 3)
        (array([1., 2.]), 0.5)
    """
    scaled = np.linalg.solve(covariance, design)
    parameters: FloatArray = np.linalg.inv(np.swapaxes(design, -1, -2) @ scaled)
    return parameters @ np.swapaxes(scaled, -1, -2), parameters


@dataclass(frozen=True)
class Steps:
    """The way from each plane to the next, arrays [steps, ...] that broadcast against tracks.

    Attributes:
        length: distance in m.
        shift, kick: displacement in m GeV and change of slope in GeV, per kappa.
        angle, mixed, offset: variance of the slope, covariance of slope and offset, variance of the offset at the next
            plane, from scattering in this plane and behind it, in rad^2, rad m and m^2.
    """

    length: FloatArray
    shift: FloatArray
    kick: FloatArray
    angle: FloatArray
    mixed: FloatArray
    offset: FloatArray

    @staticmethod
    def between(z: FloatArray, dipole: Dipole, planes: FloatArray, gaps: FloatArray) -> Steps:
        """Make steps between planes at z in m [n, ...], from angles in rad of planes [n, ...] and gaps [n - 1, ...]."""
        length = np.diff(z, axis=0)
        shift = np.diff(dipole.bend(z), axis=0) - dipole.kick(z[:-1]) * length
        thin, thick = planes[:-1] ** 2, gaps**2
        mixed, offset = length * (thin + thick / 2), length**2 * (thin + thick / 3)
        return Steps(length, shift, np.diff(dipole.kick(z), axis=0), thin + thick, mixed, offset)

    def __iter__(self) -> Iterator[tuple[FloatArray, ...]]:
        return zip(self.length, self.shift, self.kick, self.angle, self.mixed, self.offset, strict=True)


PRIOR = (1.0, 1.0, 30.0)
"""Standard deviations of x [m], slope and kappa [1/GeV] before the first hit.

They lie far beyond any track, so only the hits count. Wider ones would cost precision, as rounding grows with their
ratio to the errors of the hits.
"""


def filter_kappa(
    positions: FloatArray, seen: BoolArray, variances: FloatArray, steps: Steps
) -> tuple[FloatArray, FloatArray]:
    """Estimate kappa of every track, and its variance, from the hits that are there, with a Kalman filter.

    Args:
        positions: measured x [planes, ...] in m; the trailing axes are designs and tracks.
        seen: whether there is a hit, [planes, ...].
        variances: variances of the measurement in m^2, > 0, [planes, ...].
        steps: the steps between the planes.

    Returns:
        kappa and its variance [...], in 1/GeV and 1/GeV^2; with fewer than three hits the variance is that of `PRIOR`.

    Examples:
        >>> dipole, z = Dipole(1.0, 1.0, 1.0), np.linspace(0, 3, 7)[:, None]
        >>> steps = Steps.between(z, dipole, np.zeros((7, 1)), np.zeros((6, 1)))
        >>> kappa, variance = filter_kappa(0.1 * dipole.bend(z), np.ones((7, 1), bool), np.full((7, 1), 1e-10), steps)
        >>> round(float(kappa[0]), 4)
        0.1
    """
    state = [np.zeros(positions.shape[1:]) for _ in range(3)]
    spread = [np.full(positions.shape[1:], v) for v in (PRIOR[0] ** 2, 0.0, 0.0, PRIOR[1] ** 2, 0.0, PRIOR[2] ** 2)]
    _update(state, spread, positions[0], seen[0], variances[0])
    for step, position, hit, variance in zip(steps, positions[1:], seen[1:], variances[1:], strict=True):
        _predict(state, spread, *step)
        _update(state, spread, position, hit, variance)
    return state[2], spread[5]


def _update(
    state: list[FloatArray], spread: list[FloatArray], position: FloatArray, hit: BoolArray, variance: FloatArray
) -> None:
    """Add one hit: gain K = C h / (C_xx + variance), state += K (position - x), C -= K h' C; without a hit K = 0."""
    xx, xt, xk, tt, tk, kk = spread
    weight = hit / (xx + variance)
    residual = (position - state[0]) * weight
    state[:] = [value + c * residual for value, c in zip(state, (xx, xt, xk), strict=True)]
    gain_t, gain_k = xt * weight, xk * weight
    keep = 1 - xx * weight
    spread[:] = [xx * keep, xt * keep, xk * keep, tt - gain_t * xt, tk - gain_t * xk, kk - gain_k * xk]


def _predict(
    state: list[FloatArray],
    spread: list[FloatArray],
    length: FloatArray,
    shift: FloatArray,
    kick: FloatArray,
    angle: FloatArray,
    mixed: FloatArray,
    offset: FloatArray,
) -> None:
    """Go one plane on, C -> F C F' + Q with x -> x + length t + shift kappa, t -> t + kick kappa, kappa -> kappa."""
    (x, t, kappa), (xx, xt, xk, tt, tk, kk) = state, spread
    state[:] = [x + length * t + shift * kappa, t + kick * kappa, kappa]
    next_xt = xt + length * tt + shift * tk  # x t' before the kick
    next_xk = xk + length * tk + shift * kk
    next_tk = tk + kick * kk
    next_xx = xx + length * (xt + next_xt) + shift * (xk + next_xk) + offset
    spread[:] = [next_xx, next_xt + kick * next_xk + mixed, next_xk, tt + kick * (tk + next_tk) + angle, next_tk, kk]
