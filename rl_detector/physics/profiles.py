"""Longitudinal shower profiles in one material, event by event; arrays are [events] unless stated.

Electromagnetic: dE/dt = E beta (beta t)^(alpha - 1) e^(-beta t) / Gamma(alpha) with t in radiation lengths (Longo and
Sestili, NIM 128 (1975) 283). alpha and the depth T = (alpha - 1) / beta of the maximum fluctuate together (Grindhammer
and Peters, hep-ex/0001020, appendix A.1: homogeneous media, individual showers).
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from rl_detector.physics.showers import FloatArray

_LEAST_LOG = 2.5
_LEAST_ALPHA = 1.2
"""Smallest ln y and alpha for which the fits of individual showers hold (an energy of 12 Ec)."""


def shower_shape(log_energy: FloatArray, z: float, normal: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Return alpha and beta (per radiation length) of individual electron showers.

    ln T has mean ln(ln y - 0.812) and width 1 / (-1.4 + 1.26 ln y); ln alpha has mean
    ln(0.81 + (0.458 + 2.26 / Z) ln y) and width 1 / (-0.58 + 0.86 ln y); their correlation is 0.705 - 0.023 ln y.

    Args:
        log_energy: ln y, y = energy / critical energy; 0.5 less for a pair that shares it evenly.
        z: atomic number.
        normal: standard normal numbers, [2, events].

    Examples:
        >>> alpha, beta = shower_shape(np.log([1000.0]), z=82.0, normal=np.zeros((2, 1)))
        >>> round(float((alpha - 1)[0] / beta[0]), 2)
        6.1
    """
    log_y = np.maximum(log_energy, _LEAST_LOG)
    correlation = 0.705 - 0.023 * log_y
    second = correlation * normal[0] + np.sqrt(1 - correlation**2) * normal[1]
    maximum = (log_y - 0.812) * np.exp(normal[0] / (1.26 * log_y - 1.4))
    alpha = (0.81 + (0.458 + 2.26 / z) * log_y) * np.exp(second / (0.86 * log_y - 0.58))
    alpha = np.maximum(alpha, _LEAST_ALPHA)
    return alpha, (alpha - 1) / maximum


def _log_gamma(alpha: FloatArray) -> FloatArray:
    return np.array([math.lgamma(value) for value in alpha])


def gamma_density(depth: Any, alpha: FloatArray, beta: FloatArray) -> Any:
    """Return beta (beta t)^(alpha - 1) e^(-beta t) / Gamma(alpha), 0 for t <= 0.

    The result has the shape and the precision of `depth`, [..., events].

    Examples:
        >>> depth = np.linspace(0, 60, 6001)[:, None]
        >>> density = gamma_density(depth, np.array([4.0]), np.array([0.5]))
        >>> round(float(density.sum() * 0.01), 3), float(depth[density.argmax(), 0])
        (1.0, 6.0)
    """
    kind = depth.dtype
    power, rate = (alpha - 1).astype(kind), beta.astype(kind)
    constant = (alpha * np.log(beta) - _log_gamma(alpha)).astype(kind)
    inside = np.maximum(depth, kind.type(1e-6))
    density = np.exp(power * np.log(inside) - rate * inside + constant)
    return np.where(depth > 0, density, kind.type(0))


def electromagnetic_fraction(energy: FloatArray, scale: float = 1.0, power: float = 0.82) -> FloatArray:
    """Return the mean share of a pion's energy that becomes neutral pions, 1 - (E / E0)^(k - 1), 0 below E0.

    Gabriel et al., NIM A 338 (1994) 336; `scale` is E0 in GeV, `power` is k.

    Examples:
        >>> [round(float(x), 2) for x in electromagnetic_fraction(np.array([1.0, 10.0, 100.0]))]
        [0.0, 0.34, 0.56]
    """
    fraction: FloatArray = 1 - np.maximum(energy / scale, 1.0) ** (power - 1)
    return fraction
