"""The kernels of the critic: the kinds of functions of a design of which its reward is made.

Each is a Gaussian process given by its covariance between designs, in the whitened coordinates of the policy.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from rl_detector.space import FloatArray, IntArray

AVERAGED = 0.25
"""Share of the policy's variance over which the smooth kernels are averaged for the update.

An average over all of it pulls the optimum away from steep sides. Without an average the update follows every ripple.
"""


MISFIT_POWER = 3
"""Power of the squared distance from the centre by which the variance of misfit grows, as for a cubic function."""


LARGEST_RELATIVE_MISFIT = 1e6
"""Upper bound of the misfit of a design over that at the distance 1."""


@dataclass(frozen=True)
class Points:
    """Evaluated designs in the coordinates of the policy.

    Attributes:
        x: continuous part less the policy's mean, in units of half the initial spread: [designs, c].
        scale: symmetric root of the policy's covariance in units of x, [c, c].
        z: continuous part, whitened by the policy: [designs, c].
        w: choices, one-hot less 1 / options, all in a row: [designs, m].
        noise: relative variances of the rewards, about 1: [designs].
        batch: number of the batch in which each was evaluated: [designs].
        choice_count: number of choices in a design.
    """

    x: FloatArray
    scale: FloatArray
    z: FloatArray
    w: FloatArray
    noise: FloatArray
    batch: IntArray
    choice_count: int

    @property
    def u(self) -> FloatArray:
        """Both parts, [designs, c + m]."""
        return np.concatenate([self.z, self.w], axis=1)

    @property
    def size(self) -> int:
        """Number c of continuous coordinates."""
        return int(self.z.shape[1])

    @property
    def length_squared(self) -> float:
        """Squared length scale of remainder and landscape: the squared extent of a policy, one per dimension."""
        return float(self.size + self.choice_count)

    @property
    def distances(self) -> FloatArray:
        """Mean squared whitened coordinate, [designs]; 1 is the policy's own."""
        distances: FloatArray = (self.z**2).mean(axis=1) if self.size else np.zeros(len(self.z))
        return distances

    @property
    def misfit(self) -> FloatArray:
        """Variance of misfit over that at the distance 1, [designs]."""
        return np.minimum(self.distances**MISFIT_POWER, LARGEST_RELATIVE_MISFIT)

    @property
    def relative_width(self) -> float:
        """Mean variance of the policy over that of the first one."""
        return float((self.scale**2).sum()) / max(4 * self.size, 1)

    def part(self, rows: IntArray) -> Points:
        """Some of the designs."""
        arrays = (self.x[rows], self.scale, self.z[rows], self.w[rows], self.noise[rows], self.batch[rows])
        return Points(*arrays, self.choice_count)

    def bowl(self) -> FloatArray:
        """(|z|^2 - c) / sqrt(2 c), of mean 0 and variance 1 under the policy, [designs]."""
        bowl: FloatArray = ((self.z**2).sum(axis=1) - self.size) / np.sqrt(2 * max(self.size, 1))
        return bowl


def _linear(a: Points, b: Points) -> FloatArray:
    product: FloatArray = a.z @ b.z.T
    return product


def _choices(a: Points, b: Points) -> FloatArray:
    product: FloatArray = a.w @ b.w.T
    return product


def _bowl(a: Points, b: Points) -> FloatArray:
    return np.asarray(np.outer(a.bowl(), b.bowl()), dtype=np.float64)


def _quadratic(a: Points, b: Points) -> FloatArray:
    """sum_{i<j} z_i z_j z'_i z'_j + sum_ij z_i w_j z'_i w'_j + sum_i (z_i^2 - 1)(z'_i^2 - 1) / 2."""
    pairs = ((a.z @ b.z.T) ** 2 - (a.z**2) @ (b.z**2).T) / 2 + crossed(a, b)
    result: FloatArray = pairs + (a.z**2 - 1) @ (b.z**2 - 1).T / 2
    return result


def crossed(a: Points, b: Points) -> FloatArray:
    """sum_ij z_i w_j z'_i w'_j: coordinates times choices."""
    result: FloatArray = (a.z @ b.z.T) * (a.w @ b.w.T)
    return result


def _interaction(a: Points, b: Points) -> FloatArray:
    """sum_{j<k} w_j w_k w'_j w'_k."""
    pairs: FloatArray = ((a.w @ b.w.T) ** 2 - (a.w**2) @ (b.w**2).T) / 2
    return pairs


def _coupled(a: Points, b: Points) -> FloatArray:
    """sum_i z_i z'_i times sum_{j<k} w_j w_k w'_j w'_k."""
    result: FloatArray = (a.z @ b.z.T) * _interaction(a, b)
    return result


def pairs_of(w: FloatArray) -> FloatArray:
    """Products w_j w_k of choices [n, m] for j < k, [n, m (m - 1) / 2]."""
    first, second = np.triu_indices(w.shape[1], 1)
    products: FloatArray = w[:, first] * w[:, second]
    return products


def _remainder(a: Points, b: Points) -> FloatArray:
    return similarity(a.u, b.u, b.length_squared)


def _batch(a: Points, b: Points) -> FloatArray:
    same: FloatArray = (a.batch[:, None] == b.batch).astype(np.float64)
    return same


def _landscape(a: Points, b: Points) -> FloatArray:
    return similarity(np.concatenate([a.x, a.w], axis=1), np.concatenate([b.x, b.w], axis=1), b.length_squared)


def similarity(a: FloatArray, b: FloatArray, length_squared: float) -> FloatArray:
    """exp(-|a - b|^2 / (2 length^2)), [rows of a, rows of b]."""
    squares = (a**2).sum(axis=1)[:, None] + (b**2).sum(axis=1) - 2 * a @ b.T
    result: FloatArray = np.exp(-np.maximum(squares, 0) / (2 * length_squared))
    return result


KERNELS = {
    "linear": _linear,
    "choices": _choices,
    "bowl": _bowl,
    "quadratic": _quadratic,
    "interaction": _interaction,
    "coupled": _coupled,
    "remainder": _remainder,
    "landscape": _landscape,
    "batch": _batch,
}
"""Name of a kernel -> covariances of designs, (a, b) -> [designs of a, designs of b]."""


@dataclass(frozen=True)
class SmoothProcess:
    """A smooth kernel's process seen from the policy, averaged over z ~ N(0, AVERAGED).

    Attributes:
        position: of the designs, less the policy's mean, along axes of the policy: [designs, c].
        spread: of the policy along these axes, [c].
        axes: directions of the axes in z, in columns: [c, c].
        w: choices of the designs, [designs, m].
        variance: of the process.
        length_squared: square of its length scale.
    """

    position: FloatArray
    spread: FloatArray
    axes: FloatArray
    w: FloatArray
    variance: float
    length_squared: float

    @cached_property
    def _near(self) -> FloatArray:
        """Average of exp(-|position(z) - position_i|^2 / (2 l^2)), [designs]."""
        width = self.length_squared + AVERAGED * self.spread**2
        factor = np.sqrt(self.length_squared / width).prod()
        average: FloatArray = factor * np.exp(-(self.position**2 / (2 * width)).sum(axis=1))
        return average

    def alike(self, w: FloatArray) -> FloatArray:
        """Similarity of choices w [candidates, m] to those of the designs, [candidates, designs]."""
        return similarity(w, self.w, self.length_squared)

    def values(self, alpha: FloatArray, alike: FloatArray) -> FloatArray:
        """Average over the policy at candidates, from `alike` of their choices, [candidates]."""
        result: FloatArray = alike @ (self.variance * alpha * self._near)
        return result

    def gradients(self, alpha: FloatArray, alike: FloatArray) -> FloatArray:
        """The gradient that `add` adds at candidates, from `alike` of their choices, [candidates, c]."""
        pulls = self.position * self.spread / (self.length_squared + self.spread**2)
        near = alike * (self.variance * alpha * self._near)
        result: FloatArray = near @ pulls @ self.axes.T
        return result

    def add(self, gradient: FloatArray, hessian: FloatArray, alpha: FloatArray, w: FloatArray) -> None:
        """Add the derivatives of the average by the mean of z, at choices w [m], in place.

        They are damped by (l^2 + AVERAGED s^2) / (l^2 + s^2) along an axis of spread s. That gives the gradient of an
        average over the whole policy, so that a wide policy follows them less.
        """
        c, pull = len(self.spread), self.spread / (self.length_squared + self.spread**2)
        near = self.variance * alpha * self._near * similarity(w[None], self.w, self.length_squared)[0]
        pulls = self.position * pull
        gradient[:c] += self.axes @ (pulls.T @ near)
        curved = (pulls.T * near) @ pulls - np.diag(pull * self.spread) * near.sum()
        hessian[:c, :c] += self.axes @ curved @ self.axes.T


def nonquadratic_share(width: float) -> float:
    """Share of the variance of a smooth process beyond second order, over a Gaussian of summed variance / length^2.

    The orders of exp(-|x - x'|^2 / (2 l^2)) share its variance nearly like a Poisson distribution of mean `width`.
    """
    varying = -math.expm1(-width)
    return max(1 - math.exp(-width) * (width + width**2 / 2) / varying, 0.0) if varying > 1e-9 else 0.0


def draw_smooth(
    rng: np.random.Generator, n: int, points: Points, position: FloatArray, variance: float, waves: int = 128
) -> FloatArray:
    """Draw n functions from a smooth kernel, at the designs, [designs, n].

    They are sums of random waves (random Fourier features: Rahimi and Recht 2007).
    """
    u = np.concatenate([position, points.w], axis=1)
    frequencies = rng.standard_normal((u.shape[1], waves)) / np.sqrt(points.length_squared)
    phases = rng.uniform(0, 2 * np.pi, waves)
    amplitudes = rng.standard_normal((waves, n)) * np.sqrt(2 * variance / waves)
    drawn: FloatArray = np.cos(u @ frequencies + phases) @ amplitudes
    return drawn
