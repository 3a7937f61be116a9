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

from rl_detector.agents.critic.components import (
    KERNELS,
    Points,
    SmoothProcess,
    coupling_values,
    crossed,
    draw_hessians,
    draw_smooth,
    nonquadratic_share,
    pairs_of,
    quadratic_values,
    similarity,
)
from rl_detector.agents.critic.relevance import FASTEST, Relevance
from rl_detector.space import FloatArray, IntArray

COMPONENTS = (
    *("linear", "choices", "bowl", "quadratic", "interaction", "coupled"),
    *("remainder", "landscape", "batch"),
)
"""Terms of the model, see `Critic`."""


OPAQUE = ("coupled", "remainder", "landscape")
"""Components that can explain anything. Where they have explained what single groups of weights could, too, these would
not become relevant."""


MISFIT_POWER = 3
"""Variance of what the model lacks, against the squared distance from the centre: that of a cubic function."""


LEAST_MISFIT = 1e-7
"""Misfit that counts for nothing, but can grow."""


EVIDENCE_POINTS = 500
"""Evaluations, evenly spread over those remembered, from which the strengths of the components are learned."""


LARGEST_COUPLING = 20_000
"""Most weights of the coupled component; where there would be more the critic does without it."""


SUSPICIOUS = 3.0
"""Standard deviations above the critic beyond which a single evaluation is taken for a lie."""


@dataclass
class Variances:
    """Strengths of the components, chosen by the evidence; in units of the variance of the rewards.

    Attributes:
        components: name -> prior variance of one weight.
        noise: of a reward with average error.
        misfit: of what the model lacks, at the distance of the policy's own samples; 0: all evaluations count alike.
        relevance: additional variances of single groups of weights.
    """

    components: dict[str, float]
    noise: float = 0.5
    misfit: float = 0.02
    relevance: Relevance = field(default_factory=Relevance, compare=False)

    @staticmethod
    def initial(size: int, slots: int, width: int, names: tuple[str, ...]) -> Variances:
        """Prior variances for c continuous coordinates, and slots with `width` choices together."""
        free = max(size + width - slots, 1)
        guesses = {"linear": 0.5 / free, "choices": 0.5 / free, "bowl": 0.1, "quadratic": 0.2 / free**2}
        guesses |= {"interaction": 0.2 / free**2, "coupled": 0.02 / free**2}
        guesses |= {"remainder": 0.05, "landscape": 0.05, "batch": 0.05}
        couplings = size * width * (width - 1) // 2 if slots > 1 else 0
        possible = dict.fromkeys(("linear", "bowl", "quadratic"), size > 0)
        possible |= {"choices": slots > 0, "interaction": slots > 1, "coupled": 0 < couplings <= LARGEST_COUPLING}
        return Variances({name: guesses[name] for name in names if possible.get(name, True)})


@dataclass(frozen=True)
class Taylor:
    """Gradient and Hessian of the critic, averaged over the Gaussian policy at given choices.

    E_z[critic] = const + g . u + u . H . u / 2 + sum_i z_i sum_{j<k} C_ijk w_j w_k for u = (shift z of the mean,
    choices w); for compatible features g and H are the natural gradient of sum_i A_i log pi(a_i) with the critic's
    advantages (Kakade 2001; Peters and Schaal 2008).

    Attributes:
        gradient: g, [c + m].
        hessian: H, [c + m, c + m].
        coupling: C, [c, m (m - 1) / 2]; [c, 0] where the critic has no coupled component.
    """

    gradient: FloatArray
    hessian: FloatArray
    coupling: FloatArray

    def slopes(self, w: FloatArray) -> FloatArray:
        """Gradient in z at z = 0 for choices w [n, m], [n, c]."""
        c = len(self.coupling)
        slopes: FloatArray = self.gradient[:c] + w @ self.hessian[c:, :c]
        return slopes + pairs_of(w) @ self.coupling.T if self.coupling.size else slopes

    def values(self, w: FloatArray) -> FloatArray:
        """What choices w [n, m] are worth at z = 0, [n]."""
        c = len(self.coupling)
        values: FloatArray = w @ self.gradient[c:] + ((w @ self.hessian[c:, c:]) * w).sum(axis=1) / 2
        return values


@dataclass
class Critic:
    """reward = 1 + linear(z) + choices(w) + bowl(|z|^2) + quadratic(z, w) + interaction(w) + coupled(z, w)
    + remainder(u) + landscape(x, w) + batch + noise + misfit.

    linear and quadratic (pairs of numbers, and of a number with a choice) have independent normal weights, as have
    choices and their pairs, the interaction: what choices are worth does not get less as the policy narrows, but what
    numbers are worth in its units does, so that they cannot share a strength. bowl is one common curvature. coupled has
    a weight for each number with each pair of choices: the best thickness of a layer depends on its own material
    and on that of the layer before it. remainder is a process with a squared-exponential covariance, for all that
    is smooth but not quadratic; landscape is the same at the scale of the first policy: what was learned there is
    remembered while the policy shrinks and wanders. batch is what designs of one batch share, because they share
    their events. Noise has the relative variances of the stated errors; misfit grows with the cube of the squared
    distance, so far evaluations count less.

    Attributes:
        variances: the strengths, kept from fit to fit.
        evidence: whether they follow the evidence.
        largest_batch: largest variance of the batch component: what designs share with their events is part of their
            stated errors, and the rest of what a batch has in common is the policy's merit.
        trusted: whether it predicts well enough for groups of weights to become relevant.
        complete: whether it predicts so well that no misfit is believed. What seems to be misfit is then the lack of
            weights not yet relevant; it would discount the far evaluations, which alone show which these are.
        dependences: how many weights of numbers times choices the evaluations determine, at the latest step towards the
            evidence: v tr(K C^-1) of these terms, the number of well-determined parameters (gamma of MacKay 1992).
    """

    variances: Variances
    evidence: bool = True
    largest_batch: float = math.inf
    trusted: bool = True
    complete: bool = False
    dependences: float = 0.0
    _fit: dict[str, Any] = field(default_factory=dict)

    def fit(self, points: Points, y: FloatArray, steps: int = 1) -> None:
        """Fit standardised rewards y [designs], with `steps` steps of the variances towards the evidence first."""
        kernels = {name: KERNELS[name](points, points) for name in self.variances.components}
        distances = np.minimum(points.distances**MISFIT_POWER, 1e6)
        part = _spread(len(y), EVIDENCE_POINTS)
        some = {name: kernel[np.ix_(part, part)] for name, kernel in kernels.items()}
        for _ in range(steps if self.evidence else 0):
            self._follow_evidence(some, y[part], points.part(part), distances[part])
        factor = cho_factor(self._covariance(kernels, points, distances), lower=True)
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

    def _covariance(self, kernels: Mapping[str, FloatArray], points: Points, distances: FloatArray) -> FloatArray:
        total = 1 + self.variances.relevance.covariance(points, points)
        for name, kernel in kernels.items():
            total += self.variances.components[name] * kernel
        total[np.diag_indices(len(total))] += self._noise(points.noise, distances)
        return total

    def _dependence(self, kernels: Mapping[str, FloatArray], points: Points) -> FloatArray:
        """Covariance of what numbers are worth with some choices more than with others, [designs, designs]."""
        v = self.variances.components
        total = self.variances.relevance.covariance(points, points) + v.get("quadratic", 0.0) * crossed(points, points)
        return total + v["coupled"] * kernels["coupled"] if "coupled" in kernels else total

    def _follow_evidence(
        self, kernels: Mapping[str, FloatArray], y: FloatArray, points: Points, distances: FloatArray
    ) -> None:
        """One multiplicative step v <- v (alpha' K alpha) / tr(K C^-1), whose fixed point has the largest evidence."""
        inverse = _inverse(self._covariance(kernels, points, distances))
        alpha, diagonal, noise, now = inverse @ y, np.diag(inverse), points.noise, self.variances
        self.dependences = float(np.vdot(self._dependence(kernels, points), inverse))
        if now.relevance.variances.size:
            plain = _inverse(self._covariance(_unstructured(kernels), points, distances))
            now.relevance.follow_evidence(points, (alpha, inverse), (plain @ y, plain), self.trusted)
        for name, kernel in kernels.items():
            factor = _factor(alpha @ kernel @ alpha, np.vdot(kernel, inverse))
            most = min(10.0, self.largest_batch) if name == "batch" else 10.0
            now.components[name] = float(np.clip(now.components[name] * factor, 1e-9, max(most, 1e-9)))
        noise_factor = _factor((alpha**2 * noise).sum(), (diagonal * noise).sum())
        misfit_factor = _factor((alpha**2 * distances).sum(), (diagonal * distances).sum())
        now.noise = float(np.clip(now.noise * noise_factor, 1e-4, 10))
        most = LEAST_MISFIT if self.complete else 10.0
        now.misfit = float(np.clip(now.misfit * misfit_factor, LEAST_MISFIT, most)) if now.misfit else 0.0

    def taylor(self, w: FloatArray) -> Taylor:
        """Gradient and Hessian around the mean and the choices w [m]."""
        return self._taylor(self._fit["alpha"][None], w)[0]

    def _taylor(self, alphas: FloatArray, w: FloatArray) -> list[Taylor]:
        points = self._fit["points"]
        gradient, hessian, couplings = self._weights(alphas)
        for process in self._processes() if points.size else ():
            for g, h, alpha in zip(gradient, hessian, alphas, strict=True):
                process.add(g, h, alpha, w)
        return [Taylor(*parts) for parts in zip(gradient, hessian, couplings, strict=True)]

    def _weights(self, alphas: FloatArray) -> tuple[FloatArray, FloatArray, FloatArray]:
        """Gradients, Hessians and couplings for weights alpha [n, designs], without the smooth components."""
        points = self._fit["points"]
        gradient, hessian = _moments(points, alphas, self.variances.components)
        couplings = self._couplings(alphas)
        _add_relevant(hessian, couplings, self.variances.relevance.moments(points, alphas))
        return gradient, hessian, couplings

    def _couplings(self, alphas: FloatArray) -> FloatArray:
        """Weights of the coupled component for weights alpha [n, designs], [n, c, m (m - 1) / 2 or 0]."""
        points, variance = self._fit["points"], self.variances.components.get("coupled")
        if variance is None:
            return np.zeros((len(alphas), points.size, 0))
        pairs = pairs_of(points.w)
        return np.stack([variance * (points.z.T * alpha) @ pairs for alpha in alphas])

    def _processes(self) -> list[SmoothProcess]:
        """The smooth components, as seen from the policy; made once for each fit."""
        if "processes" not in self._fit:
            self._fit["processes"] = self._made_processes()
        processes: list[SmoothProcess] = self._fit["processes"]
        return processes

    def _made_processes(self) -> list[SmoothProcess]:
        points, v = self._fit["points"], self.variances.components
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
        """Remainder and landscape around the mean at choices w [candidates, m], [candidates], and their gradients in z,
        [candidates, c]."""
        alpha, processes = self._fit["alpha"], self._processes()
        values, slopes = np.zeros(len(w)), np.zeros((len(w), self.points.size))
        alike = processes[0].alike(w) if processes else np.zeros((0, 0))
        for process in processes:
            values += process.values(alpha, alike)
            slopes += process.slopes(alpha, alike)
        return values, slopes

    def means_at(self, designs: Points) -> FloatArray:
        """The critic at other designs, with the luck of no batch, [designs]."""
        result: FloatArray = self._covariance_with(designs) @ self._fit["alpha"]
        return result

    def values_at(self, designs: Points) -> tuple[FloatArray, FloatArray]:
        """The same, and its standard deviations, [designs]."""
        covariance, prior = self._covariance_with(designs), np.ones(len(designs.z))
        for name, variance in self.variances.components.items():
            if name != "batch":
                prior += variance * np.diag(KERNELS[name](designs, designs))
        prior += self.variances.relevance.diagonal(designs)
        known = (covariance * cho_solve(self._fit["factor"], covariance.T).T).sum(axis=1)
        return covariance @ self._fit["alpha"], np.sqrt(np.maximum(prior - known, 0))

    def _covariance_with(self, designs: Points) -> FloatArray:
        """Covariances of other designs with those that it was fitted to, [designs, fitted]."""
        points = self._fit["points"]
        covariance = 1 + self.variances.relevance.covariance(designs, points)
        for name, variance in self.variances.components.items():
            if name != "batch":
                covariance += variance * KERNELS[name](designs, points)
        return covariance

    def known_values(self, lack: float, deviations: float = 0.0) -> FloatArray:
        """What it knows of the designs that it was fitted to, so many standard deviations below the mean, [designs].

        Of its noise the part `lack` belongs to the designs, not to their events, of each the same share: a design that
        was better than the critic can explain is so again. One that was better by more than SUSPICIOUS standard
        deviations is not believed, its value is -inf. Misfit belongs to the designs, too, believed only of one that
        was worse: of the many far designs some are lucky.
        """
        points, fit, v = self._fit["points"], self._fit, self.variances
        luck = v.components.get("batch", 0.0) * np.bincount(points.batch, weights=fit["alpha"])[points.batch]
        lack = min(lack, v.noise)
        residual = fit["noise"] * fit["alpha"]
        own = np.where(residual < 0, fit["noise"] - (v.noise - lack) * points.noise, lack * points.noise)
        means = fit["y"] - luck - residual + own * fit["alpha"]
        values: FloatArray = means - deviations * np.sqrt(lack * (1 - lack / v.noise) * points.noise)
        return np.where(residual > SUSPICIOUS * np.sqrt(fit["noise"]), -np.inf, values)

    def nonquadratic_variance(self, newest: int, w: FloatArray) -> float:
        """Variance of what is not quadratic in the smooth components, over the newest numbers with choices w [m]."""
        points, v, alpha = self._fit["points"], self.variances.components, self._fit["alpha"]
        widths = {"remainder": float(points.size), "landscape": float((points.scale**2).sum())}
        total = 0.0
        for name, position in (("remainder", points.z), ("landscape", points.x)):
            if v.get(name):
                recent = np.concatenate([position[-newest:], np.tile(w, (len(position[-newest:]), 1))], axis=1)
                everywhere = np.concatenate([position, points.w], axis=1)
                fitted = v[name] * similarity(recent, everywhere, points.length_squared) @ alpha
                total += float(fitted.var()) * nonquadratic_share(widths[name] / points.length_squared)
        return total

    def hidden_variance(self) -> float:
        """Variance that may not be quadratic though the fit does not show it.

        The remainder's over the policy's numbers, times the policy's variance over that of the first policy, as for
        a cubic term. Where a function needs the remainder, shrinkage hides what of it is not quadratic, and would go on
        to hide it however many evaluations there are.
        """
        varying = -math.expm1(-self.points.size / self.points.length_squared)
        return self.variances.components.get("remainder", 0.0) * varying * self.points.relative_width

    def draw(self, rng: np.random.Generator, n: int, w: FloatArray) -> list[Taylor]:
        """n draws of gradient, Hessian and coupling from the posterior (Matheron's rule: Wilson et al. 2020, eq. 6).

        Remainder and landscape are drawn with random Fourier features for the data, and left out of the result.
        """
        points, fit, v = self._fit["points"], self._fit, self.variances.components
        u = points.u
        linear = rng.standard_normal((n, u.shape[1])) * np.sqrt(_linear_variances(points, v))
        quadratic = draw_hessians(
            rng, n, points, v.get("quadratic", 0.0), v.get("bowl", 0.0), v.get("interaction", 0.0)
        )
        pairs = points.w.shape[1] * (points.w.shape[1] - 1) // 2 if "coupled" in v else 0
        coupled = rng.standard_normal((n, points.size, pairs)) * np.sqrt(v.get("coupled", 0.0))
        _add_relevant(quadratic, coupled, self.variances.relevance.draw(rng, n, points))
        values = u @ linear.T + rng.standard_normal(n) + quadratic_values(points, quadratic)
        offsets = rng.standard_normal((int(points.batch.max()) + 1, n)) * np.sqrt(v.get("batch", 0.0))
        values += offsets[points.batch] + draw_smooth(rng, n, points, points.z, v.get("remainder", 0.0))
        values += draw_smooth(rng, n, points, points.x, v.get("landscape", 0.0))
        values += coupling_values(points, coupled) if pairs else 0.0
        noise = rng.standard_normal((len(u), n)) * np.sqrt(fit["noise"])[:, None]
        corrections = cho_solve(fit["factor"], fit["y"][:, None] - values - noise).T
        gradient, hessian, couplings = self._weights(corrections)
        parts = gradient + linear, hessian + quadratic, couplings + coupled
        return [Taylor(*drawn) for drawn in zip(*parts, strict=True)]


def _spread(n: int, most: int) -> IntArray:
    """At most so many indices, evenly spread over 0..n-1, the newest among them, [indices]."""
    indices: IntArray = n - 1 - np.unique(np.linspace(0, n - 1, min(n, most)).astype(np.int64))[::-1]
    return indices


def _factor(gain: Any, loss: Any) -> float:
    return float(np.clip(float(gain) / max(float(loss), 1e-12), 1 / FASTEST, FASTEST))


def _inverse(matrix: FloatArray) -> FloatArray:
    """Inverse of a symmetric positive definite matrix, through its Cholesky factor."""
    factor, _ = cho_factor(matrix, lower=True)
    lower, _ = lapack.dpotri(factor, lower=1)
    inverse: FloatArray = np.tril(lower) + np.tril(lower, -1).T
    return inverse


def _moments(points: Points, alphas: FloatArray, v: Mapping[str, float]) -> tuple[FloatArray, FloatArray]:
    """Gradients [n, c + m] and Hessians of linear, bowl and quadratic for weights alpha [n, designs]."""
    u, c = points.u, points.size
    columns = u.shape[1]
    hessian = v.get("quadratic", 0.0) * np.stack([(u.T * alpha) @ u for alpha in alphas])
    hessian[:, c:, c:] = v.get("interaction", 0.0) * np.stack([(points.w.T * alpha) @ points.w for alpha in alphas])
    hessian[:, np.arange(columns), np.arange(columns)] = 0
    curvature = v.get("quadratic", 0.0) * alphas @ (points.z**2 - 1)
    curvature += v.get("bowl", 0.0) * (alphas @ points.bowl())[:, None] * np.sqrt(2 / max(c, 1))
    hessian[:, np.arange(c), np.arange(c)] = curvature
    return alphas @ u * _linear_variances(points, v), hessian


def _unstructured(kernels: Mapping[str, FloatArray]) -> dict[str, FloatArray]:
    """The kernels, of those of OPAQUE the diagonals alone: as if what these explain were noise."""
    return {name: np.diag(np.diag(kernel)) if name in OPAQUE else kernel for name, kernel in kernels.items()}


def _add_relevant(hessian: FloatArray, coupling: FloatArray, weights: FloatArray) -> None:
    """Add the relevant weights of z_i w_a and z_i w_a w_b [n, c, terms] in place."""
    if not weights.size:
        return
    c, columns = weights.shape[1], hessian.shape[-1] - weights.shape[1]
    crossed, pairs = weights[:, :, :columns], weights[:, :, columns:]
    hessian[:, :c, c:] += crossed
    hessian[:, c:, :c] += crossed.transpose(0, 2, 1)
    coupling += pairs


def _linear_variances(points: Points, v: Mapping[str, float]) -> FloatArray:
    """Prior variances of the weights of the linear components, [c + m]."""
    names = np.repeat(["linear", "choices"], [points.size, points.w.shape[1]])
    return np.array([v.get(name, 0.0) for name in names])
