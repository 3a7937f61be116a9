"""Advantages against closed forms, with their stated bias."""

from __future__ import annotations

import numpy as np
import pytest

from rl_detector.agent import Batch
from rl_detector.agents.advantages import cross_fitted, finite_rewards, leave_one_out, mean_baseline, normalised
from rl_detector.errors import SimulationError
from rl_detector.space import Encoding, FloatArray

REWARDS = np.array([1.0, 2.0, 6.0])


def test_closed_forms() -> None:
    np.testing.assert_allclose(mean_baseline(REWARDS), [-2, -1, 3])
    np.testing.assert_allclose(leave_one_out(REWARDS), [1 - 4, 2 - 3.5, 6 - 1.5])
    np.testing.assert_allclose(normalised(np.array([3.0, -4.0])), np.array([3, -4]) / np.sqrt(12.5))


def test_normalised_advantages_have_no_unit() -> None:
    first, second = (normalised(mean_baseline(scale * REWARDS + 7)) for scale in (1.0, 1e6))
    np.testing.assert_allclose(first, second, rtol=1e-9)
    np.testing.assert_allclose(np.mean(first**2), 1)


@pytest.mark.parametrize("function", [mean_baseline, leave_one_out, normalised])
def test_nothing_to_compare_is_zero(function: object) -> None:
    assert callable(function)
    for rewards in (np.zeros(0), np.zeros(4)):
        np.testing.assert_array_equal(function(rewards), rewards)
    for n in (1, 3, 7):
        np.testing.assert_array_equal(normalised(mean_baseline(np.full(n, 0.1))), np.zeros(n))
        np.testing.assert_array_equal(leave_one_out(np.full(n, 0.1)), np.zeros(n))


def gradient_estimates(advantage: object, n: int, batches: int) -> FloatArray:
    """mean_i A_i d log N(a_i; mu, 1) / d mu at mu = 0 for R = 3 a + 10, where d E[R] / d mu = 3."""
    assert callable(advantage)
    a = np.random.default_rng(1).standard_normal((batches, n))
    return np.array([np.mean(advantage(3 * row + 10) * row) for row in a])


@pytest.mark.parametrize(("advantage", "share"), [(leave_one_out, 1.0), (mean_baseline, 0.75)])
def test_bias_is_as_stated(advantage: object, share: float) -> None:
    """20000 batches of 4 designs, within 5 standard errors; mean_baseline is short by 1 - 1/4."""
    estimates = gradient_estimates(advantage, 4, 20000)
    error = estimates.std() / np.sqrt(len(estimates))
    assert abs(estimates.mean() - 3 * share) < 5 * error < 0.15


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_a_reward_that_is_no_number_is_refused(bad: float) -> None:
    actions = Encoding(np.zeros((2, 1)), np.zeros((2, 0), dtype=np.int64))
    with pytest.raises(SimulationError, match=rf"design 1 of the batch is {bad}"):
        finite_rewards(Batch(actions, np.array([0.0, bad]), np.ones(2)))
    with pytest.raises(SimulationError, match=r"expected 2 rewards, got an array \(3,\)"):
        finite_rewards(Batch(actions, np.zeros(3), np.ones(3)))


def test_cross_fitting_never_sees_the_own_fold() -> None:
    rng = np.random.default_rng(10)
    features, rewards, folds = np.column_stack([np.ones(9), rng.normal(size=9)]), rng.normal(size=9), np.arange(9) % 3
    before = cross_fitted(features, rewards, folds)
    after = cross_fitted(features, rewards + 5.0 * (folds == 1), folds)
    np.testing.assert_array_equal(before[folds == 1], after[folds == 1])
    assert np.all(before[folds != 1] != after[folds != 1])
    line = cross_fitted(features, features @ np.array([2.0, 3.0]), folds, ridge=0.0)
    np.testing.assert_allclose(line, features @ [2, 3])
    np.testing.assert_array_equal(cross_fitted(features, rewards, np.zeros(9, int)), 0)
    assert cross_fitted(features[:0], rewards[:0], folds[:0]).shape == (0,)
