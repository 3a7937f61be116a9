"""Weighted least-squares regression of many designs at once; no event is predicted by a fit that saw it."""

from __future__ import annotations

import numpy as np

from rl_detector.space import FloatArray

RIDGE = 3.0
"""Penalty of the regression, in events. With hardly any penalty a layer that few of 200 events reach can get a wild
weight and make the reach far noisier. A larger penalty hides how good the best calorimeters are at 200 events.
A smaller one makes blocks of PbWO4 too good at 25 events. `experiments/error_bars` measures both.
"""

_JITTER = 1e-10
"""Relative penalty that keeps features which are copies of each other solvable."""


def shower_features(signals: FloatArray) -> FloatArray:
    """Features of calorimeter signals: 1, s_i, sqrt(s_i) and sqrt(sum of s).

    The roots straighten the response where little is seen, and weight a layer down where much of a shower is in it.
    This simple software compensation halves the metric of a linear fit where materials are mixed. Pairs of layers gain
    2 % at most, cost more below 1,000 events, and their number grows with the square of the layers.

    Args:
        signals: [designs, events, layers], GeV, >= 0.

    Returns:
        [designs, events, features].
    """
    total = signals.sum(axis=2, keepdims=True)
    return np.concatenate([np.ones_like(total), signals, np.sqrt(signals), np.sqrt(total)], axis=2)


def leave_one_out(
    features: FloatArray, target: FloatArray, weights: FloatArray, ridge: float = RIDGE, free: int = 0
) -> FloatArray:
    """Predictions of a ridge regression, each event's by a fit to all the other events, see `fit`."""
    return fit(features, target, weights, ridge, free)[1]


def fit(
    features: FloatArray, target: FloatArray, weights: FloatArray, ridge: float = RIDGE, free: int = 0
) -> tuple[FloatArray, FloatArray]:
    """Predictions of a ridge regression: by the fit to all events, and each event's by a fit to all the other events.

    The fit minimises sum_i w_i (y_i - f_i . c)^2 + ridge * mean(w) * sum_k Var(f_k) c_k^2. The penalty is that of
    `ridge` events, has no unit, and leaves a constant feature free. Leaving out event i changes its residual e_i to e_i
    / (1 - h_i) with the leverage h_i = w_i f_i . A^-1 f_i, so one fit gives all n (Allen, Technometrics 16 (1974) 125;
    Hastie, Tibshirani, Friedman, The Elements of Statistical Learning, eq. 7.64). The penalty stays that of all
    events: it depends on features, never on targets.

    Args:
        features: [designs, events, features].
        target: [designs, events].
        weights: [designs, events], > 0.
        ridge: penalty in events, >= 0.
        free: number of last features without penalty.

    Returns:
        Both predictions, [designs, events] each.
    """
    penalties = np.repeat([ridge, 0.0], [features.shape[2] - free, free])
    inverse, moment = _normal_equations(features, target, weights, penalties)
    pulled = features @ inverse
    fitted: FloatArray = (pulled @ moment[..., None])[..., 0]
    leverage = weights * (pulled * features).sum(axis=2)
    left_out: FloatArray = target - (target - fitted) / (1 - leverage)
    return fitted, left_out


def _normal_equations(
    features: FloatArray, target: FloatArray, weights: FloatArray, penalties: FloatArray
) -> tuple[FloatArray, FloatArray]:
    """A^-1 [designs, features, features] and sum w y f [designs, features]; unused features get c = 0.

    The penalty of each feature in events, [features].
    """
    weighted = (features * weights[..., None]).transpose(0, 2, 1)
    gram, moment = weighted @ features, (weighted @ target[..., None])[..., 0]
    squares = np.einsum("dkk->dk", gram)
    sums = weights.sum(axis=1)[:, None]
    spread = np.maximum(squares - (weights[:, None] @ features)[:, 0] ** 2 / sums, 0)
    used = squares > 0
    scale = np.where(used, 1 / np.sqrt(np.where(used, squares, 1)), 0)
    both = scale[:, :, None] * scale[:, None, :]
    penalty = np.where(used, penalties / target.shape[1] * spread * scale**2 + _JITTER, 1)
    inverse = np.linalg.inv(gram * both + penalty[..., None] * np.eye(squares.shape[1]))
    return inverse * both, moment
