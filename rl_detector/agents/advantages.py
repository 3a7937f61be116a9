"""Advantages of one-shot episodes: how much better a proposal did than the others of its batch.

Pure functions of rewards [designs]; they are constants for the gradient. Failed proposals never get here.
"""

from __future__ import annotations

import numpy as np

from rl_detector.agent import Batch
from rl_detector.errors import SimulationError
from rl_detector.space import FloatArray


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
    (1 - 1/n) grad E[R]: the right direction, shorter. One single design gives 0: nothing to compare with.
    """
    if not len(rewards):
        return rewards
    shifted = rewards - rewards[0]  # so that equal rewards give exactly 0, not a rounding error to be normalised
    advantages: FloatArray = shifted - shifted.mean()
    return advantages


def leave_one_out(rewards: FloatArray) -> FloatArray:
    """A_i = R_i - mean of the other rewards = (R_i - mean(R)) n / (n - 1), [designs]; 0 for one single design.

    Unbiased: the baseline of a design does not depend on its action (Kool, van Hoof, Welling 2019, eq. 8).
    """
    n = len(rewards)
    return mean_baseline(rewards) * (n / (n - 1)) if n > 1 else np.zeros(n)


def normalised(advantages: FloatArray) -> FloatArray:
    """A_i / sqrt(mean(A^2)), [designs]; zeros stay zeros.

    Biased: the scale depends on the sampled rewards, so the length of the gradient loses its meaning (not its
    direction, for large n). In exchange the step does not depend on the unit of the reward.
    """
    scale = float(np.sqrt(np.mean(advantages**2))) if len(advantages) else 0.0
    return advantages / scale if scale > 0 else np.zeros_like(advantages)
