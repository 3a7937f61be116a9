"""A critic whose expectation under the policy is known exactly, so that it can serve as control variate.

V(a) = features(a) @ w, quadratic in the continuous part and linear in which choices are made. With `cross_fitted`:

    fit = cross_fitted(quadratic_features(actions, space.choices), rewards, folds)
    objective = ((rewards - fit.predictions) * policy.log_prob(actions)).mean()
              + expected_features(policy) @ fit.coefficients

has the gradient of E[R] as expectation, without the variance that V explains.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from rl_detector.agents.policies import GaussianPolicy
from rl_detector.space import Encoding, FloatArray


def quadratic_features(actions: Encoding, choices: Sequence[int], products: bool = True) -> FloatArray:
    """1, a_i, a_i a_j for i <= j (squares only without `products`), and whether each choice is made, [designs, f]."""
    a = np.asarray(actions.continuous, dtype=np.float64)
    rows, columns = _pairs(a.shape[1], products)
    chosen = [actions.discrete[:, j, None] == np.arange(size) for j, size in enumerate(choices)]
    return np.concatenate([np.ones((len(a), 1)), a, a[:, rows] * a[:, columns], *chosen], axis=1, dtype=np.float64)


def expected_features(policy: GaussianPolicy, products: bool = True) -> torch.Tensor:
    """E_pi of `quadratic_features`, [f], with gradient: 1, mu_i, mu_i mu_j + C_ij and the probabilities."""
    rows, columns = _pairs(len(policy.mu), products)
    second = (policy.mu[:, None] * policy.mu + policy.covariance())[rows, columns]
    probabilities = policy.log_probabilities.exp()[policy.exists]
    return torch.cat([second.new_ones(1), policy.mu, second, probabilities])


def _pairs(c: int, products: bool) -> tuple[list[int], list[int]]:
    pairs = [(i, j) for i in range(c) for j in range(i, c if products else i + 1)]
    return [i for i, _ in pairs], [j for _, j in pairs]
