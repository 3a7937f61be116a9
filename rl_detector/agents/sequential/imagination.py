"""Draws from a Gaussian process over whole designs, which tell which imagined designs to simulate."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy.linalg import cho_factor, cho_solve  # type: ignore[import-untyped]

from rl_detector.agents.sequential.compatible import CompatibleCritic
from rl_detector.agents.sequential.sequences import Run, Sequences
from rl_detector.space import Encoding, FloatArray, IntArray

KERNELS = ("sums", "linear", "whole", "slopes")
"""Kernels of the process."""


class Imagination:
    """reward(design) = process(sums over components) + process(all components) + linear in both + batch + noise.

    Budgets are functions of sums: the number of components, of each option, and the sum of each coordinate. Length
    scales are the typical distances of the evaluated designs. The evidence chooses the strengths.

    Attributes:
        critic: holds the strengths.
    """

    def __init__(self, sequences: Sequences) -> None:
        self._sequences = sequences
        self.critic = CompatibleCritic.initial(KERNELS)

    def draws(
        self, told: Encoding, y: FloatArray, batch: IntArray, candidates: Encoding, n: int, rng: np.random.Generator
    ) -> FloatArray:
        """Draw the standardised rewards of the candidates n times from the posterior, [n, candidates].

        Args:
            told: evaluated designs.
            y: their standardised rewards, [designs].
            batch: index of the batch of each, [designs].
            candidates: designs to compare.
            n: number of draws.
            rng: random numbers.
        """
        both = Encoding(*(np.concatenate(pair) for pair in zip(told, candidates, strict=True)))
        kernels, size = self._kernels(both, len(y)), len(y)
        known = {name: kernel[:size, :size] for name, kernel in kernels.items()}
        known["batch"] = (batch[:, None] == batch).astype(np.float64)
        alpha = self.critic.fit(known, y, np.ones(size), steps=1)
        v = self.critic.strengths
        total = np.add.reduce([v[name] * kernel for name, kernel in kernels.items()])
        covariance = total[:size, :size] + v["batch"] * known["batch"] + np.diag(np.full(size, v["noise"] + 1e-8))
        cross = total[size:, :size]
        posterior = total[size:, size:] - cross @ cho_solve(cho_factor(covariance, lower=True), cross.T)
        root = np.linalg.cholesky(posterior + 1e-6 * np.eye(len(posterior)))
        result: FloatArray = cross @ alpha + rng.standard_normal((n, len(root))) @ root.T
        return result

    def _kernels(self, designs: Encoding, known: int) -> dict[str, FloatArray]:
        """Covariances of designs with the typical variance 1; the first `known` designs set the length scales."""
        runs = self._sequences.runs(designs)
        sums, whole = _standardised(_sums(runs), known), _whole(runs)
        slopes = _standardised(whole, known)
        linear = {name: x @ x.T / max(x.shape[1], 1) for name, x in (("linear", sums), ("slopes", slopes))}
        return {**linear, "sums": _similarity(sums, known), "whole": _similarity(whole, known)}


def _sums(runs: Sequence[Run]) -> FloatArray:
    """Counts of components and of every option, sums and sums of squares of every coordinate, [n, features]."""
    parts = []
    for run in runs:
        coordinates, exists = run.coordinates.clamp(-1, 1), run.exists[..., None]
        each = (exists, run.chosen, coordinates, coordinates**2)
        parts += [(x * exists).sum(dim=1).numpy() for x in each]
    result: FloatArray = np.concatenate(parts, axis=1)
    return result


def _whole(runs: Sequence[Run]) -> FloatArray:
    """All coordinates and choices, [n, features]."""
    parts = [x.flatten(1).numpy() for run in runs for x in (run.coordinates.clamp(-1, 1), run.chosen, run.exists)]
    result: FloatArray = np.concatenate(parts, axis=1)
    return result


def _standardised(features: FloatArray, known: int) -> FloatArray:
    """Features that vary, with mean 0 and variance 1 over the first `known` designs."""
    spread = features[:known].std(axis=0)
    varies = spread > 1e-9
    result: FloatArray = (features[:, varies] - features[:known, varies].mean(axis=0)) / spread[varies]
    return result


def _similarity(features: FloatArray, known: int) -> FloatArray:
    """exp(-d^2 / (2 mean d^2)) with the mean over pairs of the first `known` designs, [n, n]."""
    squares = (features**2).sum(axis=1)
    distances = np.maximum(squares[:, None] + squares - 2 * features @ features.T, 0)
    typical = distances[:known, :known].mean()
    result: FloatArray = np.exp(-distances / (2 * max(typical, 1e-12)))
    return result
