"""Longitudinal shower development in layered media: closed forms, vectorised over events.

The state of an electromagnetic shower has two variables, which travel through the layers. The first is R, the energy
that has not been deposited yet. The second is the *age* y = (N / R)^(1/3), with N / R shower particles per GeV still to
be deposited. In a material with critical-energy factor kappa and absorption b, the scaled age is
v = y (kappa / b)^(1/3). Per radiation length t,

    dR/dt = -b v^3 R            (Rossi's approximation B: every particle loses Ec per radiation length)
    dv/dt = s v (1 - v)         (multiplication at small age, equilibrium of soft particles at v = 1)

The power 3 of v is the smallest that fits Geant4's profiles in Pb, Fe, PbWO4 and plastic.

In a homogeneous block this gives a peak like the gamma density of Longo and Sestili (NIM 128 (1975) 283; PDG 2024,
"Passage of particles through matter"), with a maximum that moves with ln(E / Ec). Unlike a gamma density it continues
through any sequence of materials, because R and N are continuous at a boundary while kappa jumps ("transition effect").
It is a semigroup: cutting a layer in two changes nothing.

All arrays are float64 of shape [events] unless stated; energies in GeV.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.intp]

PHOTON_CONVERSION = 9.0 / 7.0
"""Mean free path of pair production at high energy, in radiation lengths (PDG 2024, sec. 34.4.5)."""

_SMALL = 1e-12
"""Size that counts as 0; it keeps denominators and logarithms finite."""
_WIDEST_LOGIT = 2.5
"""Largest standard deviation of the logit of a fluctuated fraction."""
_LARGEST_EXPONENT = 600.0
"""Largest growth times depth, below the overflow of the exponential."""


def age(
    scaled_age: FloatArray, depth: FloatArray, growth: FloatArray, absorption: FloatArray
) -> tuple[FloatArray, FloatArray]:
    """Let showers develop through a slab of one material.

    Args:
        scaled_age: v >= 0 at the entrance.
        depth: thickness in radiation lengths, >= 0.
        growth: s, per radiation length.
        absorption: b, per radiation length.

    Returns:
        The scaled age at the exit and the fraction of the remaining energy that is deposited in the slab.

    v(t) = v e^(st) / (1 - v + v e^(st)), and the integral of b v^3 is (b / s) [ln(1 - v + v e^(st)) - dv - d(v^2) / 2].

    Examples:
        >>> def through(v, depth):
        ...     return age(np.array([v]), np.array([depth]), np.array([0.6]), np.array([0.5]))
        >>> whole, fraction = through(0.1, 10.0)
        >>> half, first = through(0.1, 5.0)
        >>> again, second = through(float(half[0]), 5.0)
        >>> bool(np.isclose(whole, again)[0]), bool(np.isclose(1 - fraction, (1 - first) * (1 - second))[0])
        (True, True)
    """
    gain = scaled_age * np.expm1(np.minimum(growth * depth, _LARGEST_EXPONENT))
    after = (scaled_age + gain) / (1.0 + gain)
    step = after - scaled_age
    hazard = (absorption / growth) * (np.log1p(gain) - step * (1.0 + 0.5 * (after + scaled_age)))
    return after, -np.expm1(-np.maximum(hazard, 0.0))


def shower_maximum(scaled_age: FloatArray, growth: float, absorption: float) -> FloatArray:
    """Return the depth in radiation lengths where the mean deposit in a homogeneous block peaks; 0 if it only falls.

    The peak of v^3 R is where 3 s (1 - v) = b v^3; its depth follows from the logistic growth of v.

    Args:
        scaled_age: v at the entrance, [showers].
        growth: s, per radiation length.
        absorption: b, per radiation length.

    Examples:
        >>> [round(float(t), 1) for t in shower_maximum(np.array([0.1, 0.01]), growth=0.6, absorption=0.5)]
        [6.4, 10.4]
    """
    roots = np.roots([absorption, 0.0, 3.0 * growth, -3.0 * growth])
    peak = float(roots[np.abs(roots.imag) < _SMALL].real[0])
    depth: FloatArray = np.log(peak * (1.0 - scaled_age) / (scaled_age * (1.0 - peak))) / growth
    return np.maximum(depth, 0.0)


def fluctuate(fraction: FloatArray, variance: FloatArray, normal: FloatArray) -> FloatArray:
    """Fluctuate a fraction inside [0, 1] with a logit-normal of about the wanted variance.

    The mean is corrected to first order. It stays within 1 % of `fraction` while the width is below
    half of `fraction` and of `1 - fraction`.

    Args:
        fraction: the mean, in [0, 1].
        variance: wanted variance; the width of the logit is limited to 2.5.
        normal: standard normal numbers; shared between designs they are common random numbers.

    Examples:
        >>> normal = np.random.default_rng(0).standard_normal(100_000)
        >>> shares = fluctuate(np.array([0.3]), np.array([0.01]), normal)
        >>> bool(abs(shares.mean() / 0.3 - 1) < 0.01), bool(0 < shares.min() < shares.max() < 1)
        (True, True)
    """
    room = fraction * (1.0 - fraction)
    width = np.minimum(np.sqrt(variance) / (room + _SMALL), _WIDEST_LOGIT)
    factor = np.exp(width * normal - (0.5 - fraction) * width * width)
    return fraction * factor / (1.0 - fraction + fraction * factor)


def kumaraswamy(uniform: FloatArray, shape_a: FloatArray | float, shape_b: FloatArray | float) -> FloatArray:
    """Return the quantile of Kumaraswamy's distribution on [0, 1]: x = (1 - (1 - u)^(1/b))^(1/a).

    The density is like that of Beta, but its quantile has a closed form (J. Hydrology 46 (1980) 79). So one uniform
    number gives one value.

    Examples:
        >>> kumaraswamy(np.array([0.0, 0.25, 0.75]), 1.0, 1.0).round(6)
        array([0.  , 0.25, 0.75])
    """
    base = -np.expm1(np.log1p(-uniform) / shape_b)
    return np.exp(np.log(base + _SMALL) / shape_a)


def locate(depth: FloatArray, edges: FloatArray) -> tuple[IntArray, FloatArray]:
    """Find the layer that holds a depth.

    Args:
        depth: [events], same unit as the edges.
        edges: cumulative depth of the layers, [layers + 1, events], first row 0.

    Returns:
        Layer index (the number of layers for a depth beyond the last), and the fraction of the layer in front of it.

    Examples:
        >>> edges = np.array([[0.0], [2.0], [6.0]])
        >>> index, fraction = locate(np.array([3.0]), edges)
        >>> int(index[0]), float(fraction[0])
        (1, 0.25)
    """
    layers, events = edges.shape[0] - 1, edges.shape[1]
    index = np.zeros(events, dtype=np.intp)
    for edge in edges[1:]:
        index += depth >= edge
    inside = np.minimum(index, layers - 1)
    column = np.arange(events)
    low, high = edges[inside, column], edges[inside + 1, column]
    fraction = (depth - low) / np.maximum(high - low, _SMALL)
    return index, np.clip(fraction, 0.0, 1.0)


def interpolate(index: IntArray, fraction: FloatArray, edges: FloatArray) -> FloatArray:
    """Interpolate a cumulative quantity (edges: [layers + 1, events]) at a place given by `locate`.

    Examples:
        >>> edges = np.array([[0.0], [2.0], [6.0]])
        >>> float(interpolate(np.array([1]), np.array([0.25]), edges)[0])
        3.0
    """
    last = edges.shape[0] - 1
    column = np.arange(edges.shape[1])
    low, high = edges[np.minimum(index, last), column], edges[np.minimum(index + 1, last), column]
    value: FloatArray = low + fraction * (high - low)
    return value


def track_deposits(stop: FloatArray, edges: FloatArray) -> FloatArray:
    """Return the energy in GeV that a track leaves in every layer, [layers, events].

    Args:
        stop: total energy in GeV that the track loses, until it interacts, ranges out or leaves.
        edges: cumulative ionisation loss at the edges of the layers in GeV, [layers + 1, events].

    Examples:
        >>> edges = np.array([[0.0], [2.0], [6.0]])
        >>> track_deposits(np.array([3.0]), edges)[:, 0]
        array([2., 1.])
    """
    reached: FloatArray = np.minimum(edges, stop)
    return reached[1:] - reached[:-1]
