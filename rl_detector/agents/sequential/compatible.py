"""A critic that is linear in grad ln pi: its weights are the natural gradient of the expected reward.

Every step of an episode has a compatible advantage A(s, a) = w . grad ln pi(a | s). Their sum over the steps of one
design is w . grad ln pi(design). The reward is V(start), that sum, and noise (episodic natural actor-critic: Peters and
Schaal 2008, sec. 3.2). There are many parameters and few designs, so w gets a normal prior. That makes the fit a
Gaussian process with the Fisher kernel grad ln pi . grad ln pi'. The evidence chooses its strengths (MacKay 1992).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from statistics import NormalDist
from typing import Any

import numpy as np
from scipy.linalg import cho_factor, cho_solve  # type: ignore[import-untyped]

from rl_detector.space import FloatArray

_FASTEST = 4.0
"""Largest factor by which a strength changes in one step towards the evidence."""


@dataclass
class CompatibleCritic:
    """reward = sum over groups of w_g . grad_g ln pi + what designs of one batch share + noise.

    Attributes:
        strengths: group -> prior share of the variance of the rewards; "batch" and "noise" among them.
    """

    strengths: dict[str, float]

    @staticmethod
    def initial(groups: tuple[str, ...]) -> CompatibleCritic:
        """First guesses: half of the variance is noise, a tenth is of batches, and the groups share the rest."""
        return CompatibleCritic({**dict.fromkeys(groups, 0.4 / max(len(groups), 1)), "batch": 0.1, "noise": 0.5})

    def fit(self, kernels: Mapping[str, FloatArray], y: FloatArray, noise: FloatArray, steps: int) -> FloatArray:
        """Weights alpha of the designs [n], with w_g = strength_g sum_i alpha_i grad_g ln pi(a_i).

        Args:
            kernels: group -> [n, n] with a mean diagonal of about 1.
            y: rewards of mean 0 and variance 1, [n].
            noise: relative variances, [n].
            steps: number of steps of the strengths towards the evidence, taken first.
        """
        for _ in range(steps):
            self._follow_evidence(kernels, y, noise)
        factor = cho_factor(self._covariance(kernels, noise), lower=True)
        alpha: FloatArray = cho_solve(factor, y)
        return alpha

    def _covariance(self, kernels: Mapping[str, FloatArray], noise: FloatArray) -> FloatArray:
        total = np.diag(self.strengths["noise"] * noise + 1e-8)
        for name, kernel in kernels.items():
            total = total + self.strengths[name] * kernel
        return total

    def _follow_evidence(self, kernels: Mapping[str, FloatArray], y: FloatArray, noise: FloatArray) -> None:
        """Take one step v <- v (alpha' K alpha) / tr(K C^-1); its fixed point has the largest evidence."""
        inverse = cho_solve(cho_factor(self._covariance(kernels, noise), lower=True), np.eye(len(y)))
        alpha = inverse @ y
        for name, kernel in kernels.items():
            self._scale(name, alpha @ kernel @ alpha, np.vdot(kernel, inverse))
        self._scale("noise", (alpha**2 * noise).sum(), (np.diag(inverse) * noise).sum())

    def _scale(self, name: str, gain: Any, loss: Any) -> None:
        factor = np.clip(float(gain) / max(float(loss), 1e-12), 1 / _FASTEST, _FASTEST)
        self.strengths[name] = float(np.clip(self.strengths[name] * factor, 1e-4, 10.0))


def normal_scores(rewards: FloatArray) -> FloatArray:
    """Quantiles of a standard normal at the ranks of the rewards; equal rewards share a rank, [n].

    Steep penalties of violated limits then weigh no more than bad rewards.
    """
    if not len(rewards) or np.ptp(rewards) == 0:
        return np.zeros(len(rewards))
    _, places, counts = np.unique(rewards, return_inverse=True, return_counts=True)
    shares = (np.cumsum(counts) - 0.5 * counts)[places] / len(rewards)  # the middle of the ranks that are shared
    scores = np.array([NormalDist().inv_cdf(share) for share in shares])
    centred = scores - scores.mean()
    result: FloatArray = centred / centred.std()
    return result
