"""Ridge regression that learns its penalties; no group of events is predicted by a fit that saw it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from rl_detector.space import FloatArray, IntArray

ROUNDS = 8
"""Fixed-point updates of the variances; the predictions change by less than 1 % of a residual after six."""

_LARGEST, _SMALLEST = 1e6, 1e-8
"""Bounds of the prior variances, relative to the variance of the target."""


@dataclass(frozen=True)
class RidgeFit:
    """y_i = phi_i . c + e_i with c_k ~ N(0, tau of its block) and e_i ~ N(0, sigma^2 / w_i).

    Attributes:
        mean, covariance: posterior of the coefficients, [features] and [features, features].
        noise: sigma^2.
        variances: tau per block.
    """

    mean: FloatArray
    covariance: FloatArray
    noise: float
    variances: FloatArray

    def predict(self, features: FloatArray) -> FloatArray:
        """Predictions, [events], for features [events, features]."""
        predictions: FloatArray = features @ self.mean
        return predictions

    def without_group(
        self, features: FloatArray, target: FloatArray, weights: FloatArray, groups: IntArray
    ) -> FloatArray:
        """Prediction of each training event by the fit to all events of the other groups, in closed form.

        With the smoother H = W^1/2 Phi Sigma Phi^T W^1/2 / sigma^2, leaving out group g turns its residuals r_g into (1
        - H_gg)^-1 r_g. This is the block form of the leave-one-out formula (Hastie, Tibshirani, Friedman, The Elements
        of Statistical Learning, eq. 7.64). The two or three variances stay those of all events.

        Args:
            features, target, weights: the arguments of the fit.
            groups: [events]; events with equal values form a group and need not be neighbours.
        """
        root = np.sqrt(weights)
        scaled = features * root[:, None]
        residuals = root * (target - features @ self.mean)
        pulled = scaled @ self.covariance / self.noise
        left_out = np.empty_like(residuals)
        for index in members(groups):
            own = np.eye(len(index)) - pulled[index] @ scaled[index].T
            left_out[index] = np.linalg.solve(own, residuals[index])
        predictions: FloatArray = target - left_out / root
        return predictions


def members(groups: IntArray) -> list[IntArray]:
    """Positions of the events of each group, groups in ascending order."""
    order = np.argsort(groups, kind="stable")
    return np.split(order, np.flatnonzero(np.diff(groups[order])) + 1)


def fit_ridge(features: FloatArray, target: FloatArray, weights: FloatArray, blocks: Sequence[int]) -> RidgeFit:
    """Fit by maximising the evidence over sigma^2 and one prior variance per block of features.

    Fixed point of MacKay (Bayesian interpolation, Neural Computation 4 (1992) 415): with the effective number of
    parameters gamma_b = p_b - tr(Sigma_bb) / tau_b: tau_b = |c_b|^2 / gamma_b, sigma^2 = sum w r^2 / (n - sum gamma).

    Args:
        features: [events, features], columns of comparable size.
        target: [events].
        weights: [events], > 0, of mean about 1.
        blocks: sizes of the blocks of columns, summing to the number of features.
    """
    scaled = features * weights[:, None]
    gram, moment = scaled.T @ features, scaled.T @ target
    square, events = float((weights * target**2).sum()), len(target)
    size = max(square / events, 1e-12)
    edges = np.cumsum([0, *blocks])
    slices = [slice(first, last) for first, last in pairwise(edges.tolist())]
    variances, noise = np.full(len(slices), size), 0.1 * size
    for _ in range(ROUNDS):
        mean, covariance = _posterior(gram, moment, np.repeat(variances, blocks), noise)
        spread = np.diagonal(covariance)
        shrunk = np.array([spread[s].sum() for s in slices]) / variances
        effective = np.maximum(np.array(blocks) - shrunk, 1e-6)
        misfit = max(square - 2 * mean @ moment + mean @ gram @ mean, 1e-9 * square)
        variances = np.array([(mean[s] ** 2).sum() for s in slices]) / effective
        variances = np.clip(variances, _SMALLEST * size, _LARGEST * size)
        noise = float(misfit / max(events - effective.sum(), 0.1 * events))
    mean, covariance = _posterior(gram, moment, np.repeat(variances, blocks), noise)
    return RidgeFit(mean, covariance, noise, variances)


def _posterior(
    gram: FloatArray, moment: FloatArray, variances: FloatArray, noise: float
) -> tuple[FloatArray, FloatArray]:
    """Mean and covariance of the coefficients, scaled so that the matrix to invert has unit prior."""
    root = np.sqrt(variances)
    matrix = gram * (root[:, None] * root) / noise
    matrix[np.diag_indices_from(matrix)] += 1
    covariance = np.linalg.inv(matrix) * (root[:, None] * root)
    return covariance @ moment / noise, covariance
