"""The strengths of the critic's kernels, its noise and its misfit; they follow the evidence (MacKay 1992)."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
from scipy.linalg import cho_factor, lapack  # type: ignore[import-untyped]

from rl_detector.agents.critic.kernels import Points, crossed
from rl_detector.agents.critic.relevance import FASTEST, Relevance
from rl_detector.space import FloatArray

OPAQUE = ("coupled", "remainder", "landscape")
"""Kernels that can explain anything. Single groups of weights would not become relevant beside them."""


LEAST_MISFIT = 1e-7
"""Misfit that counts for nothing, but can grow."""


LARGEST_STRENGTH = 10.0
"""Upper bound of every strength, in units of the variance of the rewards."""


EVIDENCE_POINTS = 500
"""Evaluations, evenly spread over those remembered, from which the strengths of the kernels are learned."""


LARGEST_COUPLING = 20_000
"""Most weights of the coupled kernel; where there would be more, the critic does without it."""


class Limits(NamedTuple):
    """What a step towards the evidence may do.

    Attributes:
        batch: largest variance of the batch kernel. What designs share with their events is part of their stated
            errors; the rest of what a batch has in common is the policy's merit.
        misfit: largest misfit.
        relevance: whether groups of weights may become relevant.
    """

    batch: float = math.inf
    misfit: float = LARGEST_STRENGTH
    relevance: bool = True


@dataclass
class Variances:
    """Strengths of the kernels, in units of the variance of the rewards.

    Attributes:
        kernels: name -> prior variance of one weight.
        noise: of a reward with average error.
        misfit: of what the model lacks, at the distance of the policy's own samples; 0: all evaluations count alike.
        relevance: additional variances of single groups of weights.
    """

    kernels: dict[str, float]
    noise: float = 0.5
    misfit: float = 0.02
    relevance: Relevance = field(default_factory=Relevance, compare=False)

    @staticmethod
    def initial(size: int, choices: int, width: int, names: tuple[str, ...]) -> Variances:
        """First guesses for c = `size` coordinates, and for choices that have `width` options together."""
        free = max(size + width - choices, 1)
        guesses = {"linear": 0.5 / free, "choices": 0.5 / free, "bowl": 0.1, "quadratic": 0.2 / free**2}
        guesses |= {"interaction": 0.2 / free**2, "coupled": 0.02 / free**2}
        guesses |= {"remainder": 0.05, "landscape": 0.05, "batch": 0.05}
        couplings = size * width * (width - 1) // 2 if choices > 1 else 0
        possible = dict.fromkeys(("linear", "bowl", "quadratic"), size > 0)
        possible |= {"choices": choices > 0, "interaction": choices > 1, "coupled": 0 < couplings <= LARGEST_COUPLING}
        return Variances({name: guesses[name] for name in names if possible.get(name, True)})

    def noise_of(self, points: Points) -> FloatArray:
        """Variances of what each reward has beyond the kernels, misfit included, [designs]."""
        return self.noise * points.noise + self.misfit * points.misfit + 1e-8

    def covariance(self, kernels: Mapping[str, FloatArray], points: Points) -> FloatArray:
        """Covariance of the rewards, [designs, designs]."""
        total = 1 + self.relevance.covariance(points, points)
        for name, kernel in kernels.items():
            total += self.kernels[name] * kernel
        total[np.diag_indices(len(total))] += self.noise_of(points)
        return total

    def _dependence(self, kernels: Mapping[str, FloatArray], points: Points) -> FloatArray:
        """Covariance of what coordinates are worth with some options more than with others, [designs, designs]."""
        v = self.kernels
        total = self.relevance.covariance(points, points) + v.get("quadratic", 0.0) * crossed(points, points)
        return total + v["coupled"] * kernels["coupled"] if "coupled" in kernels else total

    def follow_evidence(
        self, kernels: Mapping[str, FloatArray], y: FloatArray, points: Points, limits: Limits
    ) -> float:
        """Take one multiplicative step v <- v (alpha' K alpha) / tr(K C^-1); its fixed point has the largest evidence.

        Args:
            kernels: name -> K between the designs.
            y: standardised rewards, [designs].
            points: the designs.
            limits: of the step.

        Returns:
            How many weights of coordinates times options the rewards determine: v tr(K C^-1) of these terms, the number
            of well-determined parameters (gamma of MacKay 1992).
        """
        inverse = _inverse(self.covariance(kernels, points))
        alpha = inverse @ y
        determined = float(np.vdot(self._dependence(kernels, points), inverse))
        if self.relevance.variances.size:
            plain = _inverse(self.covariance(_unstructured(kernels), points))
            self.relevance.follow_evidence(points, (alpha, inverse), (plain @ y, plain), limits.relevance)
        for name, kernel in kernels.items():
            factor = _factor(alpha @ kernel @ alpha, np.vdot(kernel, inverse))
            most = min(LARGEST_STRENGTH, limits.batch) if name == "batch" else LARGEST_STRENGTH
            self.kernels[name] = float(np.clip(self.kernels[name] * factor, 1e-9, max(most, 1e-9)))
        self._follow_residuals(alpha**2, np.diag(inverse), points, limits.misfit)
        return determined

    def _follow_residuals(self, gain: FloatArray, loss: FloatArray, points: Points, largest_misfit: float) -> None:
        """The step of noise and misfit, whose kernels are diagonal: gain alpha^2 and loss C^-1 of each design."""
        noise_factor = _factor((gain * points.noise).sum(), (loss * points.noise).sum())
        misfit_factor = _factor((gain * points.misfit).sum(), (loss * points.misfit).sum())
        self.noise = float(np.clip(self.noise * noise_factor, 1e-4, LARGEST_STRENGTH))
        misfit = float(np.clip(self.misfit * misfit_factor, LEAST_MISFIT, largest_misfit))
        self.misfit = misfit if self.misfit else 0.0


def _factor(gain: Any, loss: Any) -> float:
    return float(np.clip(float(gain) / max(float(loss), 1e-12), 1 / FASTEST, FASTEST))


def _inverse(matrix: FloatArray) -> FloatArray:
    """Inverse of a symmetric positive definite matrix, through its Cholesky factor."""
    factor, _ = cho_factor(matrix, lower=True)
    lower, _ = lapack.dpotri(factor, lower=1)
    inverse: FloatArray = np.tril(lower) + np.tril(lower, -1).T
    return inverse


def _unstructured(kernels: Mapping[str, FloatArray]) -> dict[str, FloatArray]:
    """The kernels, but only the diagonals of those of OPAQUE: what these explain then counts as noise."""
    return {name: np.diag(np.diag(kernel)) if name in OPAQUE else kernel for name, kernel in kernels.items()}
