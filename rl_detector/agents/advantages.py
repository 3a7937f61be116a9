"""Advantages: how much better a proposal did than was to be expected.

Pure functions of rewards; their results are constants for the gradient. Failed proposals never get here. The gradient
of E[R] is estimated by mean_i A_i grad log pi(a_i) for `mean_baseline`, `leave_one_out`, `normalised` and `CrossFit`,
and by the sum over i for the weights of the batch, `rank_utilities` and `exponentiated`.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from rl_detector.agent import Batch
from rl_detector.errors import ConfigError, SimulationError
from rl_detector.space import FloatArray, IntArray

BoolArray = NDArray[np.bool_]


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


def rank_utilities(rewards: FloatArray) -> FloatArray:
    """u_i = max(0, ln(n/2 + 1) - ln k_i) / sum of those - 1/n, k_i = 1 for the largest reward; ties share, [designs].

    The fitness shaping of natural evolution strategies (Wierstra et al. 2014, sec. 3.1); the u sum to 0. Not an
    estimate of grad E[R]: sum_i u_i grad log pi(a_i) ascends the quantiles of the reward, and does not change when
    the rewards go through any increasing function. For a reward linear in a ~ N(mu, 1) its expectation by mu is
    +-sum_k u_k E[z_k] with the normal order statistics z_1 >= z_2 >= ..., whatever the slope.
    """
    n = len(rewards)
    if not n or np.all(rewards == rewards[0]):
        return np.zeros(n)
    raw = np.maximum(0.0, math.log(n / 2 + 1) - np.log(np.arange(1, n + 1)))
    _, group, sizes = np.unique(-rewards, return_inverse=True, return_counts=True)
    shared = np.bincount(np.repeat(np.arange(len(sizes)), sizes), raw / raw.sum()) / sizes
    utilities: FloatArray = shared[group] - 1 / n
    return utilities


def exponentiated(rewards: FloatArray, beta: float) -> FloatArray:
    """A_i = softmax(R / beta)_i, positive with sum 1, [designs]; the weights of a weighted maximum-likelihood fit.

    sum_i A_i grad log pi(a_i) is a consistent estimate of grad ln E[exp(R / beta)], with a bias of order 1/n: it
    seeks risk. For beta far above the spread of R it is (1 - 1/n) grad E[R] / beta, the direction of `mean_baseline`.
    beta = inf gives equal weights, beta = 0 shares all weight among the best (REPS: Peters, Muelling, Altun 2010,
    eq. 10; AWR: Peng et al. 2019, eq. 9).

    Raises:
        ConfigError: beta is negative or NaN.
    """
    if not beta >= 0:
        raise ConfigError(f"the temperature of exponentiated advantages must be >= 0, got {beta}")
    if not len(rewards):
        return rewards
    below = rewards - rewards.max()
    weights = np.exp(below / beta) if beta > 0 else (below == 0).astype(np.float64)
    share: FloatArray = weights / weights.sum()
    return share


def temperature_of_size(rewards: FloatArray, effective_size: float) -> float:
    """The beta at which 1 / sum_i A_i^2 = effective_size: so many designs seem to carry the weights.

    0 where that many designs share the largest reward; inf where effective_size is at least the number of designs.
    """
    return _temperature(rewards, lambda weights: 1 / float(np.sum(weights**2)), effective_size, len(rewards))


def temperature_of_kl(rewards: FloatArray, kl: float) -> float:
    """The beta at which the weights are `kl` nats from equal ones, sum_i A_i ln(n A_i) = kl: the bound of REPS.

    It minimises the dual beta kl + beta ln mean_i exp(R_i / beta) (Peters, Muelling, Altun 2010, eq. 9). 0 where even
    all weight on the best is closer; inf for kl <= 0.
    """
    size = len(rewards) * math.exp(-max(kl, 0.0))
    return _temperature(rewards, lambda weights: math.exp(_entropy(weights)), size, len(rewards))


def _entropy(weights: FloatArray) -> float:
    positive = weights[weights > 0]
    return -float(np.sum(positive * np.log(positive)))


def _temperature(rewards: FloatArray, size: Callable[[FloatArray], float], goal: float, n: int) -> float:
    """Bisection of ln beta for an increasing size(weights) = goal, to 1e-12."""
    spread = float(np.ptp(rewards)) if n else 0.0
    if goal >= n or spread == 0:
        return math.inf
    if size(exponentiated(rewards, 0.0)) >= goal:
        return 0.0
    low, high = math.log(spread) - 50, math.log(spread) + 25
    while high - low > 1e-12 * (1 + abs(low)):
        middle = (low + high) / 2
        low, high = (middle, high) if size(exponentiated(rewards, math.exp(middle))) < goal else (low, middle)
    return math.exp(high)


def generalised(
    rewards: FloatArray,
    values: FloatArray,
    next_values: FloatArray,
    terminated: BoolArray,
    truncated: BoolArray,
    gamma: float = 1.0,
    decay: float = 0.95,
) -> FloatArray:
    """Generalised advantage estimation (Schulman et al. 2016, eq. 16), [steps, episodes].

    delta_t = r_t + gamma V(s_t+1) - V(s_t) and A_t = delta_t + gamma decay A_t+1. After a terminated step nothing
    comes: V(s_t+1) counts as 0. A truncated step is cut off though rewards would follow: V(s_t+1) stands for them. The
    sum ends at both. Unbiased for decay = 1 without truncation whatever V is, and for every decay with the true V;
    else biased by the error of V.

    Args:
        rewards, values: r_t and V(s_t), [steps, episodes].
        next_values: V(s_t+1), [steps, episodes]; where a step is the last of its episode: V of the observation with
            which it ended, not of the first one of the next episode.
        terminated, truncated: how the step ended, [steps, episodes].
        gamma: discount per step.
        decay: lambda of the paper: 0 trusts V after one step, 1 uses V as baseline only.
    """
    parts = (rewards, values, next_values, terminated, truncated)
    if len({np.shape(part) for part in parts}) != 1 or np.ndim(rewards) != 2:
        raise ConfigError(f"expected five arrays [steps, episodes], got {[np.shape(part) for part in parts]}")
    delta = rewards + gamma * np.where(terminated, 0.0, next_values) - values
    advantages, later = np.zeros_like(delta), np.zeros(delta.shape[1])
    for t in reversed(range(len(delta))):
        later = delta[t] + gamma * decay * np.where(terminated[t] | truncated[t], 0.0, later)
        advantages[t] = later
    return advantages


class CrossFit(NamedTuple):
    """A critic V(a) = features(a) @ coefficients, of which each part never saw the rewards that it predicts.

    A control variate: mean_i (R_i - V_-i(a_i)) grad log pi(a_i) + grad (E_pi[features] @ coefficients) is an unbiased
    estimate of grad E[R], however wrong V is, and the better V the smaller its variance.

    Attributes:
        predictions: V_-i(a_i) by the critic of the other folds, [designs].
        coefficients: mean of the critics' coefficients, each weighted by the designs that it predicts, [features].
    """

    predictions: FloatArray
    coefficients: FloatArray


def cross_fitted(features: FloatArray, rewards: FloatArray, folds: IntArray, ridge: float = 1e-3) -> CrossFit:
    """Ridge regressions of rewards [designs] on features [designs, features], one for each fold on all other folds.

    Unbiased as a control variate when designs of different folds are independent given the policy. With one fold only
    nothing is predicted: zeros.

    Args:
        features: one column of ones among them, which is not shrunk.
        folds: number of the fold of each design, [designs].
        ridge: penalty in units of the variance of each feature.
    """
    predictions, coefficients = np.zeros(len(rewards)), np.zeros(features.shape[1])
    for fold in np.unique(folds):
        own = folds == fold
        critic = _ridge(features[~own], rewards[~own], ridge)
        predictions[own] = features[own] @ critic
        coefficients += critic * own.mean()
    return CrossFit(predictions, coefficients)


def _ridge(features: FloatArray, targets: FloatArray, penalty: float) -> FloatArray:
    if not len(targets):
        return np.zeros(features.shape[1])
    square = features.T @ features / len(targets) + penalty * np.diag(features.var(axis=0))
    return np.asarray(np.linalg.lstsq(square, features.T @ targets / len(targets))[0], dtype=np.float64)
