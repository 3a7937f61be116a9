"""One reconstruction for all designs: a regression whose coefficients vary smoothly with the design."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from rl_detector.reconstruct.bayesian_ridge import fit_ridge
from rl_detector.space import FloatArray, IntArray

KERNEL_LENGTH = 0.8
"""Distance over which coefficients change, times the root of the number of design coordinates. From 0.4 to 1.2 the
predictions of the calorimeter are equally good."""

LANDMARKS = 300
"""Designs, evenly spread over the study, among which the directions of the basis are found."""


@dataclass(frozen=True)
class Sample:
    """Events of many designs.

    Attributes:
        features: what a linear fit may use of each event, the constant among it, of order 1, [events, features].
        target: what is to be reconstructed, [events].
        weights: of the squared residuals, [events], > 0.
        designs: row of `coordinates` that each event belongs to, [events].
        coordinates: where each design is, [designs, coordinates], each of order 1.
        numbers: of the designs, counted through the whole study, [designs]; they choose folds.
    """

    features: FloatArray
    target: FloatArray
    weights: FloatArray
    designs: IntArray
    coordinates: FloatArray
    numbers: IntArray


class Reconstruction(Protocol):
    """Learns from all events and predicts each of them without the events of its own design."""

    def predict(self, sample: Sample) -> FloatArray:
        """Predictions of the target, [events]; no event is predicted by a fit that saw its design."""
        ...

    def state_dict(self) -> dict[str, Any]:
        """What the next call builds on: tensors and plain values."""
        ...

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from a state_dict."""
        ...


@dataclass(frozen=True)
class KernelReconstruction:
    """y = sum_k f_k (c_k + d_k(x)) with design x, c_k ~ N(0, tau_0) and d_k(x) a Gaussian process over designs.

    Close designs have alike coefficients, and a design far from all others has the common ones: the shared fit is the
    prior of every design's own. The process has the covariance tau_1 exp(-|x - x'|^2 / (2 l^2)) in a basis of `rank`
    functions. The variances maximise the evidence at every call, so nothing is carried from one call to the next.

    Attributes:
        rank: functions in the basis; time grows with events * (features * rank)^2.
    """

    rank: int = 60

    def predict(self, sample: Sample) -> FloatArray:
        """Leave-one-design-out predictions, [events], in closed form."""
        basis = kernel_basis(sample.coordinates, self.rank)[sample.designs]
        plain = sample.features
        varying = (plain[:, :, None] * basis[:, None, :]).reshape(len(plain), -1)
        features, weights = np.concatenate([plain, varying], axis=1), sample.weights / sample.weights.mean()
        fit = fit_ridge(features, sample.target, weights, (plain.shape[1], varying.shape[1]))
        return fit.without_group(features, sample.target, weights, sample.designs)

    def state_dict(self) -> dict[str, Any]:
        """Nothing."""
        return {}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Nothing."""


def kernel_basis(coordinates: FloatArray, rank: int) -> FloatArray:
    """B with B B^T close to the kernel of all pairs of designs, [designs, at most rank].

    Nystroem's method on the largest eigenvectors of the kernel of the landmarks (Williams and Seeger, NIPS 13 (2001)
    682): unlike the farthest designs these directions follow where the designs are.
    """
    count, size = coordinates.shape
    chosen = np.unique(np.linspace(0, count - 1, min(count, LANDMARKS)).astype(int))
    landmarks, length = coordinates[chosen], KERNEL_LENGTH * np.sqrt(max(size, 1))
    values, vectors = np.linalg.eigh(_kernel(landmarks, landmarks, length))
    kept = values > 1e-6 * values[-1]
    kept[: max(len(values) - rank, 0)] = False
    basis: FloatArray = _kernel(coordinates, landmarks, length) @ (vectors[:, kept] / np.sqrt(values[kept]))
    return basis


def _kernel(first: FloatArray, second: FloatArray, length: float) -> FloatArray:
    """exp(-|x - x'|^2 / (2 length^2)), [first, second]."""
    squares = (first**2).sum(axis=1)[:, None] + (second**2).sum(axis=1) - 2 * first @ second.T
    kernel: FloatArray = np.exp(-np.maximum(squares, 0) / (2 * length**2))
    return kernel
