"""Gradient and Hessian of the critic, averaged over the policy: from the data, and drawn from the prior."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from rl_detector.agents.critic.kernels import Points, pairs_of
from rl_detector.space import FloatArray


@dataclass(frozen=True)
class Taylor:
    """Gradient and Hessian of the critic, averaged over the Gaussian policy at given choices.

    E_z[critic] = const + g . u + u . H . u / 2 + sum_i z_i sum_{j<k} C_ijk w_j w_k for u = (shift z of the mean,
    choices w). For compatible features g and H are the natural gradient of sum_i A_i log pi(a_i) with the critic's
    advantages (Kakade 2001; Peters and Schaal 2008).

    Attributes:
        gradient: g, [c + m].
        hessian: H, [c + m, c + m].
        coupling: C, [c, m (m - 1) / 2]; [c, 0] where the critic has no coupled kernel.
    """

    gradient: FloatArray
    hessian: FloatArray
    coupling: FloatArray

    def gradients(self, w: FloatArray) -> FloatArray:
        """Gradient in z at z = 0 for choices w [n, m], [n, c]."""
        c = len(self.coupling)
        gradients: FloatArray = self.gradient[:c] + w @ self.hessian[c:, :c]
        return gradients + pairs_of(w) @ self.coupling.T if self.coupling.size else gradients

    def values(self, w: FloatArray) -> FloatArray:
        """The worth of choices w [n, m] at z = 0, [n]."""
        c = len(self.coupling)
        values: FloatArray = w @ self.gradient[c:] + ((w @ self.hessian[c:, c:]) * w).sum(axis=1) / 2
        return values


def moments(points: Points, alphas: FloatArray, v: Mapping[str, float]) -> tuple[FloatArray, FloatArray]:
    """Gradients [n, c + m] and Hessians [n, c + m, c + m] for weights alpha [n, designs].

    They are those of the kernels linear, choices, bowl, quadratic and interaction, whose variances are v.
    """
    u, c = points.u, points.size
    columns = u.shape[1]
    hessian = v.get("quadratic", 0.0) * np.stack([(u.T * alpha) @ u for alpha in alphas])
    hessian[:, c:, c:] = v.get("interaction", 0.0) * np.stack([(points.w.T * alpha) @ points.w for alpha in alphas])
    hessian[:, np.arange(columns), np.arange(columns)] = 0
    curvature = v.get("quadratic", 0.0) * alphas @ (points.z**2 - 1)
    curvature += v.get("bowl", 0.0) * (alphas @ points.bowl())[:, None] * np.sqrt(2 / max(c, 1))
    hessian[:, np.arange(c), np.arange(c)] = curvature
    return alphas @ u * linear_variances(points, v), hessian


def linear_variances(points: Points, v: Mapping[str, float]) -> FloatArray:
    """Prior variances of the weights of the kernels linear and choices, [c + m]."""
    names = np.repeat(["linear", "choices"], [points.size, points.w.shape[1]])
    return np.array([v.get(name, 0.0) for name in names])


def add_relevant(hessian: FloatArray, coupling: FloatArray, weights: FloatArray) -> None:
    """Add the relevant weights of z_i w_a and z_i w_a w_b [n, c, terms] in place."""
    if not weights.size:
        return
    c, columns = weights.shape[1], hessian.shape[-1] - weights.shape[1]
    crossed, pairs = weights[:, :, :columns], weights[:, :, columns:]
    hessian[:, :c, c:] += crossed
    hessian[:, c:, :c] += crossed.transpose(0, 2, 1)
    coupling += pairs


def draw_hessians(
    rng: np.random.Generator, n: int, points: Points, pairs: float, bowl: float, interaction: float
) -> FloatArray:
    """Draw n Hessians from the prior, [n, c + m, c + m].

    Args:
        rng: random numbers.
        n: number of draws.
        points: designs, which give the sizes.
        pairs: variance of the kernel quadratic.
        bowl: variance of the kernel bowl.
        interaction: variance of the kernel interaction.
    """
    c, columns = points.size, points.z.shape[1] + points.w.shape[1]
    deviations = np.full((columns, columns), np.sqrt(pairs))
    deviations[c:, c:] = np.sqrt(interaction)
    upper = np.triu(rng.standard_normal((n, columns, columns)) * deviations, 1)
    drawn = upper + upper.transpose(0, 2, 1)
    common = rng.standard_normal((n, 1)) * np.sqrt(2 * bowl / max(c, 1))
    drawn[:, np.arange(c), np.arange(c)] = rng.standard_normal((n, c)) * np.sqrt(2 * pairs) + common
    return np.asarray(drawn, dtype=np.float64)


def quadratic_values(points: Points, hessians: FloatArray) -> FloatArray:
    """u . H . u / 2 less its mean over the policy's z, [designs, n]."""
    u, c = points.u, points.size
    diagonal = hessians[:, np.arange(c), np.arange(c)].sum(axis=1)
    values: FloatArray = np.stack([((u @ h) * u).sum(axis=1) for h in hessians], axis=1) / 2 - diagonal / 2
    return values


def coupling_values(points: Points, couplings: FloatArray) -> FloatArray:
    """sum_i z_i sum_{j<k} C_ijk w_j w_k at the designs for n couplings [n, c, m (m - 1) / 2], [designs, n]."""
    pairs = pairs_of(points.w)
    values: FloatArray = np.stack([((pairs @ c.T) * points.z).sum(axis=1) for c in couplings], axis=1)
    return values
