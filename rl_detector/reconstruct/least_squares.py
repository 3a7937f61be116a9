"""Weighted least-squares regression that judges no event by a fit that saw it, for many designs at once."""

from __future__ import annotations

import numpy as np

from rl_detector.space import FloatArray


def shower_features(signals: FloatArray) -> FloatArray:
    """Features of calorimeter signals s_i that scale with energy, so that one fit serves all energies.

    1, s_i, sqrt(s_i) and s_i s_j / sum(s) for i < j: the ratios let the fit weight layers by the shape of the shower,
    which tells electromagnetic from hadronic ones (software compensation); the roots straighten the response near 0.

    Args:
        signals: [designs, events, layers], GeV, >= 0.

    Returns:
        [designs, events, features].
    """
    total = signals.sum(axis=2, keepdims=True)
    first, second = np.triu_indices(signals.shape[2], 1)
    products = signals[..., first] * signals[..., second] / np.maximum(total, 1e-12)
    return np.concatenate([np.ones_like(total), signals, np.sqrt(signals), products], axis=2)


def cross_fit(
    features: FloatArray, target: FloatArray, weights: FloatArray, folds: int = 5, ridge: float = 1e-4
) -> FloatArray:
    """Predictions of a ridge regression, each event's by a fit to the other folds.

    Minimises sum_i w_i ((y_i - f_i . c)^2 + ridge |f_i * c|^2) over the training folds in closed form: the ridge is
    relative to the mean square of each feature and has no unit. Event i is in fold i mod K.

    Args:
        features: [designs, events, features].
        target, weights: [designs, events].
        folds: number of folds K, 2 <= K <= events.
        ridge: strength relative to the mean square of a feature.

    Returns:
        Predictions, [designs, events].
    """
    designs, events, size = features.shape
    rows = -(-events // folds)
    padded = np.zeros((designs, rows * folds, size))
    padded[:, :events] = features
    y, w = np.zeros((2, designs, rows * folds))
    y[:, :events], w[:, :events] = target, weights
    by_fold = np.ascontiguousarray(padded.reshape(designs, rows, folds, size).transpose(0, 2, 1, 3))
    y, w = (np.ascontiguousarray(a.reshape(designs, rows, folds).transpose(0, 2, 1)) for a in (y, w))
    weighted = by_fold * w[..., None]
    gram = weighted.transpose(0, 1, 3, 2) @ by_fold
    moment = (weighted.transpose(0, 1, 3, 2) @ y[..., None])[..., 0]
    gram, moment = gram.sum(axis=1, keepdims=True) - gram, moment.sum(axis=1, keepdims=True) - moment
    coefficients = _solve_ridge(gram, moment, ridge)
    predictions = (by_fold @ coefficients[..., None])[..., 0]
    return predictions.transpose(0, 2, 1).reshape(designs, rows * folds)[:, :events]


def _solve_ridge(gram: FloatArray, moment: FloatArray, ridge: float) -> FloatArray:
    """Solve (G + ridge * diag(G)) c = m after scaling G to unit diagonal; unused features (G_ii = 0) get c_i = 0."""
    scale = np.sqrt(np.einsum("...ii->...i", gram))
    inverse = np.where(scale > 0, 1 / np.where(scale > 0, scale, 1.0), 0.0)
    scaled = gram * inverse[..., :, None] * inverse[..., None, :]
    scaled += np.eye(gram.shape[-1]) * np.where(scale > 0, ridge, 1.0)[..., None]
    solution = np.linalg.solve(scaled, (moment * inverse)[..., None])[..., 0]
    return np.asarray(solution * inverse, dtype=np.float64)
