"""Multiple Coulomb scattering in matter: Highland's width, correlated angle and offset, exact under splitting.

One projected plane (x or y); the two planes scatter independently. Momenta in MeV, angles in rad, thicknesses in
radiation lengths (X0), lengths in any unit, which is also that of offsets. Arrays broadcast against each other.

Sources: PDG 2024, "Passage of particles through matter", sec. 34.3, eqs. 34.16-34.21; Highland, NIM 129 (1975) 497;
Lynch and Dahl, NIM B 58 (1991) 6 (13.6 MeV, 0.038 and beta inside the logarithm; central 98 % of the angles to 11 % for
1e-3 < x/X0 < 100).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from rl_detector.errors import DesignError
from rl_detector.physics.constants import INVERSE_FINE_STRUCTURE, MUON_MASS_MEV

FloatArray = NDArray[np.float64]

HIGHLAND_MEV = 13.6
HIGHLAND_LOG = 0.038
"""Constants of Lynch and Dahl's fit to Moliere theory (PDG 2024, eq. 34.16)."""

_THINNEST = 1e-9
"""Thickness in X0 below which the logarithm stands still: the fit would turn negative at 4e-12 X0."""


def velocity(p_mev: ArrayLike, mass_mev: ArrayLike = MUON_MASS_MEV) -> FloatArray:
    """Return beta = p / sqrt(p^2 + m^2), from momentum and mass in MeV.

    Examples:
        >>> round(float(velocity(MUON_MASS_MEV)), 4)
        0.7071
    """
    momentum = np.asarray(p_mev, dtype=np.float64)
    beta: FloatArray = momentum / np.hypot(momentum, mass_mev)
    return beta


def highland_angle(
    p_mev: ArrayLike, beta: ArrayLike, thickness_in_radiation_lengths: ArrayLike, charge: ArrayLike = 1
) -> FloatArray:
    """Return the width theta0 in rad of the projected angle after a slab; 0 for no thickness.

    theta0 = 13.6 MeV / (beta p) z sqrt(x) (1 + 0.038 ln(x z^2 / beta^2)), x in X0 (PDG 2024, eq. 34.16). The logarithm
    belongs to the whole slab: for a part of a slab use `partial_angle`.

    Args:
        p_mev: momentum in MeV, > 0.
        beta: velocity over that of light, in (0, 1].
        thickness_in_radiation_lengths: x / X0, >= 0.
        charge: z in units of the elementary charge.

    Raises:
        DesignError: a thickness is negative or not a number.

    Examples:
        >>> theta = highland_angle(1000.0, velocity(1000.0), 0.1)
        >>> round(1e3 * float(theta), 2)
        3.95
    """
    return partial_angle(p_mev, beta, thickness_in_radiation_lengths, thickness_in_radiation_lengths, charge)


def partial_angle(
    p_mev: ArrayLike, beta: ArrayLike, part: ArrayLike, whole: ArrayLike, charge: ArrayLike = 1
) -> FloatArray:
    """Return the width in rad of the projected angle of a part of a slab; widths of parts add up in quadrature.

    Args:
        p_mev, beta, charge: see `highland_angle`.
        part: thickness of the part in X0, >= 0.
        whole: thickness of all matter that the particle crosses in a row, in X0, >= part.

    Raises:
        DesignError: a thickness is negative or not a number, or a part is thicker than the whole.

    Examples:
        >>> halves = partial_angle(1000.0, 1.0, [0.05, 0.05], 0.1)
        >>> bool(np.isclose(np.hypot(*halves), highland_angle(1000.0, 1.0, 0.1)))
        True
    """
    step, total = np.asarray(part, dtype=np.float64), np.asarray(whole, dtype=np.float64)
    if not (np.all(step >= 0) and np.all(total >= step)):
        raise DesignError(
            f"thickness in radiation lengths must be >= 0 and no part thicker than the whole, got parts "
            f"{step.min() if step.size else step} to {step.max() if step.size else step} X0"
        )
    squared = np.square(np.asarray(charge, dtype=np.float64))
    velocity_squared = np.square(np.asarray(beta, dtype=np.float64))
    logarithm = np.log(np.maximum(total * squared / velocity_squared, _THINNEST))
    angle: FloatArray = (
        HIGHLAND_MEV / (np.asarray(p_mev) * np.asarray(beta)) * np.sqrt(step * squared) * (1 + HIGHLAND_LOG * logarithm)
    )
    return angle


def growth(thickness_in_radiation_lengths: ArrayLike) -> FloatArray:
    """Return x (1 + 0.038 ln x)^2, x in X0: theta0^2 of a fast particle grows in proportion to it (PDG eq. 34.16).

    (13.6 MeV / beta p)^2 times the difference of two values is the theta0^2 of the part between them. So any division
    into steps gives the width of the whole, with the logarithm of the whole.

    Examples:
        >>> float(growth(1.0))
        1.0
        >>> round(float(growth(10.0) - growth(1.0)), 3)
        10.827
    """
    crossed = np.asarray(thickness_in_radiation_lengths, dtype=np.float64)
    value: FloatArray = crossed * np.square(1 + HIGHLAND_LOG * np.log(np.maximum(crossed, _THINNEST)))
    return value


def thick_rate(atomic_number: float, mass_number: float, radiation_length: float, radius: float) -> float:
    """Return the mean squared projected angle per X0 of thick matter, over (13.6 MeV / beta p)^2; iron has 1.18.

    Rutherford scattering off nuclei and electrons, from the screening by the atom (Moliere) up to the nuclear form
    factor exp(-q^2 r^2 / 6) (G. Moliere, Z. Naturforsch. 3a (1948) 78; PDG 2024, sec. 34.3):

        chi_c^2 (ln(q_max^2 / q_a^2) - 1) / 2,   chi_c^2 = 0.157 MeV^2 Z (Z + 1) / A per g/cm2,
        q_a^2 = 2.007e-5 Z^(2/3) (1 + 3.34 (Z / 137)^2) MeV^2,   q_max^2 = 3 exp(-0.5772) (197.3 MeV fm / r)^2.

    Beyond about 10 X0 the scatters above q_max are missing and the sum is normal, so the width grows as sqrt(x).
    Highland's logarithm, fitted up to 100 X0 to point-like nuclei, goes on growing.

    Args:
        atomic_number, mass_number: Z and A.
        radiation_length: X0 in g/cm2.
        radius: r.m.s. charge radius of the nucleus in fm.

    Examples:
        >>> round(thick_rate(26, 55.845, 13.84, 3.738), 2)
        1.18
    """
    z = atomic_number
    strength = 0.157 * z * (z + 1) / mass_number * radiation_length
    screening = 2.007e-5 * z ** (2 / 3) * (1 + 3.34 * (z / INVERSE_FINE_STRUCTURE) ** 2)
    largest = 3 * np.exp(-np.euler_gamma) * (197.327 / radius) ** 2
    return float(strength * (np.log(largest / screening) - 1) / 2 / HIGHLAND_MEV**2)


IRON_RATE = thick_rate(26, 55.845, 13.84, 3.738)
"""`thick_rate` of iron; radius of Fe-56 from I. Angeli and K. P. Marinova, At. Data Nucl. Data Tables 99 (2013) 69."""


def covariance(theta: ArrayLike, length: ArrayLike) -> FloatArray:
    """Return the covariance of (angle, offset) at the exit of a homogeneous slab, [..., 2, 2].

    theta^2 [[1, L/2], [L/2, L^2/3]] (PDG 2024, eqs. 34.18-34.21: rms offset L theta / sqrt 3, correlation sqrt 3 / 2).

    Args:
        theta: projected width in rad, from `highland_angle`.
        length: geometric thickness L of the slab.

    Examples:
        >>> covariance(theta=1e-3, length=2.0) * 1e6
        array([[1.        , 1.        ],
               [1.        , 1.33333333]])
    """
    angles, lengths = np.broadcast_arrays(np.asarray(theta, dtype=np.float64), np.asarray(length, dtype=np.float64))
    matrix = np.stack([np.ones_like(lengths), lengths / 2, lengths / 2, np.square(lengths) / 3], axis=-1)
    result: FloatArray = np.square(angles)[..., None, None] * matrix.reshape(*lengths.shape, 2, 2)
    return result


def transport(matrix: FloatArray, length: ArrayLike) -> FloatArray:
    """Carry a covariance of (angle, offset) over a straight path: T C T' with T = [[1, 0], [L, 1]], [..., 2, 2].

    Examples:
        >>> transport(np.array([[1.0, 0.0], [0.0, 0.0]]), 2.0)
        array([[1., 2.],
               [2., 4.]])
    """
    lengths = np.asarray(length, dtype=np.float64)
    ones, zeros = np.ones_like(lengths), np.zeros_like(lengths)
    step = np.stack([ones, zeros, lengths, ones], axis=-1).reshape(*lengths.shape, 2, 2)
    result: FloatArray = step @ matrix @ np.swapaxes(step, -1, -2)
    return result


def scatter(
    rng: np.random.Generator, theta: ArrayLike, length: ArrayLike = 0.0, size: tuple[int, ...] | None = None
) -> tuple[FloatArray, FloatArray]:
    """Draw projected angles and offsets at the exit of a slab, correlated as in `covariance`.

    angle = z2 theta, offset = L theta (z1 / sqrt 12 + z2 / 2), z1, z2 normal (PDG 2024, eqs. 34.22-34.23).

    Args:
        rng: source of random numbers.
        theta: projected width in rad, from `highland_angle` or `partial_angle`.
        length: geometric thickness L of the slab; 0 for a thin one.
        size: shape of the result; None takes that of theta and length, broadcast.

    Returns:
        Angles in rad and offsets in the unit of `length`, both of shape `size`.

    Examples:
        >>> angles, offsets = scatter(np.random.default_rng(0), theta=1e-3, length=1.0, size=(10_000,))
        >>> bool(abs(angles.std() / 1e-3 - 1) < 0.03)
        True
        >>> bool(abs(np.corrcoef(angles, offsets)[0, 1] - 3**0.5 / 2) < 0.02)
        True
    """
    angles, lengths = np.asarray(theta, dtype=np.float64), np.asarray(length, dtype=np.float64)
    shape = np.broadcast_shapes(angles.shape, lengths.shape) if size is None else size
    return deflections(angles, lengths, *rng.standard_normal((2, *shape)))


def deflections(
    theta: ArrayLike, length: ArrayLike, first: ArrayLike, second: ArrayLike
) -> tuple[FloatArray, FloatArray]:
    """Return angle and offset as in `scatter`, from two independent standard normal numbers z1 and z2.

    Examples:
        >>> [float(part) for part in deflections(1e-3, 2.0, first=0.0, second=1.0)]
        [0.001, 0.001]
    """
    angle: FloatArray = np.asarray(second, dtype=np.float64) * np.asarray(theta, dtype=np.float64)
    offset: FloatArray = np.asarray(length) * (np.asarray(theta) * np.asarray(first) / np.sqrt(12) + angle / 2)
    return angle, offset
