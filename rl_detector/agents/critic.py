"""A model of the reward fitted to all noisy evaluations so far: the critic of `policy_gradient`.

Bayesian regression in the whitened coordinates of the policy. Its strengths of shrinkage are not tuned: they are the
variances of a sum of Gaussian processes, chosen by the evidence (MacKay 1992; Rasmussen and Williams, Gaussian
Processes for Machine Learning, 2006, eq. 5.9).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import cho_factor, cho_solve, lapack  # type: ignore[import-untyped]

from rl_detector.space import FloatArray, IntArray

COMPONENTS = ("linear", "bowl", "quadratic", "remainder", "landscape", "batch")
"""Terms of the model, see `Critic`."""

MISFIT_POWER = 3
"""Variance of what the model lacks, against the squared distance from the centre: that of a cubic function."""

AVERAGED = 0.25
"""Share of the policy's variance over which the smooth components are averaged for the update. The optimum of an
average over all of it is pulled away from steep sides; with no average at all the update follows every ripple."""

_FASTEST = 4.0
"""Largest factor of a variance in one step towards the evidence."""


@dataclass(frozen=True)
class Points:
    """Evaluated designs in the coordinates of the policy.

    Attributes:
        x: continuous part less the policy's mean, in units of the initial spread: [designs, c].
        scale: symmetric root of the policy's covariance in the same units, [c, c].
        z: continuous part, whitened by the policy: [designs, c].
        w: choices, one-hot less 1 / choices, of all slots in a row: [designs, m].
        noise: relative variances of the rewards, about 1: [designs].
        batch: number of the batch that each was evaluated in: [designs].
        slots: number of discrete slots.
    """

    x: FloatArray
    scale: FloatArray
    z: FloatArray
    w: FloatArray
    noise: FloatArray
    batch: IntArray
    slots: int

    @property
    def u(self) -> FloatArray:
        """Both parts, [designs, c + m]."""
        return np.concatenate([self.z, self.w], axis=1)

    @property
    def size(self) -> int:
        """Number c of continuous coordinates."""
        return self.z.shape[1]

    @property
    def length_squared(self) -> float:
        """Squared length scale of remainder and landscape: that of a policy's extent, in as many coordinates."""
        return float(self.size + self.slots)

    @property
    def distances(self) -> FloatArray:
        """Mean squared whitened coordinate, [designs]; 1 is the policy's own."""
        return (self.z**2).mean(axis=1) if self.size else np.zeros(len(self.z))

    def bowl(self) -> FloatArray:
        """(|z|^2 - c) / sqrt(2 c), of mean 0 and variance 1 under the policy, [designs]."""
        return ((self.z**2).sum(axis=1) - self.size) / np.sqrt(2 * max(self.size, 1))


@dataclass
class Variances:
    """Strengths of the components, chosen by the evidence; in units of the variance of the rewards.

    Attributes:
        components: name -> prior variance of one weight.
        noise: of a reward with average error.
        misfit: of what the model lacks, at the distance of the policy's own samples.
    """

    components: dict[str, float]
    noise: float = 0.5
    misfit: float = 0.02

    @staticmethod
    def initial(size: int, columns: int, names: tuple[str, ...]) -> Variances:
        """Prior variances for c continuous coordinates and `columns` = c + m coordinates in all."""
        guesses = {"linear": 0.5 / columns, "bowl": 0.1, "quadratic": 0.2 / columns**2, "remainder": 0.05}
        guesses |= {"landscape": 0.05, "batch": 0.05}
        kept = {name: guesses[name] for name in names if name != "bowl" or size > 0}
        return Variances(kept)


@dataclass(frozen=True)
class Taylor:
    """Gradient and Hessian of the critic, averaged over the Gaussian policy at given choices.

    E_z[critic] = const + g . u + u . H . u / 2 for u = (shift of the mean in z, choices w); for compatible features g
    and H are the natural gradient of sum_i A_i log pi(a_i) with the critic's advantages (Kakade 2001; Peters and
    Schaal 2008).

    Attributes:
        gradient: g, [c + m].
        hessian: H, [c + m, c + m].
    """

    gradient: FloatArray
    hessian: FloatArray


@dataclass
class Critic:
    """reward = 1 + linear(u) + bowl(|z|^2) + quadratic(u, pairs included) + remainder(u) + landscape(x, w) + batch
        + noise + misfit.

    linear and quadratic have independent normal weights, bowl is one common curvature, remainder is a process with a
    squared-exponential covariance, for everything that is smooth but not quadratic. landscape is the same at the scale of the first policy:
    what was learned there is remembered while the policy shrinks and wanders. batch is what the designs of one batch share, because they
    share their events. Noise has the relative variances
    of the stated errors; misfit grows with the cube of the squared distance, so old, far evaluations count less.

    Attributes:
        variances: the strengths, kept from fit to fit.
        evidence: whether they follow the evidence.
    """

    variances: Variances
    evidence: bool = True
    _fit: dict[str, Any] = field(default_factory=dict)

    def fit(self, points: Points, y: FloatArray, steps: int = 1) -> None:
        """Fit standardised rewards y [designs], with `steps` steps of the variances towards the evidence first."""
        kernels = {name: _KERNELS[name](points, points) for name in self.variances.components}
        distances = np.minimum(points.distances**MISFIT_POWER, 1e6)
        for _ in range(steps if self.evidence else 0):
            self._follow_evidence(kernels, y, points.noise, distances)
        factor = cho_factor(self._covariance(kernels, points.noise, distances), lower=True)
        alpha = cho_solve(factor, y)
        noise = self._noise(points.noise, distances)
        self._fit = {"points": points, "y": y, "factor": factor, "alpha": alpha, "noise": noise}

    @property
    def points(self) -> Points:
        """What it was fitted to."""
        points: Points = self._fit["points"]
        return points

    def data(self) -> dict[str, NDArray[Any]]:
        """What it was fitted to, as arrays."""
        points = self._fit["points"]
        sizes = np.array([points.slots])
        arrays = {name: getattr(points, name) for name in ("x", "scale", "z", "w", "noise", "batch")}
        return {**arrays, "slots": sizes, "y": self._fit["y"]}

    @staticmethod
    def refitted(variances: Variances, data: Mapping[str, NDArray[Any]]) -> Critic:
        """The critic with given strengths, fitted to what `data` gave."""
        critic = Critic(variances)
        arrays = {name: array for name, array in data.items() if name not in ("slots", "y")}
        points = Points(**arrays, slots=int(data["slots"][0]))
        critic.fit(points, data["y"], steps=0)
        return critic

    def _noise(self, noise: FloatArray, distances: FloatArray) -> FloatArray:
        return self.variances.noise * noise + self.variances.misfit * distances + 1e-8

    def _covariance(self, kernels: Mapping[str, FloatArray], noise: FloatArray, distances: FloatArray) -> FloatArray:
        total = np.ones((len(noise), len(noise)))
        for name, kernel in kernels.items():
            total += self.variances.components[name] * kernel
        total[np.diag_indices(len(noise))] += self._noise(noise, distances)
        return total

    def _follow_evidence(
        self, kernels: Mapping[str, FloatArray], y: FloatArray, noise: FloatArray, distances: FloatArray
    ) -> None:
        """One multiplicative step v <- v (alpha' K alpha) / tr(K C^-1), whose fixed point has the largest evidence."""
        inverse = _inverse(self._covariance(kernels, noise, distances))
        alpha, diagonal, now = inverse @ y, np.diag(inverse), self.variances
        for name, kernel in kernels.items():
            factor = _factor(alpha @ kernel @ alpha, np.vdot(kernel, inverse))
            now.components[name] = float(np.clip(now.components[name] * factor, 1e-9, 10))
        noise_factor = _factor((alpha**2 * noise).sum(), (diagonal * noise).sum())
        misfit_factor = _factor((alpha**2 * distances).sum(), (diagonal * distances).sum())
        now.noise = float(np.clip(now.noise * noise_factor, 1e-4, 10))
        now.misfit = float(np.clip(now.misfit * misfit_factor, 1e-7, 10))

    def taylor(self, w: FloatArray) -> Taylor:
        """Gradient and Hessian around the mean and the choices w [m]."""
        return self._taylor(self._fit["alpha"][None], w)[0]

    def _taylor(self, alphas: FloatArray, w: FloatArray) -> list[Taylor]:
        points, v = self._fit["points"], self.variances.components
        gradient, hessian = _moments(points, alphas, v)
        for process in self._processes() if points.size else ():
            for g, h, alpha in zip(gradient, hessian, alphas, strict=True):
                process.add(g, h, alpha, w)
        return [Taylor(g, h) for g, h in zip(gradient, hessian, strict=True)]

    def _processes(self) -> list[_Process]:
        """The smooth components, as seen from the policy."""
        points, v = self._fit["points"], self.variances.components
        own, size = np.eye(points.size), points.size
        coordinates = {"remainder": (points.z, np.ones(size), own)}
        if v.get("landscape"):
            spread, axes = np.linalg.eigh(points.scale)
            coordinates["landscape"] = (points.x @ axes, spread, axes)
        return [
            _Process(*coordinates[name], points.w, v[name], points.length_squared)
            for name in coordinates
            if v.get(name)
        ]

    def smooth_at(self, w: FloatArray) -> FloatArray:
        """Remainder and landscape around the mean at choices w [candidates, m], [candidates]."""
        alpha = self._fit["alpha"]
        values = [process.values(alpha, w) for process in self._processes()]
        return np.sum(values, axis=0) if values else np.zeros(len(w))

    def nonquadratic_variance(self, newest: int, w: FloatArray) -> float:
        """Variance of what is not quadratic in the smooth components, over the newest numbers with choices w [m]."""
        points, v, alpha = self._fit["points"], self.variances.components, self._fit["alpha"]
        widths = {"remainder": float(points.size), "landscape": float((points.scale**2).sum())}
        total = 0.0
        for name, position in (("remainder", points.z), ("landscape", points.x)):
            if v.get(name):
                recent = np.concatenate([position[-newest:], np.tile(w, (len(position[-newest:]), 1))], axis=1)
                everywhere = np.concatenate([position, points.w], axis=1)
                fitted = v[name] * _similarity(recent, everywhere, points.length_squared) @ alpha
                total += float(fitted.var()) * _nonquadratic_share(widths[name] / points.length_squared)
        return total

    def draw(self, rng: np.random.Generator, n: int, w: FloatArray) -> list[Taylor]:
        """n draws of gradient and Hessian from the posterior (Matheron's rule: Wilson et al. 2020, eq. 6).

        Remainder and landscape are drawn with random Fourier features for the data, and left out of the result.
        """
        points, fit, v = self._fit["points"], self._fit, self.variances.components
        u = points.u
        linear = rng.standard_normal((n, u.shape[1])) * np.sqrt(v.get("linear", 0.0))
        quadratic = _symmetric(rng, n, points, v.get("quadratic", 0.0), v.get("bowl", 0.0))
        values = u @ linear.T + rng.standard_normal(n) + _quadratic_values(points, quadratic)
        offsets = rng.standard_normal((int(points.batch.max()) + 1, n)) * np.sqrt(v.get("batch", 0.0))
        values += offsets[points.batch] + _random_smooth(rng, n, points, points.z, v.get("remainder", 0.0))
        values += _random_smooth(rng, n, points, points.x, v.get("landscape", 0.0))
        noise = rng.standard_normal((len(u), n)) * np.sqrt(fit["noise"])[:, None]
        corrections = cho_solve(fit["factor"], fit["y"][:, None] - values - noise)
        gradient, hessian = _moments(points, corrections.T, v)
        return [Taylor(*pair) for pair in zip(gradient + linear, hessian + quadratic, strict=True)]


def _factor(gain: float, loss: float) -> float:
    return float(np.clip(gain / max(loss, 1e-12), 1 / _FASTEST, _FASTEST))


def _nonquadratic_share(width: float) -> float:
    """Share of the variance of a smooth process beyond second order, over a Gaussian of summed variance / length^2.

    The orders of exp(-|x - x'|^2 / (2 l^2)) share its variance nearly like a Poisson distribution of mean `width`.
    """
    varying = -math.expm1(-width)
    return max(1 - math.exp(-width) * (width + width**2 / 2) / varying, 0.0) if varying > 1e-9 else 0.0


def _inverse(matrix: FloatArray) -> FloatArray:
    """Inverse of a symmetric positive definite matrix, through its Cholesky factor."""
    factor, _ = cho_factor(matrix, lower=True)
    lower, _ = lapack.dpotri(factor, lower=1)
    inverse: FloatArray = np.tril(lower) + np.tril(lower, -1).T
    return inverse


def _linear(a: Points, b: Points) -> FloatArray:
    return a.z @ b.z.T + a.w @ b.w.T


def _bowl(a: Points, b: Points) -> FloatArray:
    return np.outer(a.bowl(), b.bowl())


def _quadratic(a: Points, b: Points) -> FloatArray:
    """sum_{i<j} u_i u_j u'_i u'_j + sum_i (z_i^2 - 1)(z'_i^2 - 1) / 2."""
    ua, ub = a.u, b.u
    pairs = ((ua @ ub.T) ** 2 - (ua**2) @ (ub**2).T) / 2
    result: FloatArray = pairs + (a.z**2 - 1) @ (b.z**2 - 1).T / 2
    return result


def _remainder(a: Points, b: Points) -> FloatArray:
    return _similarity(a.u, b.u, b.length_squared)


def _batch(a: Points, b: Points) -> FloatArray:
    return (a.batch[:, None] == b.batch).astype(np.float64)


def _landscape(a: Points, b: Points) -> FloatArray:
    return _similarity(np.concatenate([a.x, a.w], axis=1), np.concatenate([b.x, b.w], axis=1), b.length_squared)


_KERNELS = {
    "linear": _linear,
    "bowl": _bowl,
    "quadratic": _quadratic,
    "remainder": _remainder,
    "landscape": _landscape,
    "batch": _batch,
}


def _similarity(a: FloatArray, b: FloatArray, length_squared: float) -> FloatArray:
    """exp(-|a - b|^2 / (2 length^2)), [rows of a, rows of b]."""
    squares = (a**2).sum(axis=1)[:, None] + (b**2).sum(axis=1) - 2 * a @ b.T
    result: FloatArray = np.exp(-np.maximum(squares, 0) / (2 * length_squared))
    return result


def _moments(points: Points, alphas: FloatArray, v: Mapping[str, float]) -> tuple[FloatArray, FloatArray]:
    """Gradients [n, c + m] and Hessians of linear, bowl and quadratic for weights alpha [n, designs]."""
    u, c = points.u, points.size
    columns = u.shape[1]
    hessian = v.get("quadratic", 0.0) * np.stack([(u.T * alpha) @ u for alpha in alphas])
    hessian[:, np.arange(columns), np.arange(columns)] = 0
    curvature = v.get("quadratic", 0.0) * alphas @ (points.z**2 - 1)
    curvature += v.get("bowl", 0.0) * (alphas @ points.bowl())[:, None] * np.sqrt(2 / max(c, 1))
    hessian[:, np.arange(c), np.arange(c)] = curvature
    return v.get("linear", 0.0) * alphas @ u, hessian


@dataclass(frozen=True)
class _Process:
    """A smooth component seen from the policy, averaged over z ~ N(0, AVERAGED).

    Attributes:
        position: of the designs, less the policy's mean, along axes of the policy: [designs, c].
        spread: of the policy along these axes, [c].
        axes: directions of the axes in z, in columns: [c, c].
        w: choices of the designs, [designs, m].
        variance, length_squared: of the process.
    """

    position: FloatArray
    spread: FloatArray
    axes: FloatArray
    w: FloatArray
    variance: float
    length_squared: float

    def _near(self) -> FloatArray:
        """Average of exp(-|position(z) - position_i|^2 / (2 l^2)), [designs]."""
        width = self.length_squared + AVERAGED * self.spread**2
        factor = np.sqrt(self.length_squared / width).prod()
        average: FloatArray = factor * np.exp(-(self.position**2 / (2 * width)).sum(axis=1))
        return average

    def values(self, alpha: FloatArray, w: FloatArray) -> FloatArray:
        """Average over the policy at choices w [candidates, m], [candidates]."""
        result: FloatArray = _similarity(w, self.w, self.length_squared) @ (self.variance * alpha * self._near())
        return result

    def add(self, gradient: FloatArray, hessian: FloatArray, alpha: FloatArray, w: FloatArray) -> None:
        """Add the derivatives of that average with respect to the mean of z, at choices w [m], in place."""
        c, slope = len(self.spread), self.spread / (self.length_squared + self.spread**2)
        near = self.variance * alpha * self._near() * _similarity(w[None], self.w, self.length_squared)[0]
        pulls = self.position * slope
        gradient[:c] += self.axes @ (pulls.T @ near)
        curved = (pulls.T * near) @ pulls - np.diag(slope * self.spread) * near.sum()
        hessian[:c, :c] += self.axes @ curved @ self.axes.T


def _symmetric(rng: np.random.Generator, n: int, points: Points, pairs: float, bowl: float) -> FloatArray:
    """n Hessians drawn from the prior, [n, c + m, c + m]."""
    c, columns = points.size, points.z.shape[1] + points.w.shape[1]
    upper = np.triu(rng.standard_normal((n, columns, columns)), 1) * np.sqrt(pairs)
    drawn = upper + upper.transpose(0, 2, 1)
    common = rng.standard_normal((n, 1)) * np.sqrt(2 * bowl / max(c, 1))
    drawn[:, np.arange(c), np.arange(c)] = rng.standard_normal((n, c)) * np.sqrt(2 * pairs) + common
    return drawn


def _quadratic_values(points: Points, hessians: FloatArray) -> FloatArray:
    """u . H . u / 2 less its mean over the policy's z, [designs, n]."""
    u, c = points.u, points.size
    diagonal = hessians[:, np.arange(c), np.arange(c)].sum(axis=1)
    return np.stack([((u @ h) * u).sum(axis=1) for h in hessians], axis=1) / 2 - diagonal / 2


def _random_smooth(
    rng: np.random.Generator, n: int, points: Points, position: FloatArray, variance: float, waves: int = 128
) -> FloatArray:
    """n draws of a smooth component at the designs, [designs, n] (random Fourier features: Rahimi and Recht 2007)."""
    u = np.concatenate([position, points.w], axis=1)
    frequencies = rng.standard_normal((u.shape[1], waves)) / np.sqrt(points.length_squared)
    phases = rng.uniform(0, 2 * np.pi, waves)
    amplitudes = rng.standard_normal((waves, n)) * np.sqrt(2 * variance / waves)
    drawn: FloatArray = np.cos(u @ frequencies + phases) @ amplitudes
    return drawn
