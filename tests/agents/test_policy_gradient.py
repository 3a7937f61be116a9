"""The policy gradient against closed forms, and what it must be able to learn."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from rl_detector.agent import Batch
from rl_detector.agents.advantages import leave_one_out, mean_baseline, normalised
from rl_detector.agents.policies import Policy
from rl_detector.agents.policy_gradient import PolicyGradient
from rl_detector.errors import ConfigError
from rl_detector.parameters import Categorical, Continuous
from rl_detector.space import DesignSpace, Encoding, FloatArray

NOTHING = np.zeros(0)
TARGET = np.array([0.5, -0.3])
WEIGHT = np.array([1.0, 4.0])
VALUE = np.array([0.0, 1.0, -2.0])


@pytest.fixture(autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)


def space_of(numbers: int, slots: int, choices: int = 3) -> DesignSpace:
    continuous = [Continuous(f"x{i}", -1, 1) for i in range(numbers)]
    names = tuple(f"choice {i}" for i in range(choices))
    return DesignSpace((*continuous, *(Categorical(f"c{j}", names) for j in range(slots))))


def reward(actions: Encoding) -> FloatArray:
    """-sum_i l_i (a_i - o_i)^2 + w_c; its expectation under the policy has a closed form."""
    quadratic: FloatArray = -((actions.continuous - TARGET) ** 2) @ WEIGHT
    return quadratic + VALUE[actions.discrete[:, 0]]


def policy_at(mu: FloatArray, sigma: float) -> Policy:
    policy = Policy(mu, sigma, (3,))
    with torch.no_grad():
        policy.logits.copy_(torch.tensor([[0.3, -0.2, 0.1]]))
    return policy


def estimate(policy: Policy, rng: np.random.Generator, n: int) -> FloatArray:
    """grad of mean_i A_i log pi(a_i) from one batch, as one vector."""
    actions = policy.sample(rng, n)
    policy.zero_grad()
    advantages = torch.from_numpy(leave_one_out(reward(actions)))
    (advantages * policy.log_prob(actions)).mean().backward()  # type: ignore[no-untyped-call]
    return np.concatenate([p.grad.numpy().ravel() for p in policy.parameters() if p.grad is not None])


def test_mean_of_the_estimates_is_the_gradient_of_the_expected_reward() -> None:
    """2000 batches of 8 designs: every component within 5 standard errors of the closed form."""
    mu, sigma, rng = np.array([0.1, 0.4]), 0.3, np.random.default_rng(0)
    policy = policy_at(mu, sigma)
    p = policy.log_probabilities.exp().detach().numpy()[0]
    by_mu = -2 * WEIGHT * (mu - TARGET)
    by_log_sigma = -2 * WEIGHT * sigma**2
    by_logits = p * (VALUE - p @ VALUE)
    expected = np.concatenate([by_mu, by_log_sigma, by_logits])
    estimates = np.array([estimate(policy, rng, 8) for _ in range(2000)])
    error = estimates.std(axis=0) / math.sqrt(len(estimates))
    assert np.all(error < 0.1)
    np.testing.assert_array_less(np.abs(estimates.mean(axis=0) - expected), 5 * error)


def test_one_step_is_the_closed_form() -> None:
    agent = PolicyGradient(space_of(2, 1), seed=3, sigma=0.2, learning_rate=0.5, sigma_rate=0.1)
    actions = agent.ask(NOTHING, 16)
    rewards = reward(actions)
    agent.tell(Batch(actions, rewards, np.zeros(16)))
    a = normalised(mean_baseline(rewards))
    z = actions.continuous / 0.2
    chosen = np.eye(3)[actions.discrete[:, 0]]
    policy = agent.policy
    np.testing.assert_allclose(policy.mu.detach(), 0.5 * 0.2 * (a @ z) / 16, rtol=1e-12)
    log_sigma = math.log(0.2) + 0.1 * (a @ (z**2 - 1)) / 16 / 2
    np.testing.assert_allclose(policy.log_sigma.detach(), np.minimum(log_sigma, math.log(0.2)), rtol=1e-12)
    weights = np.exp(0.5 * (a @ (chosen - 1 / 3)) / 16 / (1 / 3))
    probabilities = policy.log_probabilities.exp().detach()[0]
    np.testing.assert_allclose(probabilities, weights / weights.sum(), rtol=1e-12)


def learn(agent: PolicyGradient, updates: int, n: int, noise: float = 0.0) -> Encoding:
    rng = np.random.default_rng(10)
    for _ in range(updates):
        actions = agent.ask(NOTHING, n)
        agent.tell(Batch(actions, reward(actions) + noise * rng.standard_normal(n), np.full(n, noise)))
    return agent.recommend(NOTHING)


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_learns_the_identity(seed: int) -> None:
    """12 slots of 4 choices; the reward counts those equal to the target, and all must be found (chance: 4^-12)."""
    rng = np.random.default_rng(seed)
    target = rng.integers(4, size=12)
    agent = PolicyGradient(space_of(0, 12, 4), seed)
    for _ in range(60):
        actions = agent.ask(NOTHING, 32)
        agent.tell(Batch(actions, (actions.discrete == target).sum(axis=1).astype(float), np.zeros(32)))
    np.testing.assert_array_equal(agent.recommend(NOTHING).discrete, target)


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_learns_numbers_and_choices_under_noise(seed: int) -> None:
    """Noise 0.5, reward 1 at the optimum and -3.56 at the start: 95 % of the gap after 60 updates of 32 designs."""
    start = {"x0": -0.5, "x1": 0.5, "c0": "choice 0"}
    best = learn(PolicyGradient(space_of(2, 1), seed, start), 60, 32, noise=0.5)
    assert best.discrete.tolist() == [1]
    assert -((best.continuous - TARGET) ** 2) @ WEIGHT > -0.05 * 4.56


def test_the_mean_stays_in_the_box_and_comes_back() -> None:
    agent = PolicyGradient(space_of(1, 0), seed=0)
    for sign, low, high in ((1, 0.95, 1), (-1, -1, 0.5)):
        for _ in range(60):
            actions = agent.ask(NOTHING, 16)
            agent.tell(Batch(actions, sign * np.clip(actions.continuous[:, 0], -1, 1), np.zeros(16)))
            assert abs(float(agent.policy.mu.detach()[0])) <= 1
        assert low <= agent.recommend(NOTHING).continuous[0] <= high


def test_no_choice_dies_and_sigma_keeps_its_bounds() -> None:
    agent = PolicyGradient(space_of(2, 1), seed=0, exploration=0.3, sigma=0.2, sigma_minimum=0.05)
    learn(agent, 200, 32)
    p = agent.policy.log_probabilities.exp()
    assert float(p.detach().min()) >= 0.1 / 1.3
    assert agent.metrics()["sigma_minimum"] >= 0.05 * (1 - 1e-12)
    assert agent.metrics()["sigma"] <= 0.2 * (1 + 1e-12)


@pytest.mark.parametrize("value", [0.0, 0.1, -3.7e6])
def test_equal_rewards_change_nothing(value: float) -> None:
    """Also where their mean is rounded: three times 0.1 / 3 is not 0.1."""
    agent = PolicyGradient(space_of(2, 1), seed=0)
    for n in (1, 3, 8):
        agent.tell(Batch(agent.ask(NOTHING, n), np.full(n, value), np.zeros(n)))
    policy = agent.policy
    np.testing.assert_array_equal(policy.mu.detach(), 0)
    np.testing.assert_array_equal(policy.log_sigma.detach(), math.log(0.2))
    np.testing.assert_allclose(policy.log_probabilities.detach(), -math.log(3), rtol=1e-12)


def test_the_start_is_the_first_mode_and_every_choice_is_tried() -> None:
    space = space_of(2, 4)
    start = {"x0": 0.25, "x1": -0.75, **{f"c{j}": "choice 2" for j in range(4)}}
    agent = PolicyGradient(space, 0, start)
    assert space.decode(agent.recommend(NOTHING)) == start
    discrete = agent.ask(NOTHING, 64).discrete
    assert all(len(set(column)) == 3 for column in discrete.T.tolist())


def test_metrics_of_a_fresh_agent() -> None:
    metrics = PolicyGradient(space_of(2, 3), 0, sigma=0.1).metrics()
    assert metrics["sigma"] == pytest.approx(0.1)
    assert metrics["entropy_choices"] == pytest.approx(3 * math.log(3))
    assert metrics["entropy_continuous"] == pytest.approx(2 * (math.log(0.1) + 0.5 * math.log(2 * math.pi * math.e)))
    assert metrics["choice_probability"] == pytest.approx(1 / 3)


@pytest.mark.parametrize("setting", ["sigma", "sigma_minimum", "learning_rate", "exploration"])
def test_impossible_settings(setting: str) -> None:
    with pytest.raises(ConfigError, match=f"{setting}=-1"):
        PolicyGradient(space_of(1, 0), 0, **{setting: -1})
