"""Functions with known maximum over a box [0, 1]^c, for `rl_detector.envs.oracles`; choices: material_landscapes.py.

Every function is vectorised over designs: x [designs, c], choices [designs, k] of 0 and 1 -> values [designs]. The
value of a design does not depend, to the last bit, on what else is in the batch.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import ClassVar

import numpy as np

from rl_detector.errors import ConfigError
from rl_detector.space import FloatArray, IntArray


@dataclass(frozen=True)
class Landscape:
    """A function of c continuous parameters in [0, 1] and k binary choices.

    Attributes:
        best: positions [c] and choices [k] of the maximum.
        names: of the two choices.
    """

    best: tuple[FloatArray, IntArray]
    names: ClassVar[tuple[str, str]] = ("A", "B")

    @property
    def continuous(self) -> int:
        """Number c of continuous parameters."""
        return len(self.best[0])

    @property
    def discrete(self) -> int:
        """Number k of choices."""
        return len(self.best[1])

    @cached_property
    def best_value(self) -> float:
        """The maximum."""
        return float(self.value(self.best[0][None], self.best[1][None])[0])

    @cached_property
    def start_value(self) -> float:
        """Value at the centre of the box with first choices."""
        start = np.full((1, self.continuous), 0.5), np.zeros((1, self.discrete), dtype=np.int64)
        return float(self.value(*start)[0])

    def value(self, x: FloatArray, choices: IntArray) -> FloatArray:
        """The function, [designs]."""
        raise NotImplementedError

    def spread(self, x: FloatArray, choices: IntArray) -> FloatArray:
        """Noise of an event relative to that at the best design, [designs]."""
        return np.ones(len(x))


NO_CHOICES: IntArray = np.zeros(0, dtype=np.int64)


def rotate(x: FloatArray, rotation: FloatArray) -> FloatArray:
    """Rows of x times the rotation, one by one: a row has equal bits in every batch."""
    rotated: FloatArray = np.matmul(x[:, None, :], rotation.T)[:, 0]
    return rotated


@dataclass(frozen=True)
class Quadratic(Landscape):
    """f = -sum_i l_i z_i^2, z = Q (x - x*): a rotated ellipsoid with eigenvalues l from 1 to 31.6.

    Attributes:
        rotation: Q, [c, c].
        eigenvalues: l, [c].
    """

    rotation: FloatArray
    eigenvalues: FloatArray

    def value(self, x: FloatArray, choices: IntArray) -> FloatArray:
        """The function, [designs]."""
        value: FloatArray = -(rotate(x - self.best[0], self.rotation) ** 2 * self.eigenvalues).sum(axis=1)
        return value


@dataclass(frozen=True)
class Heteroscedastic(Quadratic):
    """A rotated ellipsoid whose noise grows along the way from the start through the best design and beyond.

    The spread of an event is that at the best design times exp(1.2 p). Here p is the position beyond the best design
    along that way, in units of the box's half width. So the spread grows by exp(2.4) = 11 across the box.
    """

    def spread(self, x: FloatArray, choices: IntArray) -> FloatArray:
        """Noise of an event relative to that at the best design, [designs]."""
        way = self.best[0] - 0.5
        position = ((x - self.best[0]) * way).sum(axis=1) / (np.abs(way).sum() / 2)
        relative: FloatArray = np.exp(1.2 * position)
        return relative


@dataclass(frozen=True)
class Valley(Landscape):
    """f = -sum_i [5 (z_{i+1} - z_i^2)^2 + (1 - z_i)^2]: a curved valley (Rosenbrock 1960) with z = 3 (x - 1/2).

    Attributes:
        order: parameter behind every z_i, [c].
        sides: +1 or -1, the direction of every z_i, [c].
    """

    order: IntArray
    sides: FloatArray

    def value(self, x: FloatArray, choices: IntArray) -> FloatArray:
        """The function, [designs]."""
        z = 3 * (x[:, self.order] - 0.5) * self.sides
        bend = z[:, 1:] - z[:, :-1] ** 2
        value: FloatArray = -(5 * bend**2 + (1 - z[:, :-1]) ** 2).sum(axis=1)
        return value


@dataclass(frozen=True)
class Multimodal(Landscape):
    """f = -sum_i [(z_i / 0.25)^2 + 0.6 (1 - cos(2 pi z_i / 0.14))], z = Q (x - x*): ripples on a bowl (Rastrigin).

    Attributes:
        rotation: Q, [c, c].
    """

    rotation: FloatArray

    def value(self, x: FloatArray, choices: IntArray) -> FloatArray:
        """The function, [designs]."""
        z = rotate(x - self.best[0], self.rotation)
        value: FloatArray = -((z / 0.25) ** 2 + 0.6 * (1 - np.cos(2 * np.pi * z / 0.14))).sum(axis=1)
        return value


def quadratic(dimensions: int, instance: int) -> Quadratic:
    """A rotated ellipsoid in any number of dimensions."""
    return Quadratic(*_ellipsoid(dimensions, instance))


def heteroscedastic(dimensions: int, instance: int) -> Heteroscedastic:
    """A rotated ellipsoid whose noise varies."""
    return Heteroscedastic(*_ellipsoid(dimensions, instance))


def _ellipsoid(dimensions: int, instance: int) -> tuple[tuple[FloatArray, IntArray], FloatArray, FloatArray]:
    require(dimensions >= 1, "an ellipsoid", "at least 1 dimension", dimensions)
    rng = np.random.default_rng(42 + instance)
    rotation = np.linalg.qr(rng.normal(size=(dimensions, dimensions)))[0]
    return (rng.uniform(0.25, 0.75, dimensions), NO_CHOICES), rotation, np.logspace(0, 1.5, dimensions)


def valley(dimensions: int, instance: int) -> Valley:
    """A curved valley; instances differ in order and direction of the parameters."""
    require(dimensions >= 2, "a valley", "at least 2 dimensions", dimensions)
    rng = np.random.default_rng(instance)
    order, sides = np.arange(dimensions), np.ones(dimensions)
    if instance > 0:
        order, sides = rng.permutation(dimensions), rng.choice([-1.0, 1.0], dimensions)
    best = np.zeros(dimensions)
    best[order] = 0.5 + sides / 3
    return Valley((best, NO_CHOICES), order, sides)


def multimodal(dimensions: int, instance: int) -> Multimodal:
    """A rippled bowl in any number of dimensions."""
    require(dimensions >= 1, "a rippled bowl", "at least 1 dimension", dimensions)
    rng = np.random.default_rng(7 + instance)
    rotation = np.linalg.qr(rng.normal(size=(dimensions, dimensions)))[0]
    return Multimodal((rng.uniform(0.25, 0.75, dimensions), NO_CHOICES), rotation)


def require(holds: bool, what: str, allowed: str, got: int) -> None:
    """Raise ConfigError unless a landscape can have these dimensions or this instance."""
    if not holds:
        raise ConfigError(f"{what} has {allowed}, got {got}")
