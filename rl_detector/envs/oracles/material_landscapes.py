"""Functions with known maximum of thicknesses and choices between two materials, for `rl_detector.envs.oracles`."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product
from typing import ClassVar

import numpy as np
from scipy.special import gammainc  # type: ignore[import-untyped]

from rl_detector.envs.oracles.landscapes import Landscape, require, rotate
from rl_detector.space import FloatArray, IntArray

LARGEST_ENUMERATION = 16
"""Most binary choices of a landscape: the best of 2^16 assignments is found in less than a second."""


@dataclass(frozen=True)
class Ising(Landscape):
    """f = sum_i h_i b_i + sum_{i<j} J_ij b_i b_j with b = -1 or 1; choices are named so that the start is median.

    Attributes:
        fields: h, [k].
        couplings: J, [k, k], upper triangle.
        first: what 0 stands for: b = -1 (0) or 1 (1), [k].
    """

    fields: FloatArray
    couplings: FloatArray
    first: IntArray

    def value(self, x: FloatArray, choices: IntArray) -> FloatArray:
        """The function, [designs]."""
        return _energy(choices ^ self.first, self.fields, self.couplings)


def _energy(bits: IntArray, fields: FloatArray, couplings: FloatArray) -> FloatArray:
    signs = 2 * bits.astype(np.float64) - 1
    value: FloatArray = (signs * fields).sum(axis=1) + (rotate(signs, couplings.T) * signs).sum(axis=1)
    return value


@dataclass(frozen=True)
class Layers(Landscape):
    """f = Ising(m) - sum_k l_k (t_k - t*_k(m_k, m_{k-1}))^2: the best thickness of a layer depends on the materials.

    Its own material and that of the layer before decide it, so that every assignment has thicknesses of its own. Half
    of the gap between start and best design are materials, half are thicknesses.

    Attributes:
        materials: the Ising part.
        weights: l, [k].
        thicknesses: t*, [k, own material, material before].
    """

    materials: Ising
    weights: FloatArray
    thicknesses: FloatArray

    def value(self, x: FloatArray, choices: IntArray) -> FloatArray:
        """The function, [designs]."""
        wanted = best_thicknesses(self.thicknesses, choices)
        value: FloatArray = self.materials.value(x, choices) - (self.weights * (x - wanted) ** 2).sum(axis=1)
        return value


def best_thicknesses(table: FloatArray, choices: IntArray) -> FloatArray:
    """Best thickness of every layer for its own material and the one before (0 before the first), [designs, k]."""
    before = np.concatenate([np.zeros_like(choices[:, :1]), choices[:, :-1]], axis=1)
    wanted: FloatArray = table[np.arange(choices.shape[1]), choices, before]
    return wanted


RADIATION_LENGTHS = np.array([1.757, 0.56])
"""cm, iron and lead (PDG, atomic and nuclear properties)."""


TOY_PRICES = np.array([0.08, 0.45])
"""Of iron and lead per cm, in units of the function; our choice."""


TOY_BEAM = ((1.0, 0.3), (4.0, 0.4), (15.0, 0.3))
"""Energies in GeV and their weights in the toy calorimeter."""


@dataclass(frozen=True)
class ToyCalorimeter(Landscape):
    """Six absorbers of iron or lead, 0.2-5.2 cm each, in a closed form of sampling, leakage and cost.

    Showers follow the gamma distribution of Longo and Sestili (1975): a share gammainc(a, d / 2) of the energy before
    the depth d, with a = 1 + t_max / 2. All constants are our choice; the terms trade off as in a real calorimeter.
    """

    names: ClassVar[tuple[str, str]] = ("Fe", "Pb")

    def value(self, x: FloatArray, choices: IntArray) -> FloatArray:
        """The function, [designs]."""
        thickness = 0.2 + 5 * x
        depth = thickness / RADIATION_LENGTHS[choices]
        resolution = sum(weight * _resolution(depth, energy) for energy, weight in TOY_BEAM)
        price = (thickness * TOY_PRICES[choices]).sum(axis=1)
        excess = np.maximum(thickness.sum(axis=1) - 11, 0)
        changes = np.abs(np.diff(choices, axis=1)).sum(axis=1)
        value: FloatArray = -10 * resolution - price - 0.15 * excess**2 - 0.04 * changes
        return value


def _resolution(depth: FloatArray, energy: float) -> FloatArray:
    """Relative resolution at an energy in GeV for absorbers of these depths in radiation lengths, [designs]."""
    shape = 1 + 0.5 * (np.log(energy / 0.0074) + 0.5)
    inside = gammainc(shape, 0.5 * (np.cumsum(depth, axis=1) + 0.6))
    shares = np.diff(inside, axis=1, prepend=0.0)
    sampling = 0.1 * (shares * depth).sum(axis=1) / energy
    leakage = 0.7 * (1 - inside[:, -1])
    uneven = 0.0002 * (shares**2).sum(axis=1) * energy
    resolution: FloatArray = np.sqrt(sampling + leakage**2 + uneven + 0.01**2)
    return resolution


def binary(dimensions: int, instance: int) -> Ising:
    """Binary choices with fields and couplings; the best of all assignments is found by trying them all."""
    require(1 <= dimensions <= LARGEST_ENUMERATION, "an Ising model", f"1-{LARGEST_ENUMERATION} choices", dimensions)
    rng = np.random.default_rng(3 + instance)
    fields = rng.normal(size=dimensions)
    couplings = 0.5 * np.triu(rng.normal(size=(dimensions, dimensions)), 1)
    assignments = np.array(list(product((0, 1), repeat=dimensions)), dtype=np.int64)
    ranked = assignments[np.argsort(_energy(assignments, fields, couplings), kind="stable")]
    first = ranked[len(ranked) // 2]
    return Ising((np.zeros(0), ranked[-1] ^ first), fields, couplings, first)


def layers(dimensions: int, instance: int) -> Layers:
    """Thicknesses and materials that depend on each other; half of the dimensions each."""
    allowed = f"an even number of dimensions, 2-{2 * LARGEST_ENUMERATION}"
    even = dimensions % 2 == 0 and 2 <= dimensions <= 2 * LARGEST_ENUMERATION
    require(even, "a stack of layers", allowed, dimensions)
    size, rng = dimensions // 2, np.random.default_rng(11 + instance)
    materials = binary(size, instance)
    weights = rng.permutation(np.logspace(0, 1, size))
    table = rng.uniform(0.1, 0.9, (size, 2, 2))
    start = (weights * (0.5 - best_thicknesses(table, np.zeros((1, size), dtype=np.int64))[0]) ** 2).sum()
    weights *= (materials.best_value - materials.start_value) / start
    best = materials.best[1]
    return Layers((best_thicknesses(table, best[None])[0], best), materials, weights, table)


TOY_BEST = (0.78071007, 0.48050335, 0.42324117, 0.10187944, 0.10889426, 0.12409416), (0, 0, 0, 1, 1, 1)
"""Best design of the toy calorimeter: the best of six searches (L-BFGS-B) in each of its 64 assignments."""


def mixed(dimensions: int, instance: int) -> ToyCalorimeter:
    """The toy calorimeter: six thicknesses and six materials, one instance."""
    require(dimensions == 12, "the toy calorimeter", "12 dimensions (6 thicknesses, 6 materials)", dimensions)
    require(instance == 0, "the toy calorimeter", "instance 0 only", instance)
    return ToyCalorimeter((np.array(TOY_BEST[0]), np.array(TOY_BEST[1], dtype=np.int64)))
