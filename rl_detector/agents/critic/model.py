"""A model of the reward, fitted to all noisy evaluations so far: the critic of `policy_gradient`.

It is a Bayesian regression in the whitened coordinates of the policy. The reward is a sum of Gaussian processes. Their
variances set the shrinkage. They are not tuned: the evidence chooses them (MacKay 1992; Rasmussen and Williams,
Gaussian Processes for Machine Learning, 2006, eq. 5.9).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import cho_factor, cho_solve  # type: ignore[import-untyped]

from rl_detector.agents.critic.kernels import (
    KERNELS,
    Points,
    SmoothProcess,
    draw_smooth,
    nonquadratic_share,
    pairs_of,
    similarity,
)
from rl_detector.agents.critic.strengths import EVIDENCE_POINTS, LARGEST_STRENGTH, LEAST_MISFIT, Limits, Variances
from rl_detector.agents.critic.taylor import (
    Taylor,
    add_relevant,
    coupling_values,
    draw_hessians,
    linear_variances,
    moments,
    quadratic_values,
)
from rl_detector.space import FloatArray, IntArray

SUSPICIOUS = 3.0
"""Standard deviations above the critic beyond which a single evaluation is not believed."""


@dataclass(frozen=True)
class Fit:
    """Rewards and the solution of the regression.

    Attributes:
        points: the designs.
        y: standardised rewards, [designs].
        factor: Cholesky factor of their covariance C, as scipy.linalg.cho_factor gives it.
        alpha: C^-1 y, [designs].
        noise: variances of what each reward has beyond the kernels, [designs].
    """

    points: Points
    y: FloatArray
    factor: tuple[FloatArray, bool]
    alpha: FloatArray
    noise: FloatArray


@dataclass
class Critic:
    """reward = 1 + linear(z) + choices(w) + bowl(|z|^2) + quadratic(z, w) + interaction(w) + coupled(z, w)
    + remainder(u) + landscape(x, w) + batch + noise + misfit.

    - linear and quadratic have independent normal weights. quadratic has them for pairs of coordinates, and for a
      coordinate with a choice.
    - choices and interaction, their pairs, have normal weights, too, but strengths of their own. In units of the policy
      coordinates are worth less as it narrows; choices are not.
    - bowl is one common curvature.
    - coupled has a weight for each coordinate with each pair of choices. The best thickness of a layer depends on its
      own material and on that of the layer before it.
    - remainder has a squared-exponential covariance, for all that is smooth but not quadratic.
    - landscape is such a process at the scale of the first policy. It remembers what was learned there while the policy
      shrinks and wanders.
    - batch is what designs of one batch share because they share their events.
    - noise has the relative variances of the stated errors.
    - misfit grows with the cube of the squared distance, so that far evaluations count less.

    Attributes:
        variances: the strengths, kept from fit to fit.
        evidence: whether they follow the evidence.
        largest_batch: largest variance of the batch kernel, see `Limits`.
        predictive: whether it predicts well enough for groups of weights to become relevant.
        complete: whether it predicts so well that no misfit is believed. Apparent misfit then comes from weights that
            are not yet relevant. It would discount the far evaluations, which alone show which weights these are.
        dependences: number of weights of coordinates times options that the evaluations determine, at the latest step
            towards the evidence (gamma of MacKay 1992).
    """

    variances: Variances
    evidence: bool = True
    largest_batch: float = math.inf
    predictive: bool = True
    complete: bool = False
    dependences: float = 0.0
    _latest: Fit | None = None
    _processes: list[SmoothProcess] = field(default_factory=list)

    def fit(self, points: Points, y: FloatArray, steps: int = 1) -> None:
        """Fit standardised rewards y [designs], after `steps` steps of the variances towards the evidence."""
        kernels = {name: KERNELS[name](points, points) for name in self.variances.kernels}
        self._follow_evidence(kernels, points, y, steps if self.evidence else 0)
        factor = cho_factor(self.variances.covariance(kernels, points), lower=True)
        self._latest = Fit(points, y, factor, cho_solve(factor, y), self.variances.noise_of(points))
        self._processes = self._smooth_processes()

    def _follow_evidence(self, kernels: Mapping[str, FloatArray], points: Points, y: FloatArray, steps: int) -> None:
        part = _spread(len(y), EVIDENCE_POINTS)
        some = {name: kernel[np.ix_(part, part)] for name, kernel in kernels.items()}
        largest_misfit = LEAST_MISFIT if self.complete else LARGEST_STRENGTH
        limits = Limits(self.largest_batch, largest_misfit, self.predictive)
        for _ in range(steps):
            self.dependences = self.variances.follow_evidence(some, y[part], points.part(part), limits)

    @property
    def _fit(self) -> Fit:
        if self._latest is None:
            raise RuntimeError("the critic was asked before it was fitted")
        return self._latest

    @property
    def points(self) -> Points:
        """The designs that it was fitted to."""
        return self._fit.points

    def data(self) -> dict[str, NDArray[Any]]:
        """All that it was fitted to, as arrays."""
        points = self.points
        arrays = {name: getattr(points, name) for name in ("x", "scale", "z", "w", "noise", "batch")}
        return {**arrays, "choice_count": np.array([points.choice_count]), "y": self._fit.y}

    @staticmethod
    def refitted(variances: Variances, data: Mapping[str, NDArray[Any]]) -> Critic:
        """The critic with given strengths, fitted to the arrays of `data`."""
        critic = Critic(variances)
        arrays = {name: array for name, array in data.items() if name not in ("choice_count", "y")}
        points = Points(**arrays, choice_count=int(data["choice_count"][0]))
        critic.fit(points, data["y"], steps=0)
        return critic

    def taylor(self, w: FloatArray) -> Taylor:
        """Gradient and Hessian around the mean and the choices w [m]."""
        alpha = self._fit.alpha
        gradient, hessian, couplings = self._weights(alpha[None])
        for process in self._processes if self.points.size else ():
            process.add(gradient[0], hessian[0], alpha, w)
        return Taylor(gradient[0], hessian[0], couplings[0])

    def _weights(self, alphas: FloatArray) -> tuple[FloatArray, FloatArray, FloatArray]:
        """Gradients, Hessians and couplings for weights alpha [n, designs], without the smooth kernels."""
        gradient, hessian = moments(self.points, alphas, self.variances.kernels)
        couplings = self._couplings(alphas)
        add_relevant(hessian, couplings, self.variances.relevance.moments(self.points, alphas))
        return gradient, hessian, couplings

    def _couplings(self, alphas: FloatArray) -> FloatArray:
        """Weights of the coupled kernel for weights alpha [n, designs], [n, c, m (m - 1) / 2 or 0]."""
        points, variance = self.points, self.variances.kernels.get("coupled")
        if variance is None:
            return np.zeros((len(alphas), points.size, 0))
        pairs = pairs_of(points.w)
        return np.stack([variance * (points.z.T * alpha) @ pairs for alpha in alphas])

    def _smooth_processes(self) -> list[SmoothProcess]:
        """Remainder and landscape, as seen from the policy."""
        points, v = self.points, self.variances.kernels
        own, size = np.eye(points.size), points.size
        coordinates = {"remainder": (points.z, np.ones(size), own)}
        if v.get("landscape"):
            spread, axes = np.linalg.eigh(points.scale)
            coordinates["landscape"] = (points.x @ axes, spread, axes)
        return [
            SmoothProcess(*coordinates[name], points.w, v[name], points.length_squared)
            for name in coordinates
            if v.get(name)
        ]

    def smooth_at(self, w: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Remainder and landscape at choices w [n, m] around the mean, [n], and their gradients in z, [n, c]."""
        alpha, processes = self._fit.alpha, self._processes
        values, gradients = np.zeros(len(w)), np.zeros((len(w), self.points.size))
        alike = processes[0].alike(w) if processes else np.zeros((0, 0))
        for process in processes:
            values += process.values(alpha, alike)
            gradients += process.gradients(alpha, alike)
        return values, gradients

    def means_at(self, designs: Points) -> FloatArray:
        """Posterior mean at other designs, without batch effects, [designs]."""
        result: FloatArray = self._covariance_with(designs) @ self._fit.alpha
        return result

    def values_at(self, designs: Points) -> tuple[FloatArray, FloatArray]:
        """Posterior mean and standard deviation at other designs, without batch effects, each [designs]."""
        covariance, prior = self._covariance_with(designs), np.ones(len(designs.z))
        for name, variance in self.variances.kernels.items():
            if name != "batch":
                prior += variance * np.diag(KERNELS[name](designs, designs))
        prior += self.variances.relevance.diagonal(designs)
        known = (covariance * cho_solve(self._fit.factor, covariance.T).T).sum(axis=1)
        return covariance @ self._fit.alpha, np.sqrt(np.maximum(prior - known, 0))

    def _covariance_with(self, designs: Points) -> FloatArray:
        """Covariances of other designs with the fitted ones, without batch effects, [designs, fitted]."""
        covariance = 1 + self.variances.relevance.covariance(designs, self.points)
        for name, variance in self.variances.kernels.items():
            if name != "batch":
                covariance += variance * KERNELS[name](designs, self.points)
        return covariance

    def known_values(self, lack: float, deviations: float = 0.0) -> FloatArray:
        """Estimate the designs that it was fitted to, each with a part of its own residual, [designs].

        The variance `lack` of the noise belongs to the designs, not to their events. A design that was better than the
        critic can explain will be so again by its share. A design that was better by more than SUSPICIOUS standard
        deviations is not believed; its value is -inf. Misfit belongs to the designs, too, but it is believed only of
        those that were worse: among many far designs some are lucky.

        Args:
            lack: variance of the lack of fit, for a reward with average error.
            deviations: number of standard deviations by which the result lies below the mean.
        """
        points, fit, v = self.points, self._fit, self.variances
        luck = v.kernels.get("batch", 0.0) * np.bincount(points.batch, weights=fit.alpha)[points.batch]
        lack = min(lack, v.noise)
        residual = fit.noise * fit.alpha
        own = np.where(residual < 0, fit.noise - (v.noise - lack) * points.noise, lack * points.noise)
        means = fit.y - luck - residual + own * fit.alpha
        values: FloatArray = means - deviations * np.sqrt(lack * (1 - lack / v.noise) * points.noise)
        return np.where(residual > SUSPICIOUS * np.sqrt(fit.noise), -np.inf, values)

    def nonquadratic_variance(self, newest: int, w: FloatArray) -> float:
        """Variance of what is not quadratic in the smooth kernels, over the newest designs with choices w [m]."""
        points, v = self.points, self.variances.kernels
        widths = {"remainder": float(points.size), "landscape": float((points.scale**2).sum())}
        total = 0.0
        for name, position in (("remainder", points.z), ("landscape", points.x)):
            if v.get(name):
                recent = np.concatenate([position[-newest:], np.tile(w, (len(position[-newest:]), 1))], axis=1)
                everywhere = np.concatenate([position, points.w], axis=1)
                fitted = v[name] * similarity(recent, everywhere, points.length_squared) @ self._fit.alpha
                total += float(fitted.var()) * nonquadratic_share(widths[name] / points.length_squared)
        return total

    def hidden_variance(self) -> float:
        """Variance that may not be quadratic though the fit does not show it.

        It is the remainder's variance over the policy's coordinates, times the policy's variance over that of the first
        policy, as for a cubic term. Where a function needs the remainder, shrinkage hides its part that is not
        quadratic, however many evaluations there are.
        """
        varying = -math.expm1(-self.points.size / self.points.length_squared)
        return self.variances.kernels.get("remainder", 0.0) * varying * self.points.relative_width

    def draw(self, rng: np.random.Generator, n: int) -> list[Taylor]:
        """Draw gradient, Hessian and coupling n times from the posterior (Matheron's rule: Wilson et al. 2020, eq. 6).

        Remainder and landscape are drawn for the data with random Fourier features, and left out of the result.
        """
        points, fit, v = self.points, self._fit, self.variances.kernels
        linear, quadratic, coupled = self._drawn_weights(rng, n)
        values = points.u @ linear.T + rng.standard_normal(n) + quadratic_values(points, quadratic)
        offsets = rng.standard_normal((int(points.batch.max()) + 1, n)) * np.sqrt(v.get("batch", 0.0))
        values += offsets[points.batch] + draw_smooth(rng, n, points, points.z, v.get("remainder", 0.0))
        values += draw_smooth(rng, n, points, points.x, v.get("landscape", 0.0))
        values += coupling_values(points, coupled) if coupled.shape[2] else 0.0
        noise = rng.standard_normal((len(fit.y), n)) * np.sqrt(fit.noise)[:, None]
        corrections = cho_solve(fit.factor, fit.y[:, None] - values - noise).T
        gradient, hessian, couplings = self._weights(corrections)
        parts = gradient + linear, hessian + quadratic, couplings + coupled
        return [Taylor(*drawn) for drawn in zip(*parts, strict=True)]

    def _drawn_weights(self, rng: np.random.Generator, n: int) -> tuple[FloatArray, FloatArray, FloatArray]:
        """n gradients, Hessians and couplings from the prior."""
        points, v, columns = self.points, self.variances.kernels, self.points.w.shape[1]
        linear = rng.standard_normal((n, points.size + columns)) * np.sqrt(linear_variances(points, v))
        variances = [v.get(name, 0.0) for name in ("quadratic", "bowl", "interaction")]
        quadratic = draw_hessians(rng, n, points, *variances)
        pairs = columns * (columns - 1) // 2 if "coupled" in v else 0
        coupled = rng.standard_normal((n, points.size, pairs)) * np.sqrt(v.get("coupled", 0.0))
        add_relevant(quadratic, coupled, self.variances.relevance.draw(rng, n, points))
        return linear, quadratic, coupled


def _spread(n: int, most: int) -> IntArray:
    """At most `most` indices, evenly spread over 0..n-1, with the newest among them, [indices]."""
    indices: IntArray = n - 1 - np.unique(np.linspace(0, n - 1, min(n, most)).astype(np.int64))[::-1]
    return indices
