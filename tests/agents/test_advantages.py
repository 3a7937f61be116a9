"""Advantages against closed forms, with their stated bias."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest
import torch
from scipy import optimize  # type: ignore[import-untyped]

from rl_detector.agent import Batch
from rl_detector.agents.advantages import (
    cross_fitted,
    exponentiated,
    finite_rewards,
    generalised,
    leave_one_out,
    mean_baseline,
    normalised,
    rank_utilities,
    temperature_of_kl,
    temperature_of_size,
)
from rl_detector.agents.control_variates import expected_features, quadratic_features
from rl_detector.agents.covariances import FullPolicy
from rl_detector.agents.policies import GaussianPolicy, Policy
from rl_detector.errors import ConfigError, SimulationError
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


def within(estimates: FloatArray, expected: float | FloatArray, errors: float = 5) -> bool:
    """Whether the mean over the first axis is within so many standard errors of what is expected."""
    error = estimates.std(axis=0) / math.sqrt(len(estimates))
    return bool(np.all(np.abs(estimates.mean(axis=0) - expected) <= errors * error + 1e-12))


def test_rank_utilities_are_those_of_the_paper() -> None:
    """n = 4: ln 3 - ln k is positive for k = 1 and 2 only."""
    first, second = math.log(3), math.log(3) - math.log(2)
    expected = np.array([second, 0, first, 0]) / (first + second) - 0.25
    np.testing.assert_allclose(rank_utilities(np.array([5.0, -3.0, 7.0, 0.0])), expected)
    tied = rank_utilities(np.array([5.0, 5.0, 1.0, 1.0]))
    np.testing.assert_allclose(tied, [0.25, 0.25, -0.25, -0.25])


def test_rank_utilities_see_only_the_order() -> None:
    rewards = np.random.default_rng(0).normal(size=20)
    np.testing.assert_array_equal(rank_utilities(rewards), rank_utilities(np.exp(3 * rewards) - 7))
    assert rank_utilities(rewards).sum() == pytest.approx(0, abs=1e-12)


@pytest.mark.parametrize("slope", [3.0, 0.1, -2.0])
def test_bias_of_rank_utilities_is_as_stated(slope: float) -> None:
    """20000 batches of 4, within 5 standard errors: the normal order statistics of 4 are +-1.02938 and +-0.29701."""
    order = np.array([1.02938, 0.29701, -0.29701, -1.02938])
    expected = float(rank_utilities(-np.arange(4.0)) @ order) * np.sign(slope)
    z = np.random.default_rng(2).standard_normal((20000, 4))
    estimates = np.array([rank_utilities(slope * row + 10) @ row for row in z])
    assert within(estimates, expected)
    assert estimates.std() / math.sqrt(20000) < 0.01


def test_exponentiated_estimates_the_gradient_of_the_risk_seeking_value() -> None:
    """R = 3 a, a ~ N(0, 1), beta = 2: grad ln E exp(R / beta) = 3 / beta; 400 batches of 4000, within 5 errors and
    the bias of order 1/n, here below exp((3 / beta)^2) 3 / beta / n = 0.004."""
    z = np.random.default_rng(3).standard_normal((400, 4000))
    estimates = np.array([exponentiated(3 * row, 2.0) @ row for row in z])
    error = estimates.std() / 20
    assert abs(estimates.mean() - 1.5) < 5 * error + 0.004 < 0.05


def test_exponentiated_with_much_temperature_is_the_mean_baseline() -> None:
    rewards = np.random.default_rng(4).normal(size=9)
    weights = exponentiated(rewards, 1e5)
    np.testing.assert_allclose(weights - 1 / 9, mean_baseline(rewards) / 9 / 1e5, rtol=1e-4)
    assert weights.sum() == pytest.approx(1, rel=1e-14)


def test_temperatures_hold_their_bounds() -> None:
    rewards = 1e3 + 1e-2 * np.random.default_rng(5).normal(size=40)
    weights = exponentiated(rewards, temperature_of_size(rewards, 12.5))
    assert 1 / np.sum(weights**2) == pytest.approx(12.5, rel=1e-6)
    beta = temperature_of_kl(rewards, 0.7)
    weights = exponentiated(rewards, beta)
    assert np.sum(weights * np.log(40 * weights)) == pytest.approx(0.7, rel=1e-6)

    def dual(log_beta: float) -> float:  # REPS, eq. 9
        b = math.exp(log_beta)
        shifted = (rewards - rewards.max()) / b
        return b * (0.7 + math.log(np.mean(np.exp(shifted)))) + rewards.max() - 1e3

    best = optimize.minimize_scalar(dual, bounds=(-12, 0), method="bounded", options={"xatol": 1e-9})
    assert beta == pytest.approx(math.exp(best.x), rel=1e-3)


def test_temperatures_at_their_ends() -> None:
    rewards = np.array([1.0, 2.0, 2.0])
    assert temperature_of_size(rewards, 1.5) == 0 and temperature_of_size(rewards, 3) == math.inf
    np.testing.assert_allclose(exponentiated(rewards, 0.0), [0, 0.5, 0.5])
    np.testing.assert_allclose(exponentiated(rewards, math.inf), 1 / 3)
    assert temperature_of_kl(rewards, 5.0) == 0 and temperature_of_kl(rewards, 0.0) == math.inf
    for bad in (-1.0, math.nan):
        with pytest.raises(ConfigError, match="must be >= 0"):
            exponentiated(rewards, bad)


@pytest.mark.parametrize("n", [0, 1, 3])
def test_equal_rewards_rank_and_weigh_equally(n: int) -> None:
    rewards = np.full(n, 0.1)
    np.testing.assert_array_equal(rank_utilities(rewards), np.zeros(n))
    for beta in (0.0, 1.0, temperature_of_size(rewards, 1.0), temperature_of_kl(rewards, 0.1)):
        np.testing.assert_allclose(exponentiated(rewards, beta), np.ones(n) / max(n, 1))


def test_generalised_advantages_by_hand() -> None:
    """Column 0 terminates after step 1 and column 1 is truncated there; a new episode begins at step 2."""
    r, v = np.array([[1.0, 1], [2, 2], [4, 4]]), np.array([[10.0, 10], [20, 20], [30, 30]])
    following = np.array([[20.0, 20], [7, 7], [9, 9]])
    no, yes = [False, False], [True, True]
    a = generalised(r, v, following, np.array([no, [True, False], no]), np.array([no, [False, True], yes]), 0.9, 0.5)
    ended, cut = 2 - 20, 2 + 0.9 * 7 - 20
    last = 4 + 0.9 * 9 - 30
    expected = [[1 + 18 - 10 + 0.45 * ended, 1 + 18 - 10 + 0.45 * cut], [ended, cut], [last, last]]
    np.testing.assert_allclose(a, expected)
    with pytest.raises(ConfigError, match="five arrays"):
        generalised(r, v, following[:2], np.zeros((3, 2), bool), np.zeros((3, 2), bool))
    empty = np.zeros((0, 4))
    assert generalised(empty, empty, empty, empty.astype(bool), empty.astype(bool)).shape == (0, 4)


def walk(rng: np.random.Generator, p: float, episodes: int, steps: int) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Steps +-1 with P(+1) = p, reward = position after the step; (actions, rewards, positions before)."""
    actions = np.where(rng.random((steps, episodes)) < p, 1.0, -1.0)
    after = np.cumsum(actions, axis=0)
    return actions, after, after - actions


def value(position: FloatArray, remaining: FloatArray | int, p: float) -> FloatArray:
    """Expected sum of the rewards of the remaining steps of the walk."""
    drift = 2 * p - 1
    return np.asarray(position * remaining + drift * remaining * (remaining + 1) / 2)


HORIZON, P = 4, 0.6
GRADIENT = 2 * HORIZON * (HORIZON + 1) / 2
"""d E[sum of rewards] / d p of the walk: 2 (4 + 3 + 2 + 1)."""


def walk_estimates(wrong: float, decay: float, steps: int, as_termination: bool = False) -> FloatArray:
    """Estimates of d E[R] / dp of 60000 walks of HORIZON steps, observed for `steps` of them and then truncated."""
    actions, rewards, before = walk(np.random.default_rng(6), P, 60000, steps)
    left = (HORIZON - np.arange(steps))[:, None]
    v = value(before, left, P) + wrong * before
    following = value(rewards, left - 1, P) + wrong * rewards
    last = np.zeros(v.shape, bool)
    last[-1] = True
    terminated = last if steps == HORIZON or as_termination else ~last & last
    a = generalised(rewards, v, following, terminated, last & ~terminated, 1.0, decay)
    score = np.where(actions > 0, 1 / P, -1 / (1 - P))
    return np.asarray((a * score).sum(axis=0))


@pytest.mark.parametrize(("wrong", "decay"), [(0.0, 0.0), (0.0, 0.5), (0.0, 1.0), (0.7, 1.0)])
def test_generalised_advantages_are_unbiased_with_the_true_value_or_to_the_end(wrong: float, decay: float) -> None:
    """60000 walks of 4 steps, within 5 standard errors."""
    estimates = walk_estimates(wrong, decay, HORIZON)
    assert within(estimates, GRADIENT)
    assert estimates.std() / math.sqrt(len(estimates)) < 0.2


def test_generalised_advantages_with_a_wrong_value_are_biased() -> None:
    assert not within(walk_estimates(0.7, 0.0, HORIZON), GRADIENT)


def test_truncation_bootstraps_and_termination_does_not() -> None:
    """Cut after 2 of 4 steps: bootstrapped, the two steps have their share 2 (4 + 3) of the gradient; as if it were
    the end, the value of what would follow is lost and the estimate is wrong."""
    share = 2 * (4 + 3)
    for decay in (0.0, 0.5, 1.0):
        assert within(walk_estimates(0.0, decay, 2), share)
        assert not within(walk_estimates(0.0, decay, 2, as_termination=True), share)


CHOICES = (3,)
VALUE = np.array([0.0, 1.0, -2.0])


def reward(actions: Encoding) -> FloatArray:
    """-(x - 0.5)^2 - 4 (y + 0.3)^2 - x y + x^3 + w_c: not quite what the critic can learn."""
    x, y = actions.continuous.T
    return np.asarray(-((x - 0.5) ** 2) - 4 * (y + 0.3) ** 2 - x * y + x**3 + VALUE[actions.discrete[:, 0]])


def policy_of(family: type[GaussianPolicy]) -> GaussianPolicy:
    policy = family(np.array([0.1, 0.4]), 0.3, CHOICES)
    with torch.no_grad():
        policy.logits.copy_(torch.tensor([[0.3, -0.2, 0.1]]))
    return policy


def true_gradient(policy: GaussianPolicy) -> FloatArray:
    """grad E[R] by mu, log sigma and logits: exact for polynomials by Gauss-Hermite quadrature, by autograd."""
    nodes, weights = (torch.from_numpy(part) for part in np.polynomial.hermite_e.hermegauss(6))
    z = torch.stack(torch.meshgrid(nodes, nodes, indexing="ij"), dim=-1).reshape(-1, 2)
    w = (weights[:, None] * weights).reshape(-1) / (2 * math.pi)
    x, y = (policy.mu + z @ policy.scale_tril().mT).T
    expected = (w * (-((x - 0.5) ** 2) - 4 * (y + 0.3) ** 2 - x * y + x**3)).sum()
    expected = expected + policy.log_probabilities.exp()[0] @ torch.from_numpy(VALUE)
    return gradient_of(policy, expected)


def gradient_of(policy: GaussianPolicy, objective: torch.Tensor) -> FloatArray:
    policy.zero_grad()
    objective.backward()  # type: ignore[no-untyped-call]
    parts = (policy.mu.grad, policy.log_sigma.grad, policy.logits.grad)
    return np.concatenate([part.numpy().ravel() for part in parts if part is not None])


def with_critic(policy: GaussianPolicy, actions: Encoding, folds: FloatArray) -> torch.Tensor:
    features = quadratic_features(actions, CHOICES)
    fit = cross_fitted(features, reward(actions), folds.astype(np.int64))
    weights = torch.from_numpy(reward(actions) - fit.predictions)
    return (weights * policy.log_prob(actions)).mean() + expected_features(policy) @ torch.from_numpy(fit.coefficients)


def seen_by_the_critic(policy: GaussianPolicy, actions: Encoding, folds: FloatArray) -> torch.Tensor:
    """Broken on purpose: the critic has seen the rewards that it predicts."""
    features, rewards = quadratic_features(actions, CHOICES), reward(actions)
    w = np.linalg.lstsq(features, rewards)[0]
    weights = torch.from_numpy(rewards - features @ w)
    return (weights * policy.log_prob(actions)).mean() + expected_features(policy) @ torch.from_numpy(w)


def without_critic(policy: GaussianPolicy, actions: Encoding, folds: FloatArray) -> torch.Tensor:
    return (torch.from_numpy(leave_one_out(reward(actions))) * policy.log_prob(actions)).mean()


Objective = Callable[[GaussianPolicy, Encoding, FloatArray], torch.Tensor]


def critic_estimates(policy: GaussianPolicy, objective: Objective, n: int, batches: int) -> FloatArray:
    rng, folds = np.random.default_rng(8), np.arange(n) % 4
    return np.array([gradient_of(policy, objective(policy, policy.sample(rng, n), folds)) for _ in range(batches)])


@pytest.mark.parametrize("family", [Policy, FullPolicy])
def test_cross_fitted_control_variate_is_unbiased_and_sharper(family: type[GaussianPolicy]) -> None:
    """800 batches of 48: each component within 5 standard errors of the gradient; the variance falls fourfold."""
    policy = policy_of(family)
    expected = true_gradient(policy)
    sharp, plain = (critic_estimates(policy, f, 48, 800) for f in (with_critic, without_critic))
    assert within(sharp, expected) and within(plain, expected)
    assert np.all(sharp.var(axis=0) < plain.var(axis=0) / 4)


def test_a_critic_that_saw_the_rewards_is_biased() -> None:
    """12 designs for 9 coefficients: 1500 batches show the bias."""
    policy = policy_of(Policy)
    assert not within(critic_estimates(policy, seen_by_the_critic, 12, 1500), true_gradient(policy))


def test_expected_features_are_the_mean_of_the_features() -> None:
    """40000 samples of a correlated policy, within 5 standard errors."""
    policy = policy_of(FullPolicy)
    with torch.no_grad():
        policy.lower.copy_(torch.tensor([[0.0, 0], [0.8, 0]]))
    features = quadratic_features(policy.sample(np.random.default_rng(9), 40000), CHOICES)
    assert within(features, expected_features(policy).detach().numpy())
    short = quadratic_features(policy.sample(np.random.default_rng(9), 3), CHOICES, products=False)
    assert short.shape[1] == len(expected_features(policy, products=False)) == 8


def test_cross_fitting_never_sees_the_own_fold() -> None:
    rng = np.random.default_rng(10)
    features, rewards, folds = np.column_stack([np.ones(9), rng.normal(size=9)]), rng.normal(size=9), np.arange(9) % 3
    before = cross_fitted(features, rewards, folds).predictions
    after = cross_fitted(features, rewards + 5.0 * (folds == 1), folds).predictions
    np.testing.assert_array_equal(before[folds == 1], after[folds == 1])
    assert np.all(before[folds != 1] != after[folds != 1])
    line = cross_fitted(features, features @ np.array([2.0, 3.0]), folds, ridge=0.0)
    np.testing.assert_allclose(line.predictions, features @ [2, 3])
    np.testing.assert_allclose(line.coefficients, [2, 3])
    np.testing.assert_array_equal(cross_fitted(features, rewards, np.zeros(9, int)).predictions, 0)
    assert cross_fitted(features[:0], rewards[:0], folds[:0]).predictions.shape == (0,)
