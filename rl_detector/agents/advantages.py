"""Advantages: the difference between the reward of a proposal and the expected one.

They are pure functions of rewards, and constants for the gradient. Failed proposals are left out before. The estimate
of the gradient of E[R] is mean_i A_i grad log pi(a_i).
"""

from __future__ import annotations

import numpy as np

from rl_detector.agent import Batch
from rl_detector.errors import SimulationError
from rl_detector.space import FloatArray, IntArray


def finite_rewards(batch: Batch) -> FloatArray:
    """The rewards of a batch, [designs].

    Raises:
        SimulationError: a reward is NaN or infinite, or the number of rewards is not the number of designs.
    """
    rewards = np.asarray(batch.rewards, dtype=np.float64)
    if rewards.shape != (len(batch.actions.continuous),):
        raise SimulationError(f"expected {len(batch.actions.continuous)} rewards, got an array {rewards.shape}")
    bad = np.flatnonzero(~np.isfinite(rewards))
    if bad.size:
        raise SimulationError(
            f"the reward of design {bad[0]} of the batch is {rewards[bad[0]]}, expected a finite number: "
            "leave failed evaluations out of the batch"
        )
    return rewards


def mean_baseline(rewards: FloatArray) -> FloatArray:
    """A_i = R_i - mean(R), [designs].

    Biased: each reward is part of its own baseline, so mean_i A_i grad log pi(a_i) has the expectation
    (1 - 1/n) grad E[R]. The direction is right, the length is not. A single design gives 0.
    """
    if not len(rewards):
        return rewards
    shifted = rewards - rewards[0]  # equal rewards then give exactly 0, not a rounding error
    advantages: FloatArray = shifted - shifted.mean()
    return advantages


def leave_one_out(rewards: FloatArray) -> FloatArray:
    """A_i = R_i - mean of the other rewards = (R_i - mean(R)) n / (n - 1), [designs]; 0 for a single design.

    Unbiased: the baseline of a design does not depend on its action (Kool, van Hoof, Welling 2019, eq. 8).
    """
    n = len(rewards)
    return mean_baseline(rewards) * (n / (n - 1)) if n > 1 else np.zeros(n)


def normalised(advantages: FloatArray) -> FloatArray:
    """A_i / sqrt(mean(A^2)), [designs]; zeros stay zeros.

    Biased: the scale depends on the sampled rewards, so the length of the gradient loses its meaning. Its direction
    keeps it for large n. In exchange the step does not depend on the unit of the reward.
    """
    scale = float(np.sqrt(np.mean(advantages**2))) if len(advantages) else 0.0
    return advantages / scale if scale > 0 else np.zeros_like(advantages)


def cross_fitted(features: FloatArray, rewards: FloatArray, folds: IntArray, ridge: float = 1e-3) -> FloatArray:
    """Predicted rewards V_-i(a_i) of a ridge regression that was fitted on the other folds, [designs].

    No prediction knows the reward that it predicts. As a baseline it is unbiased if designs of different folds are
    independent given the policy. With a single fold all predictions are 0.

    Args:
        features: of the designs, [designs, features]; a column of ones is not shrunk.
        rewards: of the designs, [designs].
        folds: index of the fold of each design, [designs].
        ridge: penalty in units of the variance of each feature.
    """
    predictions = np.zeros(len(rewards))
    for fold in np.unique(folds):
        own = folds == fold
        predictions[own] = features[own] @ _ridge(features[~own], rewards[~own], ridge)
    return predictions


def _ridge(features: FloatArray, targets: FloatArray, penalty: float) -> FloatArray:
    if not len(targets):
        return np.zeros(features.shape[1])
    square = features.T @ features / len(targets) + penalty * np.diag(features.var(axis=0))
    return np.asarray(np.linalg.lstsq(square, features.T @ targets / len(targets))[0], dtype=np.float64)
